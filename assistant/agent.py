"""The loop, on one page: LangChain's `create_agent` over the generalist, the collaboration as its middleware.

It only assembles and translates LangChain's stream into our steps; what is gathered and how an answer is
decided stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    InvalidToolCall,
    ToolMessage,
    convert_to_messages,
    convert_to_openai_messages,
)
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime

from assistant.generalist.generalist import Generalist
from assistant.settings import LIMITS
from assistant.steps import Observation, Step, TextDelta, ToolCall
from assistant.tools import Result, observed

Prompt = Callable[[], tuple[Sequence[Mapping[str, Any]], Sequence[Step]]]
"""Returns the first prompt, and the steps that were taken to write it."""
Seen = Callable[[list[dict[str, Any]]], None]
"""Is told the messages of every call."""


class Collaboration(AgentMiddleware):
    """Writes the first prompt, evidence included, and bounds the rounds: the last call gets no tools."""

    def __init__(self, prompt: Prompt, rounds: int = LIMITS.model_calls, seen: Seen | None = None) -> None:
        """Take the function that writes the first prompt, and how often the generalist may be called."""
        super().__init__()
        self.prompt, self.rounds, self.seen, self.calls = prompt, rounds, seen, 0
        self.first: Sequence[Step] = ()
        self.results: dict[str, Result] = {}
        """What the tools found, in the order of the answers."""

    def before_agent(self, state: AgentState, runtime: Runtime) -> dict[str, Any]:
        """Put the first prompt, with the evidence of a full collaboration in it, before the first call."""
        messages, self.first = self.prompt()
        return {"messages": convert_to_messages([dict(message) for message in messages])}

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
                        ) -> ModelResponse:
        """Count the calls; take the tools away from the last one, and its calls if it makes some anyway."""
        self.calls += 1
        if self.seen is not None:
            self.seen(plain(request.messages))
        if self.calls < self.rounds and request.tools:
            return handler(request)
        response = handler(request.override(tools=[]))
        return ModelResponse(result=[_without_calls(message) for message in response.result])

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: AgentState, runtime: Runtime) -> dict[str, Any] | None:
        """Answer calls that could not be read, so that the loop goes on."""
        last = state["messages"][-1]
        if not isinstance(last, AIMessage) or not last.invalid_tool_calls:
            return None
        errors = [_unreadable(call, place) for place, call in enumerate(last.invalid_tool_calls)]
        return {"messages": errors} if last.tool_calls else {"messages": errors, "jump_to": "model"}


def run(generalist: Generalist, tools: Sequence[BaseTool], collaboration: Collaboration) -> Iterator[Step]:
    """Run the loop to its end and yield its steps; the text of all rounds is streamed."""
    agent = create_agent(generalist, list(tools), middleware=[collaboration])
    # LangGraph's stream itself waits in one of the workers: with a single one the loop would never start.
    config: Any = {"recursion_limit": 10 * LIMITS.model_calls + 20, "max_concurrency": 2}
    stream: Iterator[Any] = agent.stream({"messages": []}, config, stream_mode=["messages", "updates"])
    for mode, data in stream:
        yield from _text(*data) if mode == "messages" else _steps(data, collaboration)


def plain(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as dicts in OpenAI's form."""
    converted = convert_to_openai_messages(list(messages))
    return converted if isinstance(converted, list) else [converted]


def _text(message: BaseMessage, about: Mapping[str, Any]) -> Iterator[TextDelta]:
    if isinstance(message, AIMessage) and about.get("langgraph_node") == "model" and message.text:
        yield TextDelta(str(message.text))


def _steps(update: Mapping[str, Any], collaboration: Collaboration) -> Iterator[Step]:
    for node, change in update.items():
        if node.endswith("before_agent"):
            yield from collaboration.first
            continue
        for message in (change or {}).get("messages", ()):
            yield from _new(message, collaboration.results)


def _new(message: AnyMessage, results: dict[str, Result]) -> Iterator[ToolCall | Observation]:
    if isinstance(message, AIMessage):
        for call in message.tool_calls:
            yield ToolCall(call["id"] or "", call["name"], call["args"])
    elif isinstance(message, ToolMessage):
        result = message.artifact if isinstance(message.artifact, Result) else Result()
        # numbered, because some servers give every call the same id
        results[f"{len(results) + 1} {message.tool_call_id}"] = result
        text = str(message.text)
        error = text if message.status == "error" else None
        yield observed(message.tool_call_id, message.name or "unknown", result, text, error)


def _unreadable(call: InvalidToolCall, place: int) -> ToolMessage:
    return ToolMessage(f"Error: {call.get('error') or 'the arguments are no JSON object'}.", status="error",
                       name=call.get("name") or "unknown", tool_call_id=call.get("id") or f"bad-{place}")


def _without_calls(message: BaseMessage) -> BaseMessage:
    if not isinstance(message, AIMessage) or not (message.tool_calls or message.invalid_tool_calls):
        return message
    return AIMessage(content=message.text, id=message.id)
