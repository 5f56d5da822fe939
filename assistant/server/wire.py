"""OpenAI's chat completions as types, and their translation to questions and from replies.

It opens no socket, decodes no pixel and loads no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from assistant.server.asked import NOTICE, Asked, Direct, Place, Reply, Unsupported
from assistant.steps import Answer, Collaboration, Style

MODELS: dict[str, Collaboration | None] = {"consilium": None, "consilium-generalist": "none"}
"""Model ids and the collaboration each is held to; None leaves the choice to the request, as every adapter does."""

INSTRUCTIONS = ("system", "developer")
MOST_REPLIES = 8
"""Replies of one request (`n`)."""
OVERLAY = re.compile(r"\n{0,2}!\[[^\[\]\n]{0,200}\]\(data:image/[^()\s]*\)")
"""The pictures that answers carry; taken out of earlier turns, which clients send back whole."""
LONE = re.compile("[\ud800-\udfff]")
"""Halves of a letter, as a client leaves them that cuts a text inside an emoji; UTF-8 cannot write them."""
QUESTION = "What does this image show?"
"""What is asked about images that come without a word."""

Count = Callable[[str], int]
"""Counts the tokens of a text with the generalist's own tokenizer."""


class Body(BaseModel):
    """The body of a request; what its type does not name is kept, so that it can be named as ignored."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _written(cls, given: Any) -> Any:
        """Put U+FFFD for every half of a letter, in place: parsers, databases and replies take whole ones alone."""
        waiting = [given]
        while waiting:      # no recursion: a body may be nested deeply
            at = waiting.pop()
            if isinstance(at, dict):
                parts = [(_whole(name), _whole(value)) for name, value in at.items()]
                at.clear()
                at.update(parts)
                waiting += at.values()
            elif isinstance(at, list):
                at[:] = map(_whole, at)
                waiting += at
        return given


def _whole(value: Any) -> Any:
    return LONE.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value


class ImageURL(BaseModel):
    """Where an image is: a data URL, or an https address on an allowed host."""

    url: str
    detail: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _object(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError('got a text; wanted an object with url, {"url": "data:image/png;base64,..."}')
        return given


class File(BaseModel):
    """An image that was uploaded before (`file_id`), or is given here as a data URL (`file_data`)."""

    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class TextPart(BaseModel):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: ImageURL


class FilePart(BaseModel):
    """A file in a message: an image of any format that is read, DICOM and NIfTI too."""

    type: Literal["file"]
    file: File


class RefusalPart(BaseModel):
    """What an assistant of another maker declined to say."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[TextPart | ImagePart | FilePart | RefusalPart, Field(discriminator="type")]


class Called(BaseModel):
    """A function that the generalist called, and its arguments as JSON."""

    name: str
    arguments: str = "{}"

    def told(self) -> dict[str, str]:
        """Return name and arguments; raises Unsupported for arguments that are no JSON object."""
        text = self.arguments.strip() or "{}"       # so some servers write a call without arguments
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict):
            raise Unsupported("messages", f"The arguments of the call of {self.name[:64]!r} are {text[:40]!r}; wanted "
                                          "a JSON object as a text, such as '{}'.")
        return {"name": self.name, "arguments": text}


class Call(BaseModel):
    """A call of one of the client's tools."""

    id: str
    type: Literal["function"] = "function"
    function: Called


class Message(BaseModel):
    """One turn; instructions of the client are read over in a consultation, which has its own."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None

    def text(self) -> str:
        """Return the text of all parts, a line each, without the pictures of an earlier answer."""
        if isinstance(self.content, list):
            said = "\n".join(p.text for p in self.content if isinstance(p, TextPart))
        else:
            said = self.content or ""
        return OVERLAY.sub("", said) if self.role == "assistant" else said

    def places(self) -> tuple[Place, ...]:
        """Return where the images are, in order."""
        parts = self.content if isinstance(self.content, list) else []
        return tuple(place for part in parts if (place := _place(part)) is not None)


def _place(part: Part) -> Place | None:
    if isinstance(part, ImagePart):
        return Place(url=part.image_url.url)
    if not isinstance(part, FilePart):
        return None
    if (part.file.file_id is None) == (part.file.file_data is None):
        raise Unsupported("messages", "A file part has file_id or file_data, one of them.")
    return Place(url=part.file.file_data, file_id=part.file.file_id)


class Extension(BaseModel):
    """What OpenAI's protocol has no word for; unknown fields are refused, lest a misspelling go unseen."""

    model_config = ConfigDict(extra="forbid")

    options: list[str] | None = None
    collaboration: Collaboration | None = None
    style: Style = "calibrated"
    without: list[str] = []
    patient: str | None = None
    kind: str | None = None
    """What kind of image the first one is; left out, triage tells."""
    overlays: bool = True
    """Put pictures of what was found into the text, as markdown images with data URLs."""
    detail: Literal["less", "all"] = "all"
    """less: of the `consilium` object only label, confidence, referral and trace id."""


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class Function(BaseModel):
    """A function of the client's."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w-]+$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool of the client's, which the generalist may call and the client runs."""

    type: Literal["function"]
    function: Function

    def schema_(self) -> dict[str, Any]:
        """Return OpenAI's function object, with parameters."""
        about = self.function.model_dump(exclude_none=True)
        return {"type": "function",
                "function": {"description": "", "parameters": {"type": "object", "properties": {}}, **about}}


class ChosenFunction(BaseModel):
    """The name of the tool that must be called."""

    name: str


class ToolChoice(BaseModel):
    """The tool that must be called."""

    type: Literal["function"]
    function: ChosenFunction


class JsonSchema(BaseModel):
    """A schema that the reply must fit."""

    name: str = "reply"
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(BaseModel):
    """The form of the reply."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(Body):
    """A request; what is neither here nor obeyed is named in the response."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    consilium: Extension = Extension()
    n: int | None = Field(None, ge=1, le=MOST_REPLIES)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    response_format: ResponseFormat | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(None, ge=1, le=2**20)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**20)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-2**63, lt=2**63)
    user: str | None = None

    def most(self) -> int | None:
        """Return how many tokens a reply may have, None where the request does not say."""
        return self.max_completion_tokens or self.max_tokens

    def stops(self) -> tuple[str, ...]:
        """Return the texts that end a reply."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(given) > 4 or not all(given):
            raise Unsupported("stop", "Wanted at most 4 texts to stop at, none of them empty.")
        return tuple(given)


def asked(request: ChatRequest) -> Asked | Direct:
    """Translate a request; BadQuestion says what it lacks.

    A question about an image is a consultation, unless it asks for what only a language model gives: calls of the
    client's tools, JSON, several replies. That, and a talk without any image, goes to the generalist as it is.
    """
    if request.functions:
        raise Unsupported("functions", "Functions are the old form; send tools.")
    if request.top_logprobs and not request.logprobs:
        raise Unsupported("top_logprobs", "top_logprobs needs logprobs: true.")
    for message in request.messages:
        if message.places() and message.role not in ("user", "tool"):
            raise Unsupported("messages", f"Role {message.role!r} holds an image; wanted 'user'.")
    return _direct(request) if _is_direct(request) else _consultation(request)


def _is_direct(request: ChatRequest) -> bool:
    consults = request.consilium.options is not None or request.consilium.collaboration == "full"
    tooled = any(m.role == "tool" or m.tool_calls for m in request.messages)
    wants = {
        "tools": bool(request.tools) or tooled, "n": (request.n or 1) > 1,
        "response_format": request.response_format is not None and request.response_format.type != "text",
        "logprobs": bool(request.logprobs) and request.consilium.options is None,
    }
    for param, wanted in wants.items():
        if wanted and consults:
            raise Unsupported(param, f"{param} goes to the generalist as it is; leave consilium.options and "
                                     "consilium.collaboration out.")
    return any(wants.values()) or (not consults and not any(m.places() for m in request.messages))


def _consultation(request: ChatRequest) -> Asked:
    *earlier, last = request.messages
    if last.role != "user":
        raise Unsupported("messages", f"The last message is of role {last.role!r}; wanted 'user'.")
    shown = next((m for m in reversed(request.messages) if m.places()), None)
    if shown is None:
        raise Unsupported("messages", "There is no image in the conversation: send one as an image_url part "
                                      "with a base64 data URL (data:image/png;base64,...), or a file part.")
    more, said = request.consilium, last.text()
    text = said if said.strip() or not last.places() else QUESTION
    history = tuple({"role": m.role, "content": _with_image(m.text()) if m is shown else m.text()} for m in earlier
                    if m.role not in INSTRUCTIONS and m.text())
    return Asked(
        text, shown.places(), history, None if more.options is None else tuple(more.options),
        _collaboration(request), more.style, tuple(more.without), more.patient,
        kind=more.kind, overlays=more.overlays, logprobs=bool(request.logprobs), stop=request.stops(),
        most=request.most())


def _with_image(text: str) -> list[dict[str, Any]]:
    """The turn that gave the images, if it is not the last, has an {"type": "image"} part."""
    return [{"type": "image"}, {"type": "text", "text": text}]


def _direct(request: ChatRequest) -> Direct:
    if request.messages[-1].role == "assistant":
        raise Unsupported("messages", "The last message is of role 'assistant'; wanted 'user' or 'tool'.")
    names = [tool.function.name for tool in request.tools or ()]
    choice = request.tool_choice
    chosen = choice.function.name if isinstance(choice, ToolChoice) else choice
    if isinstance(choice, ToolChoice) and chosen not in names:
        raise Unsupported("tool_choice", f"No tool named {chosen!r} among {', '.join(names) or 'none'}.")
    if chosen == "required" and not names:
        raise Unsupported("tool_choice", "tool_choice 'required' needs tools.")
    form = request.response_format
    if form is not None and form.type == "json_schema" and (form.json_schema is None or not form.json_schema.schema_):
        raise Unsupported("response_format", "response_format json_schema needs a schema.")
    settings = {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed,
                "max_tokens": request.most()}
    return Direct(
        tuple(_turn(m) for m in request.messages), tuple(p for m in request.messages for p in m.places()),
        tuple(tool.schema_() for tool in request.tools or ()), chosen, request.n or 1, request.stream, request.stops(),
        {name: value for name, value in settings.items() if value is not None},
        None if form is None or form.type == "text" else form.model_dump(by_alias=True, exclude_none=True),
        (request.top_logprobs or 0) if request.logprobs else None, request.parallel_tool_calls is False)


def _turn(message: Message) -> dict[str, Any]:
    """Return a message as LangChain takes it; an image part says only that there is one."""
    parts: list[dict[str, Any]] = [{"type": "image"} for _ in message.places()]
    content: Any = [*parts, {"type": "text", "text": message.text()}] if parts else message.text()
    turn: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role, "content": content}
    if message.tool_calls:
        turn["tool_calls"] = [{**call.model_dump(), "function": call.function.told()} for call in message.tool_calls]
    if message.role == "tool":
        if not message.tool_call_id:
            raise Unsupported("messages", "A message of role 'tool' needs the tool_call_id that it answers.")
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _collaboration(request: ChatRequest) -> Collaboration:
    held, wanted = MODELS.get(request.model), request.consilium.collaboration
    if held and wanted and wanted != held:
        raise Unsupported("consilium.collaboration", f"Model {request.model!r} always has collaboration "
                                                     f"{held!r}, got {wanted!r}; ask model 'consilium'.")
    return held or wanted or "auto"


def ignored(request: ChatRequest, to: Asked | Direct) -> tuple[str, ...]:
    """Name what the request holds and nobody looks at, lest one think it was obeyed."""
    unread = [*sorted(request.model_extra or ())]
    if isinstance(to, Asked):
        unread += [name for name in ("seed", "temperature", "top_p") if getattr(request, name) is not None]
        unread += ["system messages"] if any(m.role in INSTRUCTIONS and m.text() for m in request.messages) else []
    return tuple(unread)


def usage(read: int | None, reply: Iterable[Reply]) -> dict[str, int] | None:
    """Return counts of tokens, or None where nobody counted; of a consultation images are not in them."""
    made = [one.tokens for one in reply]
    if read is None or any(count is None for count in made):
        return None
    completion = sum(count or 0 for count in made)
    return {"prompt_tokens": read, "completion_tokens": completion, "total_tokens": read + completion}


@dataclass(frozen=True)
class Envelope:
    """What all parts of one response share."""

    id: str
    model: str
    created: int
    ignored: tuple[str, ...] = ()
    detail: Literal["less", "all"] = "all"

    def consilium(self, answer: Answer | None) -> dict[str, Any]:
        """Return what stands under `consilium`: the answer, its use, and what of the request was ignored."""
        whole = answer.json() if answer is not None else {}
        if self.detail == "less":
            kept = ("label", "confidence", "refer", "refer_reason", "kind", "trace_id")
            whole = {name: whole[name] for name in kept if name in whole}
        return whole | {"notice": NOTICE, "ignored": list(self.ignored)}

    def completion(self, replies: Sequence[Reply], used: Mapping[str, int] | None) -> dict[str, Any]:
        """Return the response of a request that is not streamed."""
        choices = [{"index": reply.index, "finish_reason": reply.finish, "logprobs": _logprobs(reply),
                    "message": {"role": "assistant", "content": reply.content(), "refusal": None,
                                **({"tool_calls": list(reply.calls)} if reply.calls else {})}}
                   for reply in replies]
        return {"id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
                "choices": choices, "usage": used, "consilium": self.consilium(replies[0].answer)}

    def chunk(self, delta: Mapping[str, Any] | None, finish: str | None = None, index: int = 0, **more: Any
              ) -> dict[str, Any]:
        """Return one part of a streamed response; no delta means no choice (the part that carries usage)."""
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": more.pop("logprobs", None)}
        return {"id": self.id, "object": "chat.completion.chunk", "created": self.created,
                "model": self.model, "choices": [] if delta is None else [choice], **more}

    def last(self, reply: Reply, **more: Any) -> list[dict[str, Any]]:
        """Return the parts that end one reply of a stream: its calls, then the finish with the whole answer."""
        parts = []
        if reply.calls:
            calls = [{"index": place, **call} for place, call in enumerate(reply.calls)]
            parts.append(self.chunk({"tool_calls": calls}, index=reply.index, **more))
        finish = self.chunk({}, reply.finish, reply.index, logprobs=_logprobs(reply),
                            consilium=self.consilium(reply.answer), **more)
        return [*parts, finish]


def _logprobs(reply: Reply) -> dict[str, Any] | None:
    return None if reply.logprobs is None else {"content": list(reply.logprobs), "refusal": None}


DONE = "data: [DONE]\n\n"


def event(data: Mapping[str, Any], name: str | None = None) -> str:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n" if name else f"data: {json.dumps(data)}\n\n"


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
