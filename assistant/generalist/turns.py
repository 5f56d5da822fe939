"""Conversations between LangChain's messages, chat templates' dicts and Hermes tool calls in text.

It renders no tokens (the chat template does) and opens nothing but data URLs: no file, no network.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    ToolCall,
    ToolMessage,
    convert_to_messages,
)
from PIL import Image

from assistant.errors import BadQuestion

CALL, CALL_END = "<tool_call>", "</tool_call>"
ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


def as_messages(messages: Iterable[Any]) -> list[BaseMessage]:
    """Return LangChain messages with the images of tool results moved to a user turn after them.

    Servers refuse images in tool messages, and most chat templates drop them silently.
    """
    moved: list[BaseMessage] = []
    waiting: list[Any] = []
    for message in convert_to_messages(list(messages)):
        if not isinstance(message, ToolMessage):
            moved += [HumanMessage(waiting)] if waiting else []
            waiting = []
            moved.append(message)
            continue
        images = [part for part in _parts(message) if is_image(part)]
        waiting += images
        text = "\n".join(_text(part) for part in _parts(message) if not is_image(part))
        moved.append(message.model_copy(update={"content": text}) if images else message)
    return moved + ([HumanMessage(waiting)] if waiting else [])


def to_chat(
    messages: Iterable[Any], reserved: Sequence[str] = (), read: Callable[[dict[str, Any]], Image.Image] | None = None
) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """Return the turns as chat templates take them, and the images in their order, as `read` (else `read_image`) does.

    `reserved` are control tokens of the tokenizer: written in a text they are broken up, so that no words can
    open a turn or claim an image.
    """
    turns: list[dict[str, Any]] = []
    images: list[Image.Image] = []
    for message in as_messages(messages):
        content: list[dict[str, Any]] = []
        for part in _parts(message):
            if is_image(part):
                images.append((read or read_image)(part))
                content.append({"type": "image"})
            else:
                content.append({"type": "text", "text": _plain(_text(part), reserved)})
        only_text = all(part["type"] == "text" for part in content)
        turn: dict[str, Any] = {
            "role": ROLES.get(message.type, message.type),
            "content": "".join(p["text"] for p in content) if only_text else content,
        }
        if isinstance(message, AIMessage) and message.tool_calls:
            turn["tool_calls"] = [
                {
                    "type": "function",
                    "id": call["id"],
                    "function": {"name": call["name"], "arguments": call["args"]},
                }
                for call in message.tool_calls
            ]
        if isinstance(message, ToolMessage):
            turn["tool_call_id"] = message.tool_call_id
        turns.append(turn)
    return turns, images


def as_urls(turn: BaseMessage, changed: Callable[[Image.Image], Image.Image] | None = None) -> BaseMessage:
    """Return a turn with its open images as PNG data URLs, which a server takes; with `changed` every image is."""
    def sent(part: Any) -> Any:
        if not isinstance(part, dict) or not is_image(part) or (changed is None and "image" not in part):
            return part
        image, buffer = read_image(part), io.BytesIO()
        (changed(image) if changed else image).save(buffer, format="PNG", compress_level=1)
        return {"type": "image_url",
                "image_url": {"url": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()}}
    if isinstance(turn.content, str):
        return turn
    return turn.model_copy(update={"content": [sent(part) for part in turn.content]})


def read_image(part: dict[str, Any]) -> Image.Image:
    """Return the RGB image of a content block: an open one (`image`), or a data URL (or base64 data)."""
    if isinstance(part.get("image"), Image.Image):
        return part["image"].convert("RGB")
    url = part.get("image_url", part.get("url"))
    url = url.get("url") if isinstance(url, dict) else url
    encoded = part.get("base64")
    if encoded is None:
        if not isinstance(url, str) or not url.startswith("data:image/") or ";base64," not in url:
            raise BadQuestion(
                f"Image {str(url)[:60]!r}: wanted a data URL (data:image/png;base64,...); "
                "addresses are never fetched."
            )
        encoded = url.split(";base64,", 1)[1]
    try:
        return Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))).convert("RGB")
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise BadQuestion(
            "The image of a data URL cannot be read: wanted a whole PNG or JPEG in base64."
        ) from error


def parse_reply(text: str, prefix: str = "") -> AIMessage:
    """Return the reply: text before the first tool call as content, Hermes calls as tool_calls.

    A call whose JSON cannot be read (cut off, not an object, no name) becomes an invalid_tool_call. One that is the
    very same as an earlier one (name and arguments) is dropped: small models repeat themselves, to no new result.
    """
    before, *rest = (prefix + text).split(CALL)
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for raw in rest:
        body, closed, _ = raw.partition(CALL_END)
        name, arguments = _read_call(body)
        if name is None:
            # The marker stays in front, else LangChain's lenient parser would mend a call that was cut off.
            invalid.append(
                InvalidToolCall(
                    type="invalid_tool_call",
                    name=None,
                    args=CALL + body,
                    id=_call_id(),
                    error=f"not a tool call: {'bad JSON' if closed else 'cut off'}",
                )
            )
        elif (name, arguments) not in [(call["name"], call["args"]) for call in calls]:
            calls.append(ToolCall(type="tool_call", name=name, args=arguments, id=_call_id()))
    return AIMessage(before.strip(), tool_calls=calls, invalid_tool_calls=invalid)


@dataclass
class Splitter:
    """Cuts a stream of text: what may be shown at once, and all of it for `parse_reply`.

    Text is held back while it may still become a tool call or a stop text, or blanks before one.
    """

    stop: Sequence[str] = ()
    text: str = ""
    sent: str = ""
    ended: bool = False
    """A stop text came: nothing after it counts."""

    def feed(self, piece: str) -> str:
        """Take a piece and return what may be shown now."""
        if self.ended:
            return ""
        self.text += piece
        for stop in self.stop:
            if stop in self.text:
                self.text, self.ended = self.text.split(stop, 1)[0], True
        end = self.text.find(CALL)
        if end < 0:
            end = len(self.text) - (0 if self.ended else self._held())
        fresh = self.text[:end].strip()[len(self.sent) :]
        self.sent += fresh
        return fresh

    def _held(self) -> int:
        marks = (CALL, *self.stop)
        return max(
            (n for mark in marks for n in range(1, len(mark)) if self.text.endswith(mark[:n])), default=0
        )


def written_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call as Hermes, Qwen and consilium-nano write it, which is how `parse_reply` reads it."""
    return f"{CALL}\n{begun_call(name)}{json.dumps(arguments)}}}\n{CALL_END}"


def begun_call(name: str) -> str:
    """Return the JSON of a call up to its arguments."""
    return f'{{"name": {json.dumps(name)}, "arguments": '


def forced(tool_choice: str | None, tools: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that a reply must begin with under this tool choice."""
    if not tools or tool_choice in (None, "auto", "none"):
        return ""
    names = [tool["function"]["name"] for tool in tools]
    if tool_choice in names:
        return f"{CALL}\n{begun_call(tool_choice)}"
    if tool_choice in ("any", "required"):
        return f'{CALL}\n{{"name": "'
    raise BadQuestion(f"tool_choice {tool_choice!r}: wanted auto, none, any or one of {', '.join(names)}.")


def _read_call(body: str) -> tuple[str | None, dict[str, Any]]:
    try:
        call = json.loads(body)
    except json.JSONDecodeError:
        return None, {}
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        return None, {}
    arguments = call.get("arguments") or {}
    return (call["name"], arguments) if isinstance(arguments, dict) else (None, {})


def _call_id() -> str:
    return f"call_{uuid.uuid4().hex[:12]}"


def _parts(message: BaseMessage) -> Iterator[dict[str, Any]]:
    content = message.content
    for part in [content] if isinstance(content, str) else content:
        if isinstance(part, str):
            yield {"type": "text", "text": part}
        else:
            yield dict(part)


def is_image(part: dict[str, Any]) -> bool:
    """Tell whether a content block is an image."""
    return part.get("type") in ("image", "image_url")


def _text(part: dict[str, Any]) -> str:
    return str(part.get("text", ""))


def _plain(text: str, reserved: Sequence[str]) -> str:
    if not reserved or "<" not in text:
        return text
    return re.sub("|".join(re.escape(mark) for mark in reserved), lambda m: m[0][0] + " " + m[0][1:], text)
