"""The generalist as the rest of the assistant knows it: a LangChain chat model that can also score options.

It runs no model itself; where the weights are is the business of `local`, `served` and `scripted`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from assistant.errors import AdapterRefused, BadQuestion
from assistant.generalist.boxes import UNIT_1000, BoxCodec

Messages = Sequence[BaseMessage | Mapping[str, Any]]
"""A conversation: LangChain messages, or the same as dicts in OpenAI's form."""


class Generalist(BaseChatModel):
    """A chat model that takes images and tools, and gives log-probabilities of answers."""

    @abstractmethod
    def score(self, messages: Messages, options: Sequence[str]) -> dict[str, float]:
        """Return the log-probability of each option as the whole reply, renormalized over the options."""

    def score_many(
        self, conversations: Sequence[Messages], options: Sequence[Sequence[str]]
    ) -> list[dict[str, float]]:
        """Return `score` of each conversation; options[i] belong to conversations[i]."""
        return [self.score(messages, given) for messages, given in zip(conversations, options, strict=True)]

    def reply_many(
        self, conversations: Sequence[Messages], *, tools: Sequence[Mapping[str, Any]] | None = None, **settings: Any
    ) -> list[AIMessage]:
        """Return the reply to each conversation, all with the same tools offered; `settings` are those of `invoke`."""
        offered = {"tools": list(tools)} if tools else {}
        return [self.invoke(list(messages), **offered, **settings) for messages in conversations]  # type: ignore[arg-type]

    @abstractmethod
    def revision(self) -> dict[str, Any]:
        """Return what identifies the weights: model, sha256 or url, adapter."""

    def ready(self) -> None:
        """Look now for all that it needs, so that a fault is told before the first question; raises GeneralistError."""
        self.revision()

    def with_adapter(self, adapter: str) -> Generalist:
        """Return this generalist with an adapter over it: a folder (PEFT), or its name where a server has it."""
        raise AdapterRefused(f"{type(self).__name__} takes no adapters, got {adapter!r}.")

    @property
    def look_record(self) -> Mapping[str, float]:
        """Validated F1 (0..1) of the labels that it names in words; empty when its look needs no asking."""
        return {}

    @property
    def taught_kinds(self) -> frozenset[str]:
        """Kinds of image that it was taught, when it knows no others; empty for a generalist of wide knowledge."""
        return frozenset()

    @property
    def skill_kinds(self) -> frozenset[str]:
        """Kinds of image that its adapter was taught; empty without an adapter, and for one that does not say."""
        return frozenset()

    @property
    def boxes(self) -> BoxCodec:
        """How this model family writes boxes."""
        return UNIT_1000

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools offered; `tool_choice` is "auto", "none", "any" or a tool's name."""
        offered = [convert_to_openai_tool(tool) for tool in tools]
        if tool_choice:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=offered, **kwargs)


def checked_options(options: Sequence[str]) -> list[str]:
    """Return the options; raise BadQuestion unless there are two or more different, non-empty ones."""
    given = list(options)
    if len(given) < 2 or len(set(given)) != len(given) or not all(option.strip() for option in given):
        raise BadQuestion(f"Options {given}: wanted two or more different, non-empty texts.")
    return given


def renormalized(scores: Mapping[str, float]) -> dict[str, float]:
    """Return log-probabilities whose probabilities sum to 1."""
    top = max(scores.values())
    total = top + math.log(sum(math.exp(value - top) for value in scores.values()))
    return {option: float(value - total) for option, value in scores.items()}
