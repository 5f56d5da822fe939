"""ChatConsilium: the whole consultation as one of LangChain's chat models, for chains and agents that expect one.

It decides nothing: turns become a question with images, steps become messages. Behind HTTP, LangChain's own ChatOpenAI
does the same against `consilium serve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

from assistant.assistant import Assistant
from assistant.errors import BadQuestion
from assistant.steps import Answer, Collaboration, Step, Style, TextDelta
from assistant.toolbox import from_text
from specialists.core.study import Study


class ChatConsilium(BaseChatModel):
    """Answers the last user turn about its images, or about those of the latest turn that had some.

    Images are data URLs or base64, of any format that is read (DICOM too). The whole answer stands in
    `response_metadata["consilium"]`. With tools bound, the generalist answers alone and calls them. Instructions of a
    system message are read over: the consultation has its own.
    """

    collaboration: Collaboration = "auto"
    style: Style = "calibrated"
    options: tuple[str, ...] | None = None
    """Answers to choose from; None asks open questions. `bind(options=[...])` sets them for one call."""
    without: tuple[str, ...] = ()

    _assistant: Assistant = PrivateAttr()

    def __init__(self, assistant: Assistant | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._assistant = assistant or Assistant()

    @property
    def _llm_type(self) -> str:
        return "consilium"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], *,
        tool_choice: str | None = None, **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools of the caller's offered to the generalist."""
        offered = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=offered, **({"tool_choice": tool_choice} if tool_choice else {}), **kwargs)

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None,
                  run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> ChatResult:
        if kwargs.get("tools"):
            return self._assistant.generalist._generate(messages, stop, run_manager, **kwargs)
        for step in self._steps(messages, kwargs):
            if isinstance(step, Answer):
                message = AIMessage(step.text, response_metadata={"consilium": step.json()})
                return ChatResult(generations=[ChatGeneration(message=message)])
        raise RuntimeError("The steps ended without an answer.")

    def _stream(self, messages: list[BaseMessage], stop: list[str] | None = None,
                run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        if kwargs.get("tools"):
            yield from self._assistant.generalist._stream(messages, stop, run_manager, **kwargs)
            return
        for step in self._steps(messages, kwargs):
            if isinstance(step, TextDelta):
                yield ChatGenerationChunk(message=AIMessageChunk(content=step.text))
            elif isinstance(step, Answer):
                yield ChatGenerationChunk(message=AIMessageChunk(
                    content="", response_metadata={"consilium": step.json()}, chunk_position="last"))

    def _steps(self, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> Iterator[Step]:
        how: dict[str, Any] = {name: kwargs.get(name, getattr(self, name))
                               for name in ("options", "collaboration", "style", "without")}
        *earlier, last = [m for m in messages if not isinstance(m, SystemMessage)] or [SystemMessage("")]
        if not isinstance(last, HumanMessage):
            raise BadQuestion(f"The last message is of type {last.type!r}; wanted a user's question.")
        turns = [*earlier, last]
        shown = next((turn for turn in reversed(turns) if _images(turn)), last)
        history = [_told(turn, image=turn is shown) for turn in earlier]
        return self._assistant.stream(_images(shown), last.text, history=history, **how)


def _told(turn: BaseMessage, *, image: bool) -> dict[str, Any]:
    """Return an earlier turn as text, with a place for its images where the question is about them."""
    role = "user" if isinstance(turn, HumanMessage) else "assistant"
    parts = [{"type": "image"}, {"type": "text", "text": turn.text}]
    return {"role": role, "content": parts if image else turn.text}


def _images(turn: BaseMessage) -> list[Study]:
    parts = turn.content if isinstance(turn.content, list) else []
    return [from_text(_source(part)) for part in parts
            if isinstance(part, dict) and part.get("type") in ("image", "image_url")]


def _source(part: Mapping[str, Any]) -> str:
    url = part.get("base64") or part.get("image_url") or part.get("url") or ""
    return str(url.get("url", "") if isinstance(url, Mapping) else url)
