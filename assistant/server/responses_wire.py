"""OpenAI's responses as types: items to chat messages, replies to items and events.

It stores nothing and opens no socket.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assistant.server import wire
from assistant.server.asked import Delta, Piece, Reply, Unsupported
from assistant.server.faults import invalid

DELTA = "response.output_text.delta"
LOGPROBS = "message.output_text.logprobs"
"""What `include` says for log-probabilities of tokens; of the rest that it may say nothing is to be had."""


class Item(BaseModel):
    """A message, a call of a tool, or what a tool answered; a message may leave its type out."""

    model_config = ConfigDict(extra="allow")

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[dict[str, Any]] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[dict[str, Any]] | None = None


class FunctionTool(BaseModel):
    """A function of the client's."""

    model_config = ConfigDict(extra="allow")

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(BaseModel):
    """The tool that must be called."""

    type: Literal["function"]
    name: str


class Format(BaseModel):
    """The form of the text."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "reply"
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


    def json_(self) -> dict[str, Any]:
        """Return the form as a response repeats it."""
        bare = None if self.type == "json_schema" else {"name"}
        return self.model_dump(by_alias=True, exclude_none=True, exclude=bare)


class Text(BaseModel):
    """How the text is wanted."""

    model_config = ConfigDict(extra="allow")

    format: Format = Format()


class ResponsesRequest(wire.Body):
    """A request of the Responses API."""

    model: str
    input: str | Annotated[list[Item], Field(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    tools: list[FunctionTool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    text: Text = Text()
    max_output_tokens: int | None = Field(None, ge=1, le=2**20)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    metadata: dict[str, str] | None = None
    user: str | None = None
    consilium: wire.Extension = wire.Extension()

    def fresh(self) -> list[dict[str, Any]]:
        """Return the input as messages of a chat."""
        if isinstance(self.input, str):
            return [{"role": "user", "content": self.input}]
        return _messages(self.input)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> wire.ChatRequest:
        """Return the same request, about all these messages, as a chat; what only a chat has is left out."""
        logprobs = LOGPROBS in (self.include or ())
        if self.top_logprobs and not logprobs:
            raise Unsupported("top_logprobs", f"top_logprobs needs include: [{LOGPROBS!r}].")
        led = [{"role": "system", "content": self.instructions}] if self.instructions else []
        chosen = self.tool_choice
        asked = {
            "model": self.model, "messages": [*led, *messages], "temperature": self.temperature, "top_p": self.top_p,
            "max_completion_tokens": self.max_output_tokens, "consilium": self.consilium, "user": self.user,
            "stream": bool(self.stream), "parallel_tool_calls": self.parallel_tool_calls,
            "logprobs": logprobs, "top_logprobs": self.top_logprobs,
            "tool_choice": {"type": "function", "function": {"name": chosen.name}} if isinstance(chosen, NamedTool)
            else chosen,
            "tools": [{"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}
                      for tool in self.tools or ()] or None,
            "response_format": _format(self.text.format)}
        try:
            return wire.ChatRequest.model_validate(asked)
        except ValidationError as fault:
            errors = [{**one, "loc": ("body", *one["loc"])} for one in fault.errors()]
            raise Unsupported("input", invalid(errors, asked)["error"]["message"]) from None

    def ignored(self) -> tuple[str, ...]:
        """Name what the request holds and nobody looks at."""
        return (*sorted(self.model_extra or ()), *(f"text.{name}" for name in sorted(self.text.model_extra or ())),
                *(f"include: {name}" for name in self.include or () if name != LOGPROBS))


def _format(form: Format) -> dict[str, Any] | None:
    if form.type == "text":
        return None
    schema = {"name": form.name, "schema": form.schema_, "strict": form.strict}
    return {"type": form.type, **({"json_schema": schema} if form.type == "json_schema" else {})}


def _messages(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return items as messages; calls that follow one another are of one message."""
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        where = f"input.{number}"
        if item.type == "message":
            if item.role is None:
                raise Unsupported(where, f"{where}: a message has no role; wanted 'user', 'assistant', 'system' or "
                                         "'developer'.")
            messages.append({"role": item.role, "content": _content(item.content, f"{where}.content")})
        elif item.type == "function_call":
            call = {"id": item.call_id or "", "type": "function",
                    "function": {"name": item.name or "", "arguments": item.arguments or "{}"}}
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(call)
        elif item.type == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item.call_id,
                             "content": _content(item.output, f"{where}.output")})
    return messages


def _content(content: str | Sequence[Mapping[str, Any]] | None, where: str) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part, f"{where}.{number}") for number, part in enumerate(content)]


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": _text_of(part, "text", where)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _text_of(part, "refusal", where)}
    if kind == "input_image" and not part.get("file_id"):
        return {"type": "image_url", "image_url": {"url": _text_of(part, "image_url", where)}}
    if kind == "input_file" and part.get("file_url"):
        return {"type": "image_url", "image_url": {"url": _text_of(part, "file_url", where)}}
    if kind in ("input_image", "input_file"):
        named = "file_id" if part.get("file_id") is not None else "file_data"
        others = {name: part.get(name) for name in ("file_id", "file_data")}
        return {"type": "file", "file": {**others, named: _text_of(part, named, where)}}
    raise Unsupported(where, f"{where}: a part of type {str(kind)[:40]!r}; known: input_text, input_image, input_file.")


def _text_of(part: Mapping[str, Any], name: str, where: str) -> str:
    """Return what a part holds under a name; raises Unsupported for what is no text."""
    value = part.get(name)
    if not isinstance(value, str):
        got = "nothing" if value is None else f"a value of type {type(value).__name__}"
        raise Unsupported(f"{where}.{name}", f"{where}.{name}: got {got}; wanted a text.")
    return value


@dataclass(frozen=True)
class Envelope:
    """What all parts of one response share."""

    request: ResponsesRequest
    created: int
    ignored: tuple[str, ...]
    id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")
    message_id: str = field(default_factory=lambda: f"msg_{uuid.uuid4().hex}")

    def response(self, status: str, reply: Reply | None = None, error: Mapping[str, Any] | None = None
                 ) -> dict[str, Any]:
        """Return the response object as it stands."""
        asked = self.request
        more = {"consilium": wire.Envelope("", "", 0, self.ignored, asked.consilium.detail).consilium(reply.answer)
                } if reply is not None else {}
        chosen, most = asked.tool_choice, {"reason": "max_output_tokens"}
        return {
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "model": asked.model,
            "output": self.items(reply) if reply is not None else [], "usage": _usage(reply),
            "error": error and {"code": "server_error", "message": error["message"]},
            "incomplete_details": most if status == "incomplete" else None, "instructions": asked.instructions,
            "previous_response_id": asked.previous_response_id, "store": asked.store is not False,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "tools": [tool.model_dump(exclude_none=True) for tool in asked.tools or ()],
            "tool_choice": chosen.model_dump() if isinstance(chosen, NamedTool) else chosen or "auto",
            "temperature": asked.temperature, "top_p": asked.top_p, "top_logprobs": asked.top_logprobs,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {}, "text": {"format": asked.text.format.json_()},
            **more}

    def items(self, reply: Reply) -> list[dict[str, Any]]:
        """Return the items of the output: the message, then the calls."""
        said = [self.message(reply)] if reply.text or not reply.calls else []
        return [*said, *(_call(call) for call in reply.calls)]

    def message(self, reply: Reply | None) -> dict[str, Any]:
        """Return the message's item; None: it has begun."""
        status, content = ("in_progress", []) if reply is None else ("completed", [_text(reply)])
        return {"id": self.message_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def pieces(self, piece: Piece, began: bool) -> Iterator[dict[str, Any]]:
        """Yield the events of a piece of text, and of the end; `began` says whether the message did."""
        text = piece.text if isinstance(piece, Delta) or not began else ""
        alone = isinstance(piece, Reply) and not piece.calls      # a message without a word is one too
        if not began and (text or alone):
            yield from self._opened()
            began = True
        if text:
            yield {"type": DELTA, "item_id": self.message_id, "output_index": 0, "content_index": 0, "delta": text,
                   "logprobs": []}
        if isinstance(piece, Reply):
            yield from self._ended(piece, int(began))

    def _ended(self, reply: Reply, place: int) -> Iterator[dict[str, Any]]:
        """`place` is that of the next item, after the message if one began."""
        if place:
            where = {"item_id": self.message_id, "output_index": 0, "content_index": 0}
            yield {"type": "response.output_text.done", **where, "text": reply.text,
                   "logprobs": list(reply.logprobs or ())}
            yield {"type": "response.content_part.done", **where, "part": _text(reply)}
            yield {"type": "response.output_item.done", "output_index": 0, "item": self.message(reply)}
        for index, call in enumerate(map(_call, reply.calls), place):
            where = {"item_id": call["id"], "output_index": index}
            yield {"type": "response.output_item.added", "output_index": index,
                   "item": {**call, "arguments": "", "status": "in_progress"}}
            yield {"type": "response.function_call_arguments.delta", **where, "delta": call["arguments"]}
            yield {"type": "response.function_call_arguments.done", **where, "arguments": call["arguments"],
                   "name": call["name"]}
            yield {"type": "response.output_item.done", "output_index": index, "item": call}

    def _opened(self) -> Iterator[dict[str, Any]]:
        where = {"item_id": self.message_id, "output_index": 0, "content_index": 0}
        yield {"type": "response.output_item.added", "output_index": 0, "item": self.message(None)}
        yield {"type": "response.content_part.added", **where, "part": _text(Reply(""))}


def status(reply: Reply) -> str:
    """Return the status of a whole response."""
    return "incomplete" if reply.finish == "length" else "completed"


def _text(reply: Reply) -> dict[str, Any]:
    return {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": list(reply.logprobs or ())}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": f"fc_{call['id']}", "type": "function_call", "call_id": call["id"], "status": "completed",
            **call["function"]}


def _usage(reply: Reply | None) -> dict[str, Any] | None:
    used = wire.usage(reply.read, [reply]) if reply is not None else None
    return used and {"input_tokens": used["prompt_tokens"], "input_tokens_details": {"cached_tokens": 0},
                     "output_tokens": used["completion_tokens"], "output_tokens_details": {"reasoning_tokens": 0},
                     "total_tokens": used["total_tokens"]}
