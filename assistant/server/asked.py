"""What a request comes to once its wire form is gone: a consultation or a talk with the generalist, and their replies.

Plain data; it knows neither JSON bodies nor routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from assistant.errors import BadQuestion
from assistant.steps import Answer, Collaboration, Style

NOTICE = "Research use only; not a medical device."


class Unsupported(BadQuestion):
    """The request asks for something of OpenAI's protocol that is not to be had here."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Place:
    """Where an image is: a URL (data or https), or an uploaded file."""

    url: str | None = None
    file_id: str | None = None


@dataclass(frozen=True)
class Asked:
    """A consultation as the assistant takes it: the last user turn, its images, and the turns before it."""

    question: str
    images: tuple[Place, ...]
    history: tuple[dict[str, Any], ...]
    """Texts; the turn that gave the images, if it is not the last, has an {"type": "image"} part."""
    options: tuple[str, ...] | None
    collaboration: Collaboration
    style: Style
    without: tuple[str, ...]
    patient: str | None
    kind: str | None = None
    overlays: bool = True
    logprobs: bool = False
    """With options: their log-probabilities stand where OpenAI has those of tokens."""
    stop: tuple[str, ...] = ()
    most: int | None = None
    """Tokens of the text."""


@dataclass(frozen=True)
class Direct:
    """A talk with the generalist as it is: the client's instructions, tools and settings."""

    messages: tuple[dict[str, Any], ...]
    """LangChain's dicts; an {"type": "image"} part stands for the next of `images`."""
    images: tuple[Place, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | None = None
    n: int = 1
    stream: bool = False
    """The client reads piece by piece."""
    stop: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """temperature, top_p, seed, max_tokens, as far as the request says."""
    response_format: Mapping[str, Any] | None = None
    top_logprobs: int | None = None
    """How many alternatives of each token are wanted; None wants no log-probabilities."""
    one_call: bool = False
    """Of the calls of a reply only the first is wanted."""


@dataclass(frozen=True)
class Delta:
    """A piece of a reply's text."""

    text: str
    index: int = 0


@dataclass(frozen=True)
class Reply:
    """One whole reply."""

    text: str
    index: int = 0
    finish: Literal["stop", "length", "tool_calls"] = "stop"
    calls: tuple[dict[str, Any], ...] = ()
    """Calls of the client's tools, in OpenAI's form."""
    answer: Answer | None = None
    """Of a consultation."""
    logprobs: tuple[dict[str, Any], ...] | None = None
    tokens: int | None = None
    """Of the text; None where nobody counted."""
    read: int | None = None
    """Tokens of what was asked."""

    def content(self) -> str | None:
        """Return the text as it stands in a message: None where there are calls alone."""
        return self.text if self.text or not self.calls else None


Piece = Delta | Reply
