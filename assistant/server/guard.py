"""Stands before every route: who asks, how much, and how large a body; counts what was answered.

It reads no body itself and knows no route.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.errors import place
from assistant.server.faults import error, fault
from assistant.server.keys import Key, Meter
from assistant.server.metrics import Metrics
from assistant.server.running import Limits
from assistant.settings import loopback

log = logging.getLogger("consilium.server")
OPEN = ("/health", "/ready")
"""Routes that ask for no key."""
NOBODY = ""
"""The owner of all, where no keys are asked for."""


def check_bind(host: str, api_key: str | None, *, keys: bool = False) -> None:
    """Refuse (ValueError) to listen beyond this machine without a key."""
    if api_key is None and not keys and not loopback(host):
        raise ValueError(f"Host {host!r} is reached from other machines and CONSILIUM_API_KEY is not set. "
                         "Set a key, or listen on 127.0.0.1.")
    if api_key is not None and not (api_key.strip() and api_key.isascii()):
        raise ValueError("CONSILIUM_API_KEY is empty or not ASCII: set a key, or unset it.")


class Guard:
    """Refuses a request without a key, over its key's limits, or with too large or too slow a body."""

    def __init__(self, app: ASGIApp, meter: Meter, limits: Limits, metrics: Metrics) -> None:
        self.app, self.meter, self.limits, self.metrics = app, meter, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 413 or 429; 500 where nobody foresaw what was raised."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, name = time.perf_counter(), f"req_{uuid.uuid4().hex}"
        status: int | None = None
        extra: dict[str, str] = {"x-request-id": name}

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(key.encode(), value.encode()) for key, value in extra.items()]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)
        try:
            return await self._admitted(scope, receive, told, extra)
        except Exception as raised:  # noqa: BLE001 - the outermost edge: a message may hold a value of a header
            log.error("A request failed: %s", place(raised))
            if status is None:
                code, body, headers = fault(raised)
                await JSONResponse(body, code, dict(headers))(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", None) or "other"
            self.metrics.requests.labels(route, str(status or 500)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, extra: dict[str, str]) -> None:
        headers = dict(scope["headers"])
        key = self._key(headers) if self.meter.keys and scope["path"] not in OPEN else None
        if self.meter.keys and scope["path"] not in OPEN and key is None:
            return await self._refused("key", 401, error(
                "Wrong or no key: send 'Authorization: Bearer KEY'.", "authentication_error", code="invalid_api_key"),
                {"WWW-Authenticate": "Bearer"})(scope, receive, send)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.body_bytes:
            too_large = error(self._too_large(), code="request_too_large")
            return await self._refused("size", 413, too_large, {"Connection": "close"})(scope, receive, send)
        scope.setdefault("state", {})["owner"] = key.name if key else NOBODY
        if key is None:
            return await self.app(scope, self._bounded(receive), send)
        return await self._metered(key, scope, receive, send, extra)

    async def _metered(self, key: Key, scope: Scope, receive: Receive, send: Send, extra: dict[str, str]) -> None:
        wait = self.meter.enter(key)
        extra |= self.meter.headers(key)
        if wait:
            busy = error(f"The limit of this key is {key.per_minute or 'any number of'} requests a minute and "
                         f"{key.at_once or 'any number'} at once; come again in {wait} s.", "rate_limit_error",
                         code="rate_limit_exceeded")
            return await self._refused("key limit", 429, busy, {"Retry-After": str(wait)})(scope, receive, send)
        try:
            await self.app(scope, self._bounded(receive), send)
        finally:
            self.meter.leave(key)

    def _key(self, headers: Mapping[bytes, bytes]) -> Key | None:
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        return self.meter.owner(key.strip().decode("latin-1")) if scheme.lower() == b"bearer" else None

    def _refused(self, reason: str, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> JSONResponse:
        self.metrics.refused.labels(reason).inc()
        return JSONResponse(body, status, headers)

    def _bounded(self, receive: Receive) -> Receive:
        """Return the same, but raising HTTPException for a body that grows too large or comes too slowly."""
        seen, whole = 0, False
        until = asyncio.get_running_loop().time() + self.limits.body_seconds

        async def bounded() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body did not arrive within {self.limits.body_seconds:g} s.") from None
            seen += len(message.get("body", b""))
            if seen > self.limits.body_bytes:
                raise HTTPException(413, self._too_large())
            whole = not message.get("more_body", False)
            return message

        return bounded

    def _too_large(self) -> str:
        return f"The body is larger than {self.limits.body_bytes} bytes; send fewer or smaller images."
