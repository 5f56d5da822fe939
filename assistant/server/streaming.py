"""Server-sent events over pieces of replies: every stream has an end, also when something fails or the client leaves.

What the events say is decided by the routes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Send

from assistant.errors import place
from assistant.server.asked import Piece, Reply
from assistant.server.faults import KNOWN, fault
from assistant.server.running import unless_gone

log = logging.getLogger("consilium.server")


class EventStream(StreamingResponse):
    """A response that closes its source at once when the client leaves, not when memory is next swept."""

    def __init__(self, events: AsyncGenerator[str]) -> None:
        # nginx and the like must not hold pieces back
        super().__init__(events, media_type="text/event-stream",
                         headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def stream_response(self, send: Send) -> None:
        """Send the source's events."""
        async with contextlib.aclosing(self.body_iterator):     # pyright: ignore[reportArgumentType]
            await super().stream_response(send)


async def begun(request: Request, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    """Return the same pieces once the first is there, so that a bad image has a status of its own in a stream too."""
    return _chained(await unless_gone(request, anext(pieces)), pieces)


async def whole(request: Request, pieces: AsyncGenerator[Piece]) -> list[Reply]:
    """Return the whole replies; a client that leaves meanwhile ends them."""
    return await unless_gone(request, _replies(pieces))


def told(raised: Exception) -> dict[str, Any]:
    """Return the error of a stream that failed; log what is ours."""
    if not isinstance(raised, KNOWN):
        log.error("A streamed answer failed: %s", place(raised))
    return fault(raised)[1]["error"]


async def _chained(first: Piece, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def _replies(pieces: AsyncGenerator[Piece]) -> list[Reply]:
    async with contextlib.aclosing(pieces):
        return [piece async for piece in pieces if isinstance(piece, Reply)]
