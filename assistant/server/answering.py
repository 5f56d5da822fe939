"""From a request to the pieces of its reply: by a consultation, or by the generalist as it is.

Runs in one thread from beginning to end; it knows no JSON and no HTTP.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Unpack

from langchain_core.messages import AIMessage, AIMessageChunk
from PIL.Image import Image

from assistant import template
from assistant.generalist.turns import Splitter
from assistant.server.asked import Asked, Delta, Direct, Piece, Place, Reply, Unsupported
from assistant.server.overlays import markdown
from assistant.steps import Answer, How, Question, Step, TextDelta
from specialists.core.study import Study, read_study

Read = Callable[[Place], bytes]
"""Returns the bytes of an image; raises BadQuestion or NotFound."""
Count = Callable[[str], int]


class Answering(Protocol):
    """What the server needs of an assistant."""

    def stream(self, images: Any, question: str, *, history: Sequence[Mapping[str, Any]] = ..., **how: Unpack[How]
               ) -> Iterator[Step]:
        """Yield the steps of one question after earlier turns, the answer last; it stores no conversation."""
        ...


def replies(assistant: Answering, asked: Asked | Direct, read: Read) -> Iterator[Piece]:
    """Yield the pieces of the reply; the first comes once the request is known to be sound."""
    if isinstance(asked, Asked):
        return consulted(assistant, asked, read)
    return written(getattr(assistant, "generalist", None), asked, read)


# 1) a consultation

def consulted(assistant: Answering, asked: Asked, read: Read) -> Iterator[Piece]:
    """Yield the text of a consultation and the whole answer; an empty piece for every other step."""
    images = [read(place) for place in asked.images]
    how: dict[str, Any] = {"options": asked.options, "collaboration": asked.collaboration, "style": asked.style,
                           "without": asked.without, "patient": asked.patient, "kind": asked.kind}
    steps = assistant.stream(images, asked.question, history=asked.history, **how)
    count = getattr(getattr(assistant, "generalist", None), "count_tokens", None)
    cut, study = Cut(asked.stop, asked.most, count), None
    with contextlib.closing(_closable(steps)) as steps:
        for step in steps:
            if isinstance(step, TextDelta):
                yield Delta(cut.feed(step.text))
            elif isinstance(step, Answer):
                yield from _ended(asked, step, study, cut, count)
            else:
                study = step.studies[0] if isinstance(step, Question) and step.studies else study
                yield Delta("")


def _ended(asked: Asked, answer: Answer, study: Study | None, cut: Cut, count: Count | None) -> Iterator[Piece]:
    yield Delta(cut.rest(answer.text))
    text = cut.sent
    if asked.overlays and cut.finish == "stop" and study is not None and (pictures := markdown(answer, study)):
        yield Delta(pictures)
        text += pictures
    said = [*(_words(turn["content"]) for turn in asked.history), asked.question]
    logprobs = None
    if asked.logprobs:
        top = [_chance(option, share) for option, share in answer.options.items()]
        logprobs = ({**_chance(str(answer.label), answer.options.get(str(answer.label), 0.0)), "top_logprobs": top},)
    yield Reply(text, answer=answer, finish=cut.finish, logprobs=logprobs,
                tokens=None if count is None else count(cut.sent),
                read=None if count is None else sum(map(count, said)))


def _chance(option: str, share: float) -> dict[str, Any]:
    return {"token": option, "logprob": math.log(max(share, 1e-12)), "bytes": list(option.encode())}


def _words(content: Any) -> str:
    return content if isinstance(content, str) else content[-1]["text"]


def _closable(steps: Iterable[Step]) -> Any:
    """Return the steps as a generator, which can be closed."""
    return steps if hasattr(steps, "close") else (step for step in steps)


class Cut:
    """The text of a consultation as the request bounds it: up to a stop text, up to so many tokens."""

    def __init__(self, stop: Sequence[str], most: int | None, count: Count | None) -> None:
        """`count` counts tokens; where nobody can, words are counted."""
        self.most, self.count = most, count or (lambda text: len(text.split()))
        self.bounded = bool(stop) or most is not None
        self.sent = ""
        self.finish: Literal["stop", "length"] = "stop"
        self._split = Splitter(stop=stop)
        self._over = False

    def feed(self, piece: str) -> str:
        """Take a piece and return what may be shown of it."""
        if self._over:
            return ""
        shown = self._within(self._split.feed(piece) if self.bounded else piece)
        self._over = self._over or self._split.ended
        self.sent += shown
        return shown

    def rest(self, whole: str) -> str:
        """Return what of the whole text was held back and may now be shown."""
        if self._over or not whole.startswith(self.sent):
            return ""
        rest = self._within(whole[len(self.sent):])
        self.sent += rest
        return rest

    def _within(self, text: str) -> str:
        if self.most is None or self.count(self.sent + text) <= self.most:
            return text
        self._over, self.finish = True, "length"
        shown = ""
        for word in re.findall(r"\s*\S+\s*", text):
            if self.count(self.sent + shown + word) > self.most:
                break
            shown += word
        return shown


# 2) the generalist as it is

def written(generalist: Any, direct: Direct, read: Read) -> Iterator[Piece]:
    """Yield what the generalist writes, reply by reply; images are shown to it as a consultation shows them."""
    if not hasattr(generalist, "stream"):
        raise Unsupported("messages", "There is no image in the conversation, and no generalist to talk to.")
    images = [template.shown(read_study(read(place)).image()) for place in direct.images]
    messages = _filled(direct.messages, images)
    for index in range(direct.n):
        yield from _one(generalist, direct, messages, index)


def _filled(messages: Sequence[Mapping[str, Any]], images: Sequence[Image]) -> list[dict[str, Any]]:
    left = iter(images)

    def part(given: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "image", "image": next(left)} if given["type"] == "image" else dict(given)
    return [{**m, "content": [part(p) for p in m["content"]] if isinstance(m["content"], list) else m["content"]}
            for m in messages]


def _one(generalist: Any, direct: Direct, messages: list[dict[str, Any]], index: int) -> Iterator[Piece]:
    settings = dict(direct.settings)
    if direct.n > 1:  # several replies are wanted to differ
        settings = {"temperature": 1.0, **settings, "seed": int(settings.get("seed", 0)) + index}
    if direct.response_format is not None:
        settings["response_format"] = dict(direct.response_format)
    if direct.top_logprobs is not None:
        settings |= {"logprobs": True, "top_logprobs": direct.top_logprobs}
    offered = direct.tools if direct.tool_choice != "none" else ()
    model = generalist.bind_tools(offered, tool_choice=direct.tool_choice) if offered else generalist
    settings["stop"] = list(direct.stop) or None
    if not direct.stream:
        yield _reply(model.invoke(messages, **settings), direct, index)
        return
    whole: Any = None
    with contextlib.closing(model.stream(messages, **settings)) as chunks:
        for chunk in chunks:
            whole = chunk if whole is None else whole + chunk
            yield Delta(str(chunk.text), index)
    yield _reply(whole if whole is not None else AIMessageChunk(content=""), direct, index)


def _reply(whole: AIMessage, direct: Direct, index: int) -> Reply:
    calls = tuple({"id": call["id"] or f"call_{place}", "type": "function",
                   "function": {"name": call["name"], "arguments": json.dumps(call["args"])}}
                  for place, call in enumerate(whole.tool_calls[:1] if direct.one_call else whole.tool_calls))
    unread = "" if calls else "\n".join(str(call.get("args") or "") for call in whole.invalid_tool_calls)
    about = whole.response_metadata
    finish: Literal["stop", "length", "tool_calls"] = "stop"
    if about.get("finish_reason") == "length":
        finish = "length"
    elif calls:
        finish = "tool_calls"
    logprobs = (about.get("logprobs") or {}).get("content")
    if direct.top_logprobs is not None and logprobs is None:
        raise Unsupported("logprobs", "The generalist gives no log-probabilities of tokens.")
    used = whole.usage_metadata or {}
    return Reply(str(whole.text) + unread, index, finish, calls, None,
                 None if logprobs is None else tuple(logprobs), used.get("output_tokens"), used.get("input_tokens"))


def timed(pieces: Iterator[Piece], first: Callable[[float], None]) -> Iterator[Piece]:
    """Yield the pieces, and tell how long the first text took."""
    began, waits = time.perf_counter(), True
    for piece in pieces:
        if waits and isinstance(piece, Delta) and piece.text:
            waits = False
            first(time.perf_counter() - began)
        yield piece
