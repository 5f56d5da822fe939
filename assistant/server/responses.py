"""The routes of responses: the same answers as chat completions, and conversations that the server remembers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from assistant.server import wire
from assistant.server.asked import Piece, Reply
from assistant.server.responses_wire import DELTA, Envelope, ResponsesRequest, status
from assistant.server.service import Service, owner
from assistant.server.streaming import EventStream, begun, told, whole

Messages = list[dict[str, Any]]
Kept = Callable[[Reply], Awaitable[dict[str, Any]]]


def routes(service: Service) -> APIRouter:
    """Return the routes; each sees the responses of the request's own key alone."""
    router = APIRouter(prefix="/v1/responses")

    @router.post("", response_model=None)
    async def respond(body: ResponsesRequest, request: Request) -> JSONResponse | StreamingResponse:
        service.check(body.model)
        who, fresh = owner(request), body.fresh()
        earlier = await asyncio.to_thread(_earlier, service, who, body.previous_response_id)
        chat = body.chat([*earlier, *fresh])
        asked = wire.asked(chat)
        envelope = Envelope(body, int(time.time()), (*body.ignored(), *wire.ignored(chat, asked)))
        pieces = service.pieces(body.model, asked, who)

        async def kept(reply: Reply) -> dict[str, Any]:
            service.counted(body.model, [reply])
            response = envelope.response(status(reply), reply)
            if body.store is not False:
                await asyncio.to_thread(service.store.remember, who, response, [*fresh, _said(reply)])
            return response

        if body.stream:
            return EventStream(_events(envelope, await begun(request, pieces), kept))
        replies = await whole(request, pieces)
        return JSONResponse(await kept(replies[0]))

    @router.get("/{identifier}")
    def response(identifier: str, request: Request) -> dict[str, Any]:
        return service.store.response(owner(request), identifier)[0]

    @router.delete("/{identifier}")
    def remove(identifier: str, request: Request) -> dict[str, Any]:
        service.store.forget(owner(request), identifier)
        return {"id": identifier, "object": "response", "deleted": True}

    return router


def _earlier(service: Service, who: str, identifier: str | None) -> Messages:
    """Return the messages of the response that went before, and of those before it."""
    found: list[Sequence[dict[str, Any]]] = []
    while identifier is not None:
        body, messages = service.store.response(who, identifier)
        found.append(messages)
        identifier = body["previous_response_id"]
    return [message for messages in reversed(found) for message in messages]


def _said(reply: Reply) -> dict[str, Any]:
    return {"role": "assistant", "content": wire.OVERLAY.sub("", reply.text),
            **({"tool_calls": list(reply.calls)} if reply.calls else {})}


async def _events(envelope: Envelope, pieces: AsyncGenerator[Piece], kept: Kept) -> AsyncGenerator[str]:
    numbers = count()
    async with contextlib.aclosing(_objects(envelope, pieces, kept)) as events:
        async for event in events:
            yield wire.event({**event, "sequence_number": next(numbers)}, event["type"])


async def _objects(envelope: Envelope, pieces: AsyncGenerator[Piece], kept: Kept) -> AsyncGenerator[dict[str, Any]]:
    began = False
    async with contextlib.aclosing(pieces):
        try:
            for kind in ("created", "in_progress"):
                yield {"type": f"response.{kind}", "response": envelope.response("in_progress")}
            async for piece in pieces:
                for event in envelope.pieces(piece, began):
                    began = began or event["type"] == DELTA
                    yield event
                if isinstance(piece, Reply):
                    yield {"type": f"response.{status(piece)}", "response": await kept(piece)}
        except Exception as raised:  # noqa: BLE001 the status is sent: an event tells it
            yield {"type": "response.failed", "response": envelope.response("failed", error=told(raised))}
