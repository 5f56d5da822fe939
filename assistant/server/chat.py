"""The route of chat completions."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from assistant.server import wire
from assistant.server.asked import Delta, Piece, Reply
from assistant.server.service import Service, owner
from assistant.server.streaming import EventStream, begun, told, whole


def routes(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None)
    async def completions(body: wire.ChatRequest, request: Request) -> JSONResponse | StreamingResponse:
        service.check(body.model)
        asked = wire.asked(body)
        envelope = wire.Envelope(f"chatcmpl-{uuid.uuid4().hex}", body.model, int(time.time()),
                                 wire.ignored(body, asked), body.consilium.detail)
        pieces = service.pieces(body.model, asked, owner(request))
        if body.stream:
            pieces = await begun(request, pieces)
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            return EventStream(_events(service, envelope, pieces, with_usage))
        replies = await whole(request, pieces)
        return JSONResponse(envelope.completion(replies, wire.usage(service.counted(body.model, replies), replies)))

    return router


async def _events(service: Service, envelope: wire.Envelope, pieces: AsyncGenerator[Piece], with_usage: bool
                  ) -> AsyncGenerator[str]:
    """Yield the events of all replies; the chunk with the finish reason carries the whole answer."""
    extra = {"usage": None} if with_usage else {}
    begun: set[int] = set()
    done: list[Reply] = []

    def opened(index: int) -> list[str]:
        if index in begun:
            return []
        begun.add(index)
        return [wire.event(envelope.chunk({"role": "assistant", "content": ""}, index=index, **extra))]

    async with contextlib.aclosing(pieces):
        try:
            for line in opened(0):
                yield line
            async for piece in pieces:
                for line in opened(piece.index):
                    yield line
                if isinstance(piece, Delta) and piece.text:
                    yield wire.event(envelope.chunk({"content": piece.text}, index=piece.index, **extra))
                elif isinstance(piece, Reply):
                    done.append(piece)
                    for chunk in envelope.last(piece, **extra):
                        yield wire.event(chunk)
            used = wire.usage(service.counted(envelope.model, done), done)
            if with_usage:
                yield wire.event(envelope.chunk(None, usage=used))
        except Exception as raised:  # noqa: BLE001 the status is sent: an event tells it
            yield wire.event({"error": told(raised)})
        yield wire.DONE
