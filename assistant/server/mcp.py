"""The toolbox behind the Model Context Protocol, over stdin and stdout or over HTTP.

It has no logic of its own: what a tool takes and answers is decided in `toolbox.py`, what the protocol demands in the
`mcp` package.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Sequence
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.errors import ConsiliumError, place
from assistant.toolbox import NOTICE, Told, Tool, png
from specialists.core.errors import SpecialistsError

log = logging.getLogger("consilium.mcp")

BODY_BYTES = 64 * 2**20
"""Largest message over HTTP: images are in it."""
AT_ONCE = 4
"""Calls answered at the same time; others wait."""
INSTRUCTIONS = (f"{NOTICE} Ask `triage` first: it names the specialists that are made for an image. `consult` asks "
                "all of them, looks for similar cases and answers.")


def create_server(tools: Sequence[Tool]) -> Server[Any]:
    """Return the server of these tools; a call that fails is answered with what to do, never with a traceback."""
    known = {tool.name: tool for tool in tools}
    listed = [types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema,
                         annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False))
              for tool in tools]
    room = asyncio.Semaphore(AT_ONCE)

    async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = known.get(params.name)
        if tool is None:
            return _failed(f"No tool named {params.name!r}. Known: {', '.join(known)}.")
        await room.acquire()
        running = asyncio.ensure_future(asyncio.to_thread(_called, tool, params.arguments or {}))
        running.add_done_callback(lambda _: room.release())     # a call that is given up works on in its thread
        return await asyncio.shield(running)

    return Server("consilium", instructions=INSTRUCTIONS,
                  on_list_tools=list_tools, on_call_tool=call_tool)


async def over_stdio(server: Server[Any]) -> None:
    """Serve one client over stdin and stdout until it leaves."""
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def over_http(server: Server[Any], host: str, api_key: str | None = None) -> ASGIApp:
    """Return the application that serves /mcp; with `api_key` every request must bring it as a bearer token.

    Without a key only this machine's own names are let in, so that no web page reaches it through a name of its own.
    """
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False) if api_key else None
    app = server.streamable_http_app(stateless_http=True, max_request_body_size=BODY_BYTES, host=host,
                                     transport_security=security)
    return app if api_key is None else Keyed(app, api_key)


class Keyed:
    """Refuses requests without the key before anything of them is read."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self.app, self.wanted = app, b"Bearer " + api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "http" and not hmac.compare_digest(given, self.wanted):
            refusal = JSONResponse({"error": "Wrong or no key: send 'Authorization: Bearer KEY'."}, 401,
                                   {"WWW-Authenticate": "Bearer"})
            return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)


def _called(tool: Tool, arguments: dict[str, Any]) -> types.CallToolResult:
    try:
        return _answered(tool.run(arguments))
    except (ConsiliumError, SpecialistsError) as fault:
        return _failed(str(fault))
    except Exception as error:  # noqa: BLE001 - the outermost edge of a call
        log.error("The tool %s failed: %s", tool.name, place(error))
        return _failed("The tool failed; the server's log has the reason.")


def _answered(told: Told) -> types.CallToolResult:
    pictures = [types.ImageContent(data=png(picture), mime_type="image/png") for picture in told.pictures]
    return types.CallToolResult(content=[types.TextContent(text=told.text), *pictures],
                                structured_content=dict(told.json))


def _failed(reason: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=reason)], is_error=True)
