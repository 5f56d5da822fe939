"""The command `consilium serve`: it reads flags, opens the assistant and starts uvicorn; it answers nothing itself."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import BadQuestion
from assistant.generalist.adapters import named
from assistant.settings import leave_a_core
from specialists.__main__ import parse

NOTICE = "Research use only; not a medical device."
GRACE_S = 30
"""How long requests under way may go on once the server is told to stop."""
SWITCH_S = 0.0005
"""How long a thread that reads a request may keep the one that computes waiting (Python's own measure is 5 ms)."""


@dataclass(frozen=True)
class Serve:
    """Serve OpenAI's protocol; CONSILIUM_API_KEY, where set, is a key that clients send."""

    host: str = "127.0.0.1"
    """Address to listen on; one that other machines reach needs CONSILIUM_API_KEY or --keys."""
    port: int = 8000
    """Port to listen on."""
    model: str = ""
    """Another generalist: a folder, a hub id, or the URL of an OpenAI-compatible server."""
    adapter: tuple[str, ...] = ()
    """Adapter that requests choose by model name: NAME=FOLDER, or NAME=ITS-NAME on a server; repeat the flag."""
    texts: Path | None = None
    """Folder of reports and answered questions to look among for open questions; `consilium data texts` makes it."""
    fitted: Path | None = None
    """What `consilium calibrate` wrote; left out, consilium.json of CONSILIUM_HOME, where there is one."""
    model_key_file: Path | None = None
    """File with the key of the generalist's own server, where it asks for one."""
    keys: Path | None = None
    """File with clients' keys, as hashes, and their limits; --new-key adds one."""
    new_key: str = ""
    """Make a key of this name in the file of --keys, print it (it is stored nowhere) and end."""
    per_minute: int = 0
    """With --new-key: requests of one minute; 0 sets no limit."""
    key_at_once: int = 0
    """With --new-key: requests under way at once; 0 sets no limit."""
    image_host: tuple[str, ...] = ()
    """Host that https images are fetched from (".example.org": and all under it); repeat the flag. None by default."""
    at_once: int = 16
    """Requests answered at the same time."""
    waiting: int = 64
    """Requests that may wait; more are told to come again (429)."""
    seconds: float = 300.0
    """Longest time of one answer, the wait included."""
    body_mb: int = 64
    """Largest body of a request, in MiB; also of an uploaded file."""


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted, or make a key."""
    flags = parse(Serve, list(argv), "consilium serve")
    keys = importlib.import_module("assistant.server.keys")
    if flags.new_key:
        if flags.keys is None:
            raise BadQuestion("--new-key needs --keys FILE, the file that the key's hash goes to.")
        sys.stdout.write(keys.add(flags.keys, flags.new_key, flags.per_minute, flags.key_at_once) + "\n")
        return 0
    _check(flags)
    known = keys.read(flags.keys) if flags.keys else []
    if flags.keys and not known:
        raise BadQuestion(f"{flags.keys} holds no key, and without one everybody would be served; make one with "
                          "--new-key NAME, or leave --keys out.")
    key = os.environ.get("CONSILIUM_API_KEY")
    leave_a_core()
    server = importlib.import_module("assistant.server.app")
    try:
        server.check_bind(flags.host, key, keys=bool(known))
    except ValueError as fault:
        raise BadQuestion(str(fault)) from None
    application = _application(server, flags, key, known, _upstream(flags.model_key_file))
    sys.setswitchinterval(SWITCH_S)
    sys.stderr.write(f"Consilium on http://{flags.host}:{flags.port}/v1  {NOTICE}\n")
    importlib.import_module("assistant.server.ending").run(
        application, host=flags.host, port=flags.port, grace_s=GRACE_S)
    return 0


def _check(flags: Serve) -> None:
    """Refuse what would show only once the model is loaded."""
    least = {"--port": (flags.port, 1), "--at-once": (flags.at_once, 1), "--waiting": (flags.waiting, 0),
             "--body-mb": (flags.body_mb, 1)}
    for name, (value, lowest) in least.items():
        if value < lowest:
            raise BadQuestion(f"Got {name} {value}; wanted at least {lowest}.")
    if flags.port > 65535:
        raise BadQuestion(f"Got --port {flags.port}; wanted 1 to 65535.")
    if not flags.seconds > 0:
        raise BadQuestion(f"Got --seconds {flags.seconds:g}; wanted more than 0.")


def _upstream(file: Path | None) -> str:
    """Return the key of the generalist's own server.

    It is not the key of our clients: neither is sent to the other side.
    """
    if file is None:
        return ""
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise BadQuestion(f"--model-key-file {file} cannot be read ({type(fault).__name__}); wanted a file that holds "
                          "the key of the generalist's server.") from fault
    if not (key and key.isascii()):
        raise BadQuestion(f"--model-key-file {file} is empty or not ASCII; wanted the key of the generalist's server.")
    return key


def _application(server: Any, flags: Serve, key: str | None, known: list[Any], upstream: str) -> Any:
    limits = server.Limits(body_bytes=flags.body_mb * 2**20, at_once=flags.at_once, waiting=flags.waiting,
                           seconds=flags.seconds)
    fetcher = importlib.import_module("assistant.server.fetch").Fetcher(flags.image_host)
    opened = importlib.import_module("assistant.__main__").open_assistant(
        flags.model, upstream, flags.texts, named(flags.adapter), flags.fitted)
    application = server.create_app(opened, api_key=key, keys=known, limits=limits, fetcher=fetcher)
    if key is None and not known:
        # A web page must not reach a server without a key through a name that resolves to this machine.
        names = ["localhost", "127.0.0.1", "[::1]", "::1", flags.host]
        hosts = importlib.import_module("starlette.middleware.trustedhost")
        application.add_middleware(hosts.TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    return application
