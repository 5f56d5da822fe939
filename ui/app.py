"""The window's layout and wiring in Gradio Blocks, and how it is served; what it shows is made elsewhere."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from assistant.records import Records
from assistant.settings import loopback
from ui import drawer, image_side, render, talk_side, theme, visits, work
from ui.parts import QUIET, Parts
from ui.session import Consultant, Session

MAX_UPLOAD = "512mb"
CACHE_S = (600, 3600)
"""Every ten minutes pictures older than an hour are removed from Gradio's cache."""
STATE_S = 6 * 3600
"""A conversation's images are forgotten this long after its last change, and when its tab is closed."""
USER = "consilium"
"""Name to log in with; the password is the key."""

HEAD = """<div class="cs-head"><h1>Consilium</h1>
<p class="cs-what-it-is">A vision-language model, specialist models and similar cases look at one medical
image and answer together.</p>
<p class="cs-notice">Research use only, not a medical device.</p></div>"""
PAGE = Path(__file__).with_name("page.js").read_text(encoding="utf-8").partition("*/\n")[2]
STARTED = "() => window.consilium.start()"
"""Said to the page when it shows what the browser left: files and questions wait until then (`page.js`)."""
DEFAULT = "consilium"
"""Name of the only assistant there is."""


def create_app(
    consultants: Consultant | Mapping[str, Consultant],
    *,
    status: Callable[[], str] | None = None,
    records: Records | None = None,
) -> gr.Blocks:
    """Return the window over an assistant, or several to choose from by name, the first one chosen.

    `status` says what is still loading, an empty string when done. With `records`, the store of the assistant,
    visitors find their conversations again, export them and say what they think of answers.
    """
    visits.hold()
    known = dict(consultants) if isinstance(consultants, Mapping) else {DEFAULT: consultants}
    with gr.Blocks(title="Consilium", analytics_enabled=False, delete_cache=CACHE_S, fill_width=True) as app:
        gr.HTML(HEAD)
        if status:
            _show_status(app, status)
        sidebar = _sidebar() if records else None
        parts, below = _laid_out(list(known), keeps=records is not None)

        def everything(state: Session) -> dict[Any, Any]:
            return {**talk_side.shown(parts.talk, state), **image_side.shown(parts.image, state)}

        image_side.wire(parts, lambda state: talk_side.shown(parts.talk, state))
        ready = app.load(None, js=PAGE, **QUIET)
        talk_side.wire(parts, known, everything)
        if records and sidebar and below:
            ready = work.wire(ready, work.Work(sidebar, below), parts, records, everything)
        drawer.wire(app, parts.settings)
        ready.then(None, js=STARTED, **QUIET)
    app.queue(default_concurrency_limit=4, api_open=False)
    return app


def _sidebar() -> work.Sidebar:
    with gr.Sidebar(position="left", open=False, width=300, elem_id="conversations"):
        return work.build_sidebar()


def _laid_out(models: Sequence[str], *, keeps: bool) -> tuple[Parts, work.Below | None]:
    state, turned = gr.State(Session(), time_to_live=STATE_S), gr.State(0)
    with gr.Sidebar(position="right", open=False, width=300, elem_id="settings"):
        settings = drawer.build(models)
    with gr.Row(equal_height=False, elem_id="sides"):
        with gr.Column(scale=6, min_width=300, elem_id="image-column"):
            image, buttons = image_side.build()
        with gr.Column(scale=6, min_width=300, elem_id="talk-column"):
            talk = talk_side.build()
            below = work.build_below() if keeps else None
    return Parts(state, turned, image, talk, settings, buttons), below


def launch(
    app: gr.Blocks,
    host: str = "127.0.0.1",
    port: int | None = 7860,
    *,
    key: str | None = None,
    block: bool = True,
    browser: bool = False,
) -> str:
    """Serve the window and return its address; a host others can reach needs a key, then the password.

    Raises ValueError for such a host without a key.
    """
    if not key and not loopback(host):
        raise ValueError(
            f"Got host {host} without a key, so that others could read the images. "
            "Set CONSILIUM_API_KEY, or use 127.0.0.1."
        )
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        share=False,
        auth=_login(key) if key else None,
        quiet=True,
        prevent_thread_lock=not block,
        inbrowser=browser,
        show_error=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD,
        state_session_capacity=visits.VISITS,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme.theme(),
        css_paths=theme.CSS,
    )
    return address


def _login(key: str) -> Callable[[str, str], bool]:
    def right(user: str, password: str) -> bool:
        return hmac.compare_digest(user.encode(), USER.encode()) & hmac.compare_digest(password.encode(), key.encode())

    return right


def _show_status(app: gr.Blocks, status: Callable[[], str]) -> None:
    line = gr.HTML(elem_id="status", elem_classes="cs-status")
    timer = gr.Timer(1.0)

    def tick() -> tuple[str, gr.Timer]:
        words = status()
        return render.status_line(words), gr.Timer(active=bool(words))

    timer.tick(tick, outputs=[line, timer], show_progress="hidden", api_visibility="private")
    app.load(tick, outputs=[line, timer], show_progress="hidden", api_visibility="private")
