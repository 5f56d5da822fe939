"""The routes of the OpenAI-compatible server and its guard; what an answer is, is decided elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.errors import BadQuestion, ConsiliumError, GeneralistError, NotFound
from assistant.server import wire
from assistant.steps import Answer, Collaboration, Step, Style, TextDelta
from specialists.core.errors import BadStudy, SpecialistsError, UnknownSpecialist

log = logging.getLogger("consilium.server")


class Answering(Protocol):
    """What the server needs of an assistant."""

    def stream(self, images: Any, question: str, *, options: Sequence[str] | None = ...,
               collaboration: Collaboration = ..., style: Style = ..., without: Sequence[str] = ...,
               patient: str | None = ...) -> Iterator[Step]:
        """Yield the steps of one question, the answer last."""
        ...

    def chat(self, *, history: Sequence[Mapping[str, Any]] = ...) -> Any:
        """Return a conversation that goes on after these turns; its `stream` takes the question first."""
        ...


@dataclass(frozen=True)
class Limits:
    """How much one server takes on."""

    body_bytes: int = 64 * 2**20
    """Largest body of a request; what is over is refused unread."""
    at_once: int = 4
    """Questions answered at the same time; others wait."""


LIMITS = Limits()


class UnknownModel(NotFound):
    """The request names a model that is not served."""


def check_bind(host: str, api_key: str | None) -> None:
    """Refuse (ValueError) to listen beyond this machine without a key."""
    if api_key is None and not loopback(host):
        raise ValueError(f"Host {host!r} is reached from other machines and CONSILIUM_API_KEY is not set. "
                         "Set a key, or listen on 127.0.0.1.")
    if api_key is not None and not (api_key.strip() and api_key.isascii()):
        raise ValueError("CONSILIUM_API_KEY is empty or not ASCII: set a key, or unset it.")


def loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def create_app(assistant: Answering, *, api_key: str | None = None, limits: Limits = LIMITS) -> FastAPI:
    """Return the application; with `api_key` every route under /v1 asks for it as a bearer token."""
    created = int(time.time())
    pool = ThreadPoolExecutor(limits.at_once, thread_name_prefix="question")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        pool.shutdown(wait=False, cancel_futures=True)

    # The interactive pages would load scripts from another host.
    app = FastAPI(title="Consilium", description=wire.NOTICE, docs_url=None, redoc_url=None,
                  lifespan=lifespan)
    app.add_middleware(Guard, api_key=api_key, body_bytes=limits.body_bytes)
    _answer_errors(app)
    # The generalist is opened now, and every adapter read: what they lack is told when the server starts, not to a
    # client.
    skills = _skills(assistant)
    known = {**wire.MODELS, **dict.fromkeys(skills)}
    count = getattr(getattr(assistant, "generalist", None), "count_tokens", None)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "notice": wire.NOTICE}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return wire.models(known, created)

    @app.get("/v1/models/{name}")
    def model(name: str) -> dict[str, Any]:
        _check(name, known)
        return wire.model(name, known, created)

    @app.post("/v1/chat/completions", response_model=None)
    async def completions(body: wire.ChatRequest, request: Request) -> JSONResponse | StreamingResponse:
        _check(body.model, known)
        asked = wire.asked(body)
        said = [*asked.history, {"content": asked.question}]
        envelope = wire.Envelope(f"chatcmpl-{uuid.uuid4().hex}", body.model, int(time.time()),
                                 wire.ignored(body))
        steps = in_thread(lambda: _steps(skills.get(body.model, assistant), asked), pool)
        # The first step is awaited before the status is sent, so that a bad image is a 400 in a stream too.
        first = await anext(steps)
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            rest = _chained(first, steps)
            events = _events(envelope, rest, lambda text: wire.usage(said, text, count), with_usage)
            return EventStream(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        async with contextlib.aclosing(_chained(first, steps)) as rest:
            answer = await _last(rest, request)
        return JSONResponse(envelope.completion(answer, wire.usage(said, answer.text, count)))

    return app


def _skills(assistant: Any) -> dict[str, Answering]:
    """Return the assistant of each adapter, ready to answer; raises AdapterRefused for one that is broken."""
    skills = {name: assistant.skilled(name) for name in getattr(assistant, "adapters", ())}
    for skilled in skills.values():
        skilled.generalist.ready()
    return skills


def _check(name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UnknownModel(f"No model named {name!r}. Known: {', '.join(known)}.")


def _steps(assistant: Answering, asked: wire.Asked) -> Iterator[Step]:
    how: dict[str, Any] = {"options": asked.options, "collaboration": asked.collaboration,
                           "style": asked.style, "without": asked.without, "patient": asked.patient}
    if asked.history:
        return assistant.chat(history=asked.history).stream(asked.question, list(asked.images), **how)
    return assistant.stream(list(asked.images), asked.question, **how)


async def _last(steps: AsyncGenerator[Step], request: Request) -> Answer:
    """Return the answer; a client that leaves meanwhile ends the question."""
    async for step in steps:
        if isinstance(step, Answer):
            return step
        if await request.is_disconnected():
            raise HTTPException(499, "The client has left.")
    raise RuntimeError("The assistant's steps ended without an answer.")


async def _events(envelope: wire.Envelope, steps: AsyncGenerator[Step],
                  used: Callable[[str], dict[str, int] | None], with_usage: bool) -> AsyncGenerator[str]:
    """Yield the events of one answer; the chunk with the finish reason carries the whole answer."""
    extra = {"usage": None} if with_usage else {}
    sent = ""
    async with contextlib.aclosing(steps):
        yield wire.event(envelope.chunk({"role": "assistant", "content": ""}, **extra))
        try:
            async for step in steps:
                if isinstance(step, TextDelta) and step.text:
                    sent += step.text
                    yield wire.event(envelope.chunk({"content": step.text}, **extra))
                elif isinstance(step, Answer):
                    if rest := step.text.removeprefix(sent) if step.text.startswith(sent) else "":
                        yield wire.event(envelope.chunk({"content": rest}, **extra))
                    yield wire.event(envelope.chunk({}, "stop", consilium=envelope.consilium(step), **extra))
                    if with_usage:
                        yield wire.event(envelope.chunk(None, usage=used(step.text)))
        except Exception as fault:
            if not isinstance(fault, ConsiliumError | SpecialistsError):
                log.exception("A streamed answer failed.")
            yield wire.event(_fault(fault)[1])
        yield wire.DONE


async def _chained(first: Step, steps: AsyncGenerator[Step]) -> AsyncGenerator[Step]:
    async with contextlib.aclosing(steps):
        yield first
        async for step in steps:
            yield step


async def in_thread(steps: Callable[[], Iterator[Step]], pool: ThreadPoolExecutor) -> AsyncGenerator[Step]:
    """Yield the steps of a generator that lives in one thread from beginning to end.

    One thread, because SQLite's connections and LangChain's context do not move between threads. When this
    generator is closed, the other is closed in its own thread at its next step.
    """
    loop, left = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[Step | BaseException | None] = asyncio.Queue()

    def put(item: Step | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):     # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def run() -> None:
        if left.is_set():
            return
        try:
            source = steps()
            try:
                for step in source:
                    if left.is_set():
                        return
                    put(step)
            finally:
                if close := getattr(source, "close", None):
                    close()
            put(None)
        except BaseException as fault:  # noqa: BLE001 it is raised again where the steps are read
            put(fault)

    pool.submit(run)
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()


class EventStream(StreamingResponse):
    """A response that closes its source at once when the client leaves, not when memory is next swept."""

    async def stream_response(self, send: Send) -> None:
        """Send the source's events."""
        async with contextlib.aclosing(self.body_iterator):     # pyright: ignore[reportArgumentType]
            await super().stream_response(send)


class Guard:
    """Refuses a request without the key or with too large a body before its body is read."""

    def __init__(self, app: ASGIApp, api_key: str | None, body_bytes: int) -> None:
        self.app, self.api_key, self.body_bytes = app, api_key, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 or 413."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if scope["path"].startswith("/v1/") and not self._authorized(headers.get(b"authorization", b"")):
            refusal = wire.error("Wrong or no key: send 'Authorization: Bearer KEY'.", code="invalid_api_key")
            return await JSONResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.body_bytes:
            return await JSONResponse(self._too_large(), 413, {"Connection": "close"})(scope, receive, send)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.body_bytes:
                raise HTTPException(413, self._too_large()["error"]["message"])
            return message

        return await self.app(scope, counted, send)

    def _authorized(self, header: bytes) -> bool:
        scheme, _, key = header.partition(b" ")
        return self.api_key is None or (scheme.lower() == b"bearer"
                                        and hmac.compare_digest(key.strip(), self.api_key.encode()))

    def _too_large(self) -> dict[str, Any]:
        return wire.error(f"The body is larger than {self.body_bytes} bytes; send fewer or smaller images.",
                          code="request_too_large")


CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


def _fault(fault: Exception) -> tuple[int, dict[str, Any]]:
    """Return status and body: the client's fault is 400 or 404, the generalist's 502, ours 500."""
    match fault:
        case RequestValidationError():
            return 400, wire.invalid(fault.errors())
        case StarletteHTTPException(status_code=status):
            return status, wire.error(fault.detail, code=CODES.get(status))
        case GeneralistError():
            return 502, wire.error(str(fault), "server_error", code=type(fault).__name__)
        case UnknownModel():
            return 404, wire.error(str(fault), param="model", code="model_not_found")
        case NotFound():
            return 404, wire.error(str(fault), code=type(fault).__name__)
        case BadQuestion() | BadStudy() | UnknownSpecialist():
            param = getattr(fault, "param", "messages" if isinstance(fault, BadStudy) else None)
            return 400, wire.error(str(fault), param=param, code=type(fault).__name__)
        case ConsiliumError() | SpecialistsError():
            return 500, wire.error(str(fault), "server_error", code=type(fault).__name__)
        case _:
            return 500, wire.error("The server failed; its log has the reason.", "server_error")


def _answer_errors(app: FastAPI) -> None:
    async def answer(_: Request, fault: Exception) -> JSONResponse:
        status, body = _fault(fault)
        # After an unforeseen fault the server drops the connection; a client not told so asks on it and is cut off.
        return JSONResponse(body, status, headers={"Connection": "close"} if status == 500 else None)

    for kind in (RequestValidationError, StarletteHTTPException, ConsiliumError, SpecialistsError, Exception):
        app.add_exception_handler(kind, answer)
