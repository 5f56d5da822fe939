"""A server that tells those who wait when its time is over, before their connections are cut.

It knows no route: the application leaves in `state.end` what ends its replies.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn

SPARE_S = 5.0
"""Of the grace, what is kept for the last words of those who are not done."""


class Server(uvicorn.Server):
    """Ends replies under way some seconds before the grace of the server does, so that each stream has an end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what is under way, end it when the time is over, and close."""
        grace = self.config.timeout_graceful_shutdown
        if grace is None:
            return await super().shutdown(sockets)
        app: Any = self.config.app
        last = asyncio.get_running_loop().call_later(max(grace - SPARE_S, grace / 2), app.state.end)
        try:
            await super().shutdown(sockets)
        finally:
            last.cancel()


def run(app: Any, *, host: str, port: int, grace_s: int) -> None:
    """Serve until a signal comes; those under way have then as many seconds. Exits 3 where it cannot start."""
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=grace_s)
    server = Server(config)
    try:
        server.run()
    except KeyboardInterrupt:
        return
    if not server.started:
        sys.exit(3)
