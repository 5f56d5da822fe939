"""Assembles the OpenAI-compatible server: guard, routes, errors; what an answer is, is decided elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from assistant.errors import RecordsError
from assistant.server import about, chat, embeddings, files, responses
from assistant.server.answering import Answering
from assistant.server.asked import NOTICE
from assistant.server.faults import KNOWN, fault
from assistant.server.fetch import Fetcher
from assistant.server.guard import Guard, check_bind
from assistant.server.keys import Key, Meter, hashed
from assistant.server.metrics import Metrics
from assistant.server.running import Limits
from assistant.server.service import Service, skills

log = logging.getLogger("consilium.server")
LIMITS = Limits()
EXPIRE_S = 900.0
"""Seconds between two looks for uploads that are too old."""

__all__ = ["LIMITS", "Answering", "Limits", "check_bind", "create_app"]


def create_app(assistant: Answering, *, api_key: str | None = None, keys: Sequence[Key] = (), limits: Limits = LIMITS,
               fetcher: Fetcher | None = None, home: Path | None = None) -> FastAPI:
    """Return the application.

    With `api_key` (one for all) or `keys` every route but /health and /ready asks for one as a bearer token. Images
    are fetched from the hosts of `fetcher`, by default from none. Uploads lie under `home`, by default beside the
    assistant's records.
    """
    metrics = Metrics()
    # The generalist is opened now, and every adapter read: what they lack is told when the server starts, not to a
    # client.
    service = Service(assistant, limits, metrics, fetcher or Fetcher(), home, skills(assistant))
    known = [*keys, *([Key("default", hashed(api_key))] if api_key is not None else [])]

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        opening = asyncio.get_running_loop().run_in_executor(None, service.unready)
        opening.add_done_callback(_opened)
        expiring = asyncio.create_task(_expiring(service))
        yield
        expiring.cancel()
        service.room.close()

    # The interactive pages would load scripts from another host.
    app = FastAPI(title="Consilium", description=NOTICE, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.end = service.room.end
    app.add_middleware(Guard, meter=Meter(known), limits=limits, metrics=metrics)
    for part in (about, chat, responses, embeddings, files):
        app.include_router(part.routes(service))
    _answer_errors(app)
    return app


async def _expiring(service: Service) -> None:
    """Remove uploads and responses that are too old, at the start and then now and again."""
    while True:
        try:
            await asyncio.to_thread(service.expire)
        except RecordsError as fault:
            log.warning("Old uploads were not removed: %s", fault)
        await asyncio.sleep(EXPIRE_S)


def _opened(opening: asyncio.Future[str | None]) -> None:
    if not opening.cancelled() and (why := opening.result()) is not None:
        log.warning("The generalist is not ready (%s); /ready says when it is.", why)


def _answer_errors(app: FastAPI) -> None:
    async def answer(_: Request, raised: Exception) -> JSONResponse:
        status, body, headers = fault(raised)
        return JSONResponse(body, status, headers=dict(headers))

    for kind in KNOWN:      # the guard answers any other: Starlette would let the server log its message
        app.add_exception_handler(kind, answer)
