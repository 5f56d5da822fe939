"""OpenAI's chat completions as types, and their translation to questions and from steps.

It opens no socket, decodes no pixel and loads no model.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from assistant.errors import BadQuestion
from assistant.steps import Answer, Collaboration, Style

NOTICE = "Research use only; not a medical device."

MODELS: dict[str, Collaboration | None] = {"consilium": None, "consilium-generalist": "none"}
"""Model ids and the collaboration each is held to; None leaves the choice to the request, as every adapter does."""

INSTRUCTIONS = ("system", "developer")

Count = Callable[[str], int]
"""Counts the tokens of a text with the generalist's own tokenizer."""


class ImageURL(BaseModel):
    """Where an image is: only data URLs are taken."""

    url: str
    detail: str | None = None


class TextPart(BaseModel):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: ImageURL


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """One turn; instructions of the client are read over: the consultation has its own."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    def text(self) -> str:
        """Return the text of all parts, a line each."""
        if isinstance(self.content, list):
            return "\n".join(p.text for p in self.content if isinstance(p, TextPart))
        return self.content or ""

    def urls(self) -> list[str]:
        """Return the URLs of the images, in order."""
        parts = self.content if isinstance(self.content, list) else []
        return [p.image_url.url for p in parts if isinstance(p, ImagePart)]


class Extension(BaseModel):
    """What OpenAI's protocol has no word for; unknown fields are refused, lest a misspelling go unseen."""

    model_config = ConfigDict(extra="forbid")

    options: list[str] | None = None
    collaboration: Collaboration | None = None
    style: Style = "calibrated"
    without: list[str] = []
    patient: str | None = None


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request; sampling parameters are read over, because an answer here is a decision and not a sample."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    consilium: Extension = Extension()
    n: int | None = None
    logprobs: bool | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None


class Unsupported(BadQuestion):
    """The request asks for something of OpenAI's protocol that a consultation does not have."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Asked:
    """A request as the assistant takes it: the last user turn, its images, and the turns before it."""

    question: str
    images: tuple[bytes, ...]
    history: tuple[dict[str, Any], ...]
    """Texts; the turn that gave the images, if it is not the last, has an {"type": "image"} part."""
    options: tuple[str, ...] | None
    collaboration: Collaboration
    style: Style
    without: tuple[str, ...]
    patient: str | None


def asked(request: ChatRequest) -> Asked:
    """Translate a request; BadQuestion says what it lacks.

    A turn without an image asks about the images of the last turn that had some.
    """
    _refuse_unsupported(request)
    *earlier, last = request.messages
    if last.role != "user":
        raise Unsupported("messages", f"The last message is of role {last.role!r}; wanted 'user'.")
    images: tuple[bytes, ...] = ()
    shown: Message | None = None
    for message in request.messages:
        if urls := message.urls():
            if message.role != "user":
                raise Unsupported("messages", f"Role {message.role!r} holds an image; wanted 'user'.")
            images, shown = tuple(_decoded(url) for url in urls), message
    if not images:
        raise Unsupported("messages", "There is no image in the conversation: send one as an image_url part "
                                      "with a base64 data URL (data:image/png;base64,...).")
    more = request.consilium
    history = tuple({"role": m.role, "content": _with_image(m.text()) if m is shown else m.text()} for m in earlier
                    if m.role not in INSTRUCTIONS and m.text())
    return Asked(last.text(), images, history, None if more.options is None else tuple(more.options),
                 _collaboration(request), more.style, tuple(more.without), more.patient)


def _with_image(text: str) -> list[dict[str, Any]]:
    return [{"type": "image"}, {"type": "text", "text": text}]


def _refuse_unsupported(request: ChatRequest) -> None:
    kind = (request.response_format or {}).get("type", "text")
    asks = {
        "n": (request.n not in (None, 1), "One answer a request is given; leave n out."),
        "logprobs": (bool(request.logprobs), "Ask with consilium.options: the answer has probabilities."),
        "tools": (bool(request.tools), "Tools of clients are not taken; specialists are consulted here."),
        "functions": (bool(request.functions), "Functions of clients are not taken."),
        "response_format": (kind != "text", f"response_format {kind!r} is not taken; every response has the "
                                            "structured answer under 'consilium'."),
    }
    for param, (unwanted, message) in asks.items():
        if unwanted:
            raise Unsupported(param, message)


def _collaboration(request: ChatRequest) -> Collaboration:
    held, wanted = MODELS.get(request.model), request.consilium.collaboration
    if held and wanted and wanted != held:
        raise Unsupported("consilium.collaboration", f"Model {request.model!r} always has collaboration "
                                                     f"{held!r}, got {wanted!r}; ask model 'consilium'.")
    return held or wanted or "auto"


def _decoded(url: str) -> bytes:
    head, comma, data = url.partition(",")
    scheme = url.partition(":")[0].lower()[:12]
    if scheme != "data":
        raise Unsupported("messages", f"The image's URL begins with {scheme!r}; wanted a base64 data URL "
                                      "(data:image/png;base64,...): nothing is fetched.")
    if not comma or not head.lower().endswith(";base64"):
        raise Unsupported("messages", "The image's data URL is not base64; wanted data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Unsupported("messages", "The image's data URL holds characters that are not base64.") from None


def ignored(request: ChatRequest) -> tuple[str, ...]:
    """Name what the request holds and the consultation does not look at, lest one think it was obeyed."""
    instructions = any(m.role in INSTRUCTIONS and m.text() for m in request.messages)
    return (*sorted(request.model_extra or ()), *(["system messages"] if instructions else []))


def usage(messages: Iterable[Mapping[str, Any]], text: str, count: Count | None) -> dict[str, int] | None:
    """Return counts of text tokens (images are not in them), or None where the generalist cannot count."""
    if count is None:
        return None
    said = (m["content"] if isinstance(m["content"], str) else m["content"][-1]["text"] for m in messages)
    prompt, completion = sum(map(count, said)), count(text)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass(frozen=True)
class Envelope:
    """What all parts of one response share."""

    id: str
    model: str
    created: int
    ignored: tuple[str, ...] = ()

    def consilium(self, answer: Answer) -> dict[str, Any]:
        """Return what stands under `consilium`: the answer, its use, and what of the request was ignored."""
        return answer.json() | {"notice": NOTICE, "ignored": list(self.ignored)}

    def completion(self, answer: Answer, used: Mapping[str, int] | None) -> dict[str, Any]:
        """Return the response of a request that is not streamed."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {"id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
                "choices": [choice], "usage": used, "consilium": self.consilium(answer)}

    def chunk(self, delta: dict[str, str] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
        """Return one part of a streamed response; no delta means no choice (the part that carries usage)."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {"id": self.id, "object": "chat.completion.chunk", "created": self.created,
                "model": self.model, "choices": [] if delta is None else [choice], **more}


DONE = "data: [DONE]\n\n"


def event(data: Mapping[str, Any]) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(data)}\n\n"


def error(message: str, type: str = "invalid_request_error", param: str | None = None,
          code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def invalid(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the error for a body that is not JSON or not a request: the first fault and its place."""
    first = errors[0]
    if first["type"] == "json_invalid":
        detail = first.get("ctx", {}).get("error", "not JSON")
        return error(f"The body is not JSON: {detail}.", code="invalid_json")
    place = ".".join(str(x) for x in first["loc"] if x != "body")
    if not place:
        return error("The body is not a JSON object of content type application/json.", code="invalid_json")
    return error(f"{place}: {first['msg']}.", param=place)


def models(known: Mapping[str, Collaboration | None], created: int) -> dict[str, Any]:
    """Return the list of models: those of MODELS, and adapters by their names."""
    return {"object": "list", "data": [model(name, known, created) for name in known]}


def model(name: str, known: Mapping[str, Collaboration | None], created: int) -> dict[str, Any]:
    """Return one entry of the list of models."""
    about = "the image alone" if known[name] == "none" else "generalist, specialists and similar cases"
    if name not in MODELS:
        about = f"{about}, with the adapter {name!r}"
    return {"id": name, "object": "model", "created": created, "owned_by": "consilium",
            "metadata": {"description": about, "notice": NOTICE}}
