"""Where things are kept and how much is allowed; it loads no model and reads no image."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path


def home() -> Path:
    """Return the user's folder: CONSILIUM_HOME, else ~/.consilium; it may not exist yet."""
    return Path(os.environ.get("CONSILIUM_HOME") or Path.home() / ".consilium").expanduser()


def data() -> Path | None:
    """Return the folder of real images that CONSILIUM_DATA names, None where there is none."""
    named = os.environ.get("CONSILIUM_DATA")
    folder = Path(named).expanduser() if named else None
    return folder if folder and folder.is_dir() else None


def loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def leave_a_core() -> None:
    """Let numerics take all cores but one, unless OMP_NUM_THREADS says otherwise; called before torch is imported.

    The threads that read requests need one: with two threads of numerics on two cores, replies took up to twice as
    long as with one (docs/log.md).
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - 1)))


@dataclass(frozen=True)
class Paths:
    """The files under one home."""

    home: Path

    @property
    def records(self) -> Path:
        """Conversations and traces (SQLite)."""
        return self.home / "records.db"

    @property
    def images(self) -> Path:
        """Decoded pixels by content, so that a trace can be replayed."""
        return self.home / "images"

    @property
    def fitted(self) -> Path:
        """What `consilium calibrate` fitted on the user's own data."""
        return self.home / "consilium.json"

    @property
    def specialists(self) -> Path:
        """The user's own specialists and indexes."""
        return self.home / "specialists"


def paths(folder: Path | None = None) -> Paths:
    """Return the paths under `folder`, or under `home()`."""
    return Paths(Path(folder).expanduser() if folder is not None else home())


@dataclass(frozen=True)
class Limits:
    """Bounds of one question."""

    model_calls: int = 6
    """Calls of the generalist in one tool loop; the last one gets no tools."""
    neighbors: int = 10
    """Similar cases retrieved when the caller does not say."""
    most_neighbors: int = 50
    """Similar cases a tool call may ask for."""
    texts: int = 3
    """Similar texts retrieved for an open question."""
    options: int = 26
    """Options of one question: there are as many letters."""
    images: int = 16
    """Images of one question."""
    regions: int = 9
    """Boxes on the image that one question is about."""
    question_characters: int = 20_000
    """Length of a question."""
    kind_characters: int = 60
    """Length of a kind of image that a question states."""
    history_turns: int = 20
    """Earlier turns of a conversation the generalist is shown."""


LIMITS = Limits()
