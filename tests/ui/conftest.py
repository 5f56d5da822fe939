"""What the window's tests share: the machine's browser, its visitors, and an end to event loops that Gradio opens.

The modules serve the window themselves, each its own: fixture `address`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser(chromium) -> Iterator[Any]:
    """Return the machine's own browser; skips without playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def patience() -> int:
    """Return how many ms a page may take: a busy machine draws it slowly."""
    return 60_000


@pytest.fixture(scope="module")
def visitor(browser, address, patience) -> Callable[[], Any]:
    """Return what opens the page as somebody who was never here before."""
    pytest.importorskip("playwright.sync_api").expect.set_options(timeout=patience)

    def opened() -> Any:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(patience)
        page.goto(address)
        page.wait_for_selector("#ask")
        return page

    return opened


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
