"""What a visit leaves in memory: as much after many questions as after one."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import weakref
from typing import Any

import gradio as gr
import pytest
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState

from assistant.records import Records
from specialists.core.study import Study
from tests.ui import double
from ui import app, phantoms

pytestmark = pytest.mark.usefixtures("closing_loops")
LOTS = """
import threading, ctypes
from ui.__main__ import one_arena
one_arena()
blocks, wait = [], threading.Barrier(4)
def take():
    wait.wait()
    blocks.extend(bytearray(5000) for _ in range(100))
    wait.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
ctypes.CDLL(None).malloc_stats()
"""


class Visit:
    """One visitor's part of a window, moved without a server."""

    def __init__(self, window: gr.Blocks) -> None:
        """Open the page."""
        self.window, self.kept = window, SessionState(window)

    def do(self, element: str, event: str, *given: Any) -> None:
        """Let an element, by its id or its words, have an event, and wait for the end of what answers it."""
        asyncio.run(self._do(self._answer(element, event), given))

    async def _do(self, answer: BlockFunction, given: tuple[Any, ...]) -> None:
        done, iterator = False, None
        while not done:
            told = await self.window.process_api(answer, list(given), state=self.kept, iterator=iterator,
                                                 in_event_listener=True)
            done, iterator = not told["is_generating"], told.get("iterator")

    def _answer(self, element: str, event: str) -> BlockFunction:
        found = [one for one in self.window.fns.values() if one.fn is not None and one.targets
                 and one.targets[0][1] == event and element in self._names(one.targets[0][0])]
        return found[0]

    def _names(self, known: int | None) -> tuple[Any, ...]:
        block = self.window.blocks[known or 0]
        return block.elem_id, getattr(block, "value", None)

    def ask(self, number: int) -> weakref.ref[Study]:
        """Ask about a drawn image, other than the one before; return the image, without holding it."""
        names = list(phantoms.PHANTOMS)
        self.do(names[number % len(names)], "click", None)
        self.do("ask", "click", None, f"What is it? ({number})", "benign, malignant", app.DEFAULT, "full",
                "calibrated", None)
        session = next(value for value in self.kept.state_data.values() if isinstance(value, app.Session))
        assert session.answer is not None
        return weakref.ref(session.studies[0])

    def pictures(self) -> int:
        """Return how many characters of pictures are kept of what the page showed."""
        return json.dumps(list(self.kept.config_values.values()), default=str).count("data:image/png;base64")


@pytest.fixture
def visit(tmp_path) -> Visit:
    """Return a visit to a window that keeps conversations."""
    records = Records(tmp_path)
    return Visit(app.create_app(double.Assistant(records=records), records=records))


def test_a_component_that_is_shown_anew_is_kept_once(visit):
    visit.ask(0)
    pictures = visit.pictures()
    for number in range(1, 4):
        visit.ask(number)
    assert set(visit.kept.blocks_config.blocks) == set(visit.window.blocks)
    assert set(visit.kept.config_values) <= set(visit.window.blocks)
    assert 0 < visit.pictures() <= pictures


def test_an_image_that_was_replaced_is_let_go(visit):
    images = [visit.ask(number) for number in range(4)]
    gc.collect()
    assert [image() is not None for image in images] == [False, False, False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_threads_of_the_window_take_memory_from_one_place(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    told = subprocess.run([sys.executable, "-c", LOTS], capture_output=True, text=True, check=True).stderr
    assert told.count("Arena ") == 1
