"""A generalist that follows a script, for tests of what is around it; it knows and guesses nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from assistant.generalist.generalist import Generalist, Messages, checked_options, renormalized
from assistant.generalist.turns import as_messages, as_urls

Reply = str | AIMessage | Exception | Callable[[list[BaseMessage]], "str | AIMessage"]
Scores = Mapping[str, float] | Callable[[list[BaseMessage], Sequence[str]], Mapping[str, float]]


@dataclass(frozen=True)
class Seen:
    """One call as it came in."""

    messages: list[BaseMessage]
    options: tuple[str, ...] | None = None
    """Options that were scored; None for a call that wanted text."""
    tools: tuple[str, ...] = ()
    """Names of the tools that were offered."""

    @property
    def text(self) -> str:
        """All words of the messages, a line each."""
        return "\n".join(message.text for message in self.messages)


class ScriptedGeneralist(Generalist):
    """Answers from queues: a call past the end raises.

    `replies` are texts, messages, exceptions to raise, or functions of the messages. `scores` is a list used
    up call by call, or one mapping or function for every call; the values of a mapping are probabilities, or
    log-probabilities if any is negative; options it lacks are next to impossible. `seen` records every call.
    """

    _replies: list[Reply] = PrivateAttr(default_factory=list)
    _scores: list[Scores] | Scores | None = PrivateAttr(default=None)
    _seen: list[Seen] = PrivateAttr(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    def __init__(
        self, replies: Sequence[Reply] = (), scores: Sequence[Scores] | Scores | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._replies = list(replies)
        self._scores = (
            scores if scores is None or isinstance(scores, Mapping) or callable(scores) else list(scores)
        )

    @property
    def seen(self) -> list[Seen]:
        """Every call so far, in order."""
        return self._seen

    @property
    def _llm_type(self) -> str:
        return "consilium-scripted"

    def revision(self) -> dict[str, Any]:
        """Return a fixed name."""
        return {"model": "scripted", "sha256": None, "adapter": None}

    def score(self, messages: Messages, options: Sequence[str]) -> dict[str, float]:
        """Return the script's next scores, renormalized over the options."""
        given = checked_options(options)
        read = as_messages(messages)
        with self._lock:
            self._seen.append(Seen(read, tuple(given)))
            if self._scores is None or (isinstance(self._scores, list) and not self._scores):
                raise IndexError(
                    f"The script has no scores left; {given} were to be scored (call {len(self._seen)})."
                )
            scores = self._scores.pop(0) if isinstance(self._scores, list) else self._scores
        values: Mapping[str, float] = scores if isinstance(scores, Mapping) else scores(read, given)
        if any(value < 0 for value in values.values()):
            return renormalized({option: max(values.get(option, -1e3), -1e3) for option in given})
        return renormalized({option: math.log(max(values.get(option, 0.0), 1e-12)) for option in given})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._next(messages, kwargs)
        words = reply.text.split(" ")
        for i, word in enumerate(words):
            piece = word + (" " if i < len(words) - 1 else "")
            if piece:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
                if run_manager:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                tool_calls=reply.tool_calls,
                invalid_tool_calls=reply.invalid_tool_calls,
                chunk_position="last",
            )
        )

    def _next(self, messages: list[BaseMessage], kwargs: Mapping[str, Any]) -> AIMessage:
        tools = tuple(tool["function"]["name"] for tool in kwargs.get("tools") or ())
        with self._lock:
            messages = [as_urls(turn) for turn in messages]
            self._seen.append(Seen(messages, tools=tools))
            if not self._replies:
                raise IndexError(f"The script has no replies left (call {len(self._seen)}).")
            reply = self._replies.pop(0)
        if callable(reply):
            reply = reply(messages)
        if isinstance(reply, Exception):
            raise reply
        return AIMessage(reply) if isinstance(reply, str) else reply.model_copy(deep=True)
