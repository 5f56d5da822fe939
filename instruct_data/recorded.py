"""Records what the real agent does with a scripted teacher over tools that answer from a record: no net is run.

The loop, the schemas offered and the words of the results are those of serving; only who decides is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from assistant import agent, tools
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.settings import LIMITS
from assistant.steps import TextDelta, ToolCall
from assistant.tools import Result

REFUSED = "refused: "
"""How the words of a result begin that is none."""


@dataclass(frozen=True)
class Bound:
    """A tool as it is offered, and what it answers to a call's arguments."""

    schema: Mapping[str, Any]
    answer: Callable[[Mapping[str, Any]], Result]

    @property
    def name(self) -> str:
        """The name it is called by."""
        return str(self.schema["function"]["name"])


@dataclass(frozen=True)
class Heard:
    """What a tool answered."""

    name: str
    text: str

    @property
    def refused(self) -> bool:
        """It failed or declined."""
        return self.text.startswith(REFUSED)


Teacher = Callable[[Sequence[Heard]], "str | Sequence[tuple[str, Mapping[str, Any]]]"]
"""Takes what the tools said so far; returns the calls to make, (name, arguments), or the answer."""


def run(prompt: Sequence[Mapping[str, Any]], offered: Sequence[Bound], teacher: Teacher
        ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the agent to its end; return all messages, the answer last, and the tools as they were offered."""
    def reply(messages: Sequence[BaseMessage]) -> str | AIMessage:
        heard = [Heard(str(m.name), str(m.text)) for m in messages if isinstance(m, ToolMessage)]
        said = teacher(heard)
        if isinstance(said, str):
            return said
        return AIMessage("", tool_calls=[{"name": name, "args": dict(arguments), "id": f"call_{len(heard) + i}"}
                                         for i, (name, arguments) in enumerate(said)])

    seen: list[list[dict[str, Any]]] = []
    collaboration = agent.Collaboration(lambda: (prompt, ()), LIMITS.model_calls, seen.append)
    generalist = ScriptedGeneralist([reply] * LIMITS.model_calls)
    bound = [tools.bound(b.schema, b.answer) for b in offered]
    spoken: list[str] = []
    for step in agent.run(generalist, bound, collaboration):
        if isinstance(step, TextDelta):
            spoken.append(step.text)
        elif isinstance(step, ToolCall):
            spoken.clear()
    messages = [_plain(m) for m in seen[-1]]
    return [*messages, {"role": "assistant", "content": "".join(spoken)}], [convert_to_openai_tool(t) for t in bound]


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with the arguments of its calls as objects, which every chat template writes alike."""
    if not message.get("tool_calls"):
        return dict(message)
    calls = [{"id": c["id"], "type": "function", "function": {
        "name": c["function"]["name"], "arguments": json.loads(c["function"]["arguments"])}}
        for c in message["tool_calls"]]
    return {**message, "tool_calls": calls}
