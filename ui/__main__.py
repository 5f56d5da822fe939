"""`consilium chat`: serve the chat window; the models are loaded while the page is already up.

It answers nothing itself.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import ConsiliumError, place
from assistant.settings import leave_a_core
from assistant.steps import Step
from specialists.core.errors import SpecialistsError
from specialists.core.findings import Box, HeatMap
from ui.session import Consultant, Talk

log = logging.getLogger(__name__)


BUILT_IN = "consilium-nano"
"""What the generalist that ships is called in the settings."""
ARENAS = -8
"""`M_ARENA_MAX` of glibc's mallopt."""


@dataclass(frozen=True)
class Chat:
    """Open the chat window. Research use only, not a medical device."""

    host: str = "127.0.0.1"
    """Address to listen on; others are only let in with CONSILIUM_API_KEY as the password of "consilium"."""
    port: int = 7860
    """Port to listen on."""
    model: str | None = None
    """Generalist: a folder, a hub name, or the URL of an OpenAI-compatible server; else the built-in one."""
    adapter: str = ""
    """Adapter over the generalist: its folder (PEFT), or NAME=FOLDER."""
    also: tuple[str, ...] = ()
    """More to choose from in the settings: generalists as for --model, or adapters over it as NAME=FOLDER."""
    texts: Path | None = None
    """Folder of reports and answered questions to look among for open questions; `consilium data texts` makes it."""
    fitted: Path | None = None
    """What `consilium calibrate` wrote; left out, consilium.json of CONSILIUM_HOME if there is one, else what ships."""
    open: bool = False
    """Open the page in the browser."""


class Late:
    """An assistant that is loaded in the background; whoever asks first waits for it."""

    def __init__(self, load: Callable[[], Consultant]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._began: float | None = None
        self._loaded: Consultant | None = None

    def start(self) -> None:
        """Begin to load; an error is written to the log, and loading is tried again when somebody asks."""
        threading.Thread(target=self._first, name="load-assistant", daemon=True).start()

    def status(self) -> str:
        """Return what is being loaded, or an empty string."""
        began = self._began
        return "" if began is None else f"Loading the models, {time.monotonic() - began:.0f} s"

    def chat(self, conversation_id: str | None = None, owner: str = "") -> Talk:
        """Open an owner's conversation as soon as the assistant is there; raises what loading raised."""
        return self._get().chat(conversation_id, owner=owner)

    def again(self, trace_id: str, *, without: Sequence[str] = (), regions: Sequence[Box] | None = None
              ) -> Iterator[Step]:
        """Answer a traced question again; raises what loading raised."""
        return self._get().again(trace_id, without=without, regions=regions)

    def heat_map(self, trace_id: str, specialist: str) -> HeatMap:
        """Return where a specialist's opinion hangs; raises what loading raised."""
        return self._get().heat_map(trace_id, specialist)

    def _get(self) -> Consultant:
        with self._lock:
            if self._loaded is None:
                self._began = time.monotonic()
                try:
                    self._loaded = self._load()
                finally:
                    self._began = None
            return self._loaded

    def _first(self) -> None:
        try:
            self._get()
        except (ConsiliumError, SpecialistsError) as error:
            log.error("The models could not be loaded: %s", error)
        except Exception as error:  # noqa: BLE001 - the outermost edge of this thread
            log.error("The models could not be loaded: %s", place(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the window until it is interrupted."""
    import tyro

    chat = tyro.cli(Chat, args=argv, prog="consilium chat")
    one_arena()
    leave_a_core()
    with tempfile.TemporaryDirectory(prefix="consilium-") as cache:  # readable by this user only
        # Gradio keeps its latest events, by default 10,000, and sums all of them up after each
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_ANALYTICS_MAX_EVENTS="100", GRADIO_TEMP_DIR=cache)
        return _serve(chat)


def one_arena() -> None:
    """Let all threads take memory from one place, where it is glibc's and MALLOC_ARENA_MAX says nothing else.

    By default each takes from a place of its own, up to eight a core, and what one gave back serves no other: the
    process grows for hundreds of questions though nothing is kept (`benchmarks.window`).
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(ARENAS, 1)


def _serve(chat: Chat) -> int:
    from assistant.records import Records
    from ui.app import create_app, launch

    late = Late(lambda: _assistant(chat, chat.model, chat.adapter))
    known = {chat.adapter.partition("=")[0] or chat.model or BUILT_IN: late}
    for name in chat.also:
        known[name.partition("=")[0]] = Late(lambda name=name: _other(chat, name))
    app = create_app(known, status=late.status, records=Records())
    try:
        address = launch(
            app, chat.host, chat.port, key=os.environ.get("CONSILIUM_API_KEY"), block=False, browser=chat.open
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"Consilium is at {address}  (Ctrl-C ends it)\n")
    sys.stdout.flush()
    late.start()
    app.block_thread()
    return 0


def _other(chat: Chat, name: str) -> Any:
    """Return what was named beside the first: an adapter over its generalist, or another generalist."""
    return _assistant(chat, chat.model, name) if "=" in name else _assistant(chat, name, "")


def _assistant(chat: Chat, model: str | None, adapter: str) -> Any:
    from assistant.assistant import Assistant
    from assistant.generalist.adapters import one

    name, folder = one(adapter) if adapter else ("", "")
    adapters = {name: folder} if name else None
    assistant = Assistant(model, texts=chat.texts, adapters=adapters).with_fit(chat.fitted)
    if name:
        assistant = assistant.skilled(name)
        assistant.generalist.ready()
    _ = assistant.generalist  # loaded now, not with the first question
    return assistant


if __name__ == "__main__":
    raise SystemExit(main())
