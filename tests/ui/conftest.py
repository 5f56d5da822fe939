"""Event loops that Gradio opens for its locks and never closes are closed here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def closing_loops() -> Iterator[None]:
    """Close every event loop that was opened meanwhile: an open one warns when it is collected."""
    opened: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def recorded() -> asyncio.AbstractEventLoop:
        opened.append(make())
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", recorded)
        yield
    asyncio.set_event_loop(None)
    for loop in opened:
        if not loop.is_running():
            loop.close()
