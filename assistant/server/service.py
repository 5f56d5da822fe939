"""What all routes share: the assistants by model name, room, figures, uploads, and where images come from."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import Request

from assistant.server.answering import Answering, replies, timed
from assistant.server.asked import Asked, Direct, Piece, Place, Reply, Unsupported
from assistant.server.faults import UnknownModel
from assistant.server.fetch import Fetcher
from assistant.server.metrics import Metrics
from assistant.server.running import Limits, Room
from assistant.server.store import Store
from assistant.server.wire import MODELS
from assistant.settings import paths
from assistant.steps import Collaboration

FRESH_S = 5.0
"""For how long what was found about the generalist's readiness holds."""


@dataclass
class Service:
    """One server's parts."""

    assistant: Answering
    limits: Limits
    metrics: Metrics
    fetcher: Fetcher = field(default_factory=Fetcher)
    home: Path | None = None
    skills: Mapping[str, Answering] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        """Make room."""
        self.room = Room(self.limits, self.metrics)
        self.fetcher = replace(self.fetcher, most_bytes=min(self.fetcher.most_bytes, self.limits.body_bytes))
        self._opening, self._store, self._ready = threading.Lock(), None, (0.0, "not asked yet")

    @property
    def known(self) -> Mapping[str, Collaboration | None]:
        """Model ids and the collaboration each is held to."""
        return {**MODELS, **dict.fromkeys(self.skills)}

    @property
    def store(self) -> Store:
        """Uploads and stored responses; made at the first use."""
        with self._opening:
            if self._store is None:
                self._store = Store(self._folder(), most_bytes=self.limits.file_bytes, hours=self.limits.file_hours)
            return self._store

    def expire(self) -> None:
        """Remove uploads and responses that are too old, those of an earlier run too; makes no store."""
        if self._store is not None or (self._folder() / "server.db").is_file():
            self.store.expire()

    def _folder(self) -> Path:
        records = getattr(self.assistant, "records", None)
        return (self.home or (records.paths.home if records is not None else paths().home)) / "server"

    def check(self, model: str) -> None:
        """Raise UnknownModel."""
        if model not in self.known:
            raise UnknownModel(f"No model named {model!r}. Known: {', '.join(self.known)}.")

    def pieces(self, model: str, asked: Asked | Direct, owner: str) -> AsyncGenerator[Piece]:
        """Return the pieces of the reply, made in a thread; raises Busy."""
        assistant, read = self.skills.get(model, self.assistant), self.reader(owner)
        first = self.metrics.first_seconds.labels(model).observe
        return self.room.steps(lambda: timed(replies(assistant, asked, read), first))

    def counted(self, model: str, done: list[Reply]) -> int | None:
        """Take the figures of whole replies and return the tokens of what was asked."""
        for reply in done:
            self.metrics.tokens.labels(model, "completion").inc(reply.tokens or 0)
            if reply.answer is not None and reply.answer.refer:
                self.metrics.referred.labels(model).inc()
        read = done[0].read if done else None
        self.metrics.tokens.labels(model, "prompt").inc(read or 0)
        return read

    def reader(self, owner: str) -> Callable[[Place], bytes]:
        """Return what reads the images of an owner's request."""
        def read(place: Place) -> bytes:
            if place.file_id is not None:
                return self.store.content(owner, place.file_id)
            url = place.url or ""
            scheme = url.partition(":")[0].lower()[:12]
            if scheme == "https" and self.fetcher.hosts:
                return self.fetcher.fetch(url)
            if scheme == "http" and self.fetcher.hosts:
                raise Unsupported("messages", "The image's URL begins with 'http'; wanted https, which alone is "
                                              "fetched, or a base64 data URL.")
            return decoded(url, scheme)
        return read

    def unready(self) -> str | None:
        """Return why no question can be answered now, None when one can; may take as long as a start."""
        found, why = self._ready
        if time.monotonic() - found < FRESH_S:
            return why
        why = None
        try:
            generalist: Any = getattr(self.assistant, "generalist", None)
            if hasattr(generalist, "ready"):
                generalist.ready()
        except Exception as fault:  # noqa: BLE001 whatever it is, it is why nothing can be answered
            why = type(fault).__name__
        self._ready = (time.monotonic(), why)
        return why


def skills(assistant: Any) -> dict[str, Answering]:
    """Return the assistant of each adapter, ready to answer; raises AdapterRefused for one that is broken."""
    found = {name: assistant.skilled(name) for name in getattr(assistant, "adapters", ())}
    for skilled in found.values():
        skilled.generalist.ready()
    return found


def owner(request: Request) -> str:
    """Return whose request it is."""
    return request.state.owner


def decoded(url: str, scheme: str) -> bytes:
    """Return the bytes of a data URL; raises Unsupported."""
    head, comma, data = url.partition(",")
    if scheme != "data":
        raise Unsupported("messages", f"The image's URL begins with {scheme!r}; wanted a base64 data URL "
                                      "(data:image/png;base64,...): nothing is fetched.")
    if not comma or not head.lower().endswith(";base64"):
        raise Unsupported("messages", "The image's data URL is not base64; wanted data:image/png;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Unsupported("messages", "The image's data URL holds characters that are not base64.") from None
