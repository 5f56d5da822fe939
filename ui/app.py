"""The window's layout and wiring in Gradio Blocks, and how it is served; what it shows is made elsewhere."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui import annotate, panel, phantoms, render, session, theme
from ui.session import Choices, Consultant, Session

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
EMPTY_HEIGHT = 340
EMPTY = "Drop an image, or try a drawn one, and ask."
QUESTIONS = (
    "What kind of image is this?",
    "What is the diagnosis?",
    "Where is the lesion?",
    "Is anything unusual here?",
)


@dataclass(frozen=True)
class Parts:
    """The components that events read or change."""

    state: gr.State
    viewer: gr.AnnotatedImage
    caption: gr.HTML
    frame: gr.Slider
    which: gr.Radio
    overlays: gr.Checkbox
    files: gr.File
    phantoms: tuple[gr.Button, ...]
    chat: gr.Chatbot
    question: gr.Textbox
    options: gr.Textbox
    collaboration: gr.Radio
    style: gr.Radio
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    panel: gr.HTML

    @property
    def image_side(self) -> list[Any]:
        """Return what a new image changes, in the order of `_image_side`."""
        return [self.viewer, self.caption, self.frame, self.which, self.overlays, self.files]


def create_app(consultant: Consultant, *, status: Callable[[], str] | None = None) -> gr.Blocks:
    """Return the window over an assistant; `status` says what is still loading, an empty string when done."""
    with gr.Blocks(title="Consilium", analytics_enabled=False, delete_cache=CACHE_S, fill_width=True) as app:
        gr.HTML(HEAD)
        if status:
            _show_status(app, status)
        state = gr.State(None, time_to_live=STATE_S)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=280, elem_id="image-column"):
                image = _image_column()
                settings = _settings()
            with gr.Column(scale=7, min_width=280, elem_id="talk-column"):
                talk = _talk_column()
        parts = Parts(state=state, **image, **settings, **talk)
        _wire_image(parts)
        _wire_talk(parts, consultant)
    app.queue(default_concurrency_limit=4, api_open=False)
    return app


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
    if not key and not _loopback(host):
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
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme.theme(),
        css_paths=theme.CSS,
    )
    return address


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _login(key: str) -> Callable[[str, str], bool]:
    def right(user: str, password: str) -> bool:
        return hmac.compare_digest(user.encode(), USER.encode()) & hmac.compare_digest(password.encode(), key.encode())

    return right


def _image_column() -> dict[str, Any]:
    viewer = gr.AnnotatedImage(label="Image", show_label=False, height=460, visible=False, elem_id="viewer")
    caption = gr.HTML(elem_id="caption")
    frame = gr.Slider(1, 2, value=1, step=1, label="Slice", visible=False, elem_id="frame")
    which = gr.Radio([], label="Image", visible=False, elem_id="which")
    overlays = gr.Checkbox(value=True, label="Show boxes and masks", visible=False, elem_id="overlays")
    files = gr.File(
        label="Drop PNG, JPEG, TIFF, WebP, DICOM or NIfTI",
        file_count="multiple",
        height=EMPTY_HEIGHT,
        elem_id="files",
    )
    with gr.Row(elem_classes="phantoms"):
        buttons = tuple(gr.Button(name, size="sm", min_width=90) for name in phantoms.PHANTOMS)
    return {
        "viewer": viewer,
        "caption": caption,
        "frame": frame,
        "which": which,
        "overlays": overlays,
        "files": files,
        "phantoms": buttons,
    }


def _talk_column() -> dict[str, Any]:
    chat = gr.Chatbot(
        label="Conversation",
        show_label=False,
        height=400,
        placeholder=EMPTY,
        latex_delimiters=[],
        feedback_options=None,
        allow_tags=False,
        buttons=["copy"],
        examples=[{"text": words} for words in QUESTIONS],
        elem_id="chat",
    )
    with gr.Row(equal_height=True):
        question = gr.Textbox(
            label="Question",
            placeholder="Ask about the image",
            lines=1,
            max_lines=6,
            scale=3,
            min_width=220,
            autofocus=True,
            elem_id="question",
        )
        options = gr.Textbox(
            label="Answers to choose from (optional)",
            placeholder="benign, malignant, normal",
            lines=1,
            max_lines=2,
            scale=2,
            min_width=220,
            elem_id="options",
        )
    with gr.Row():
        send = gr.Button("Ask", variant="primary", size="md", scale=4, min_width=90, elem_id="ask")
        stop = gr.Button("Stop", variant="stop", size="md", scale=1, min_width=80, interactive=False, elem_id="stop")
        clear = gr.Button("Start over", size="md", scale=1, min_width=110, elem_id="clear")
    panel = gr.HTML(elem_id="panel")
    return {
        "chat": chat,
        "question": question,
        "send": send,
        "stop": stop,
        "clear": clear,
        "options": options,
        "panel": panel,
    }


def _settings() -> dict[str, Any]:
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        collaboration = gr.Radio(
            [
                ("The model decides whom to ask", "auto"),
                ("All specialists and similar cases", "full"),
                ("The image alone", "none"),
            ],
            value="full",
            label="Collaboration",
            elem_id="collaboration",
        )
        style = gr.Radio(
            [("Calibrated probabilities", "calibrated"), ("Label names, as published", "published")],
            value="calibrated",
            label="How evidence is told to the model",
            elem_id="style",
        )
    return {"collaboration": collaboration, "style": style}


def _show_status(app: gr.Blocks, status: Callable[[], str]) -> None:
    line = gr.HTML(elem_id="status", elem_classes="cs-status")
    timer = gr.Timer(1.0)

    def tick() -> tuple[str, gr.Timer]:
        words = status()
        return render.status_line(words), gr.Timer(active=bool(words))

    timer.tick(tick, outputs=[line, timer], show_progress="hidden", api_visibility="private")
    app.load(tick, outputs=[line, timer], show_progress="hidden", api_visibility="private")


def _view(state: Session, frame: int | None, overlays: bool) -> tuple[Any, str]:
    """Return the viewer and its caption for a frame of the shown study, from 0; None is the key frame."""
    if state.study is None:
        return gr.AnnotatedImage(value=None, visible=False), ""
    frame = state.study.key_frame if frame is None else min(frame, state.study.frames - 1)
    drawn = annotate.picture(state.study, frame, state.overlaid if overlays else None)
    viewer = gr.AnnotatedImage(value=(drawn.image, list(drawn.layers)), color_map=drawn.colors, visible=True)
    return viewer, render.study_line(state.study, frame)


def _image_side(state: Session) -> tuple[Any, ...]:
    study, count = state.study, len(state.studies)
    frames = study.frames if study else 1
    slider = gr.Slider(
        1,
        max(frames, 2),
        value=study.key_frame + 1 if study else 1,
        visible=frames > 1,
        label="Slice" if study and study.volume else "Frame",
    )
    which = gr.Radio(
        [(name, i) for i, name in enumerate(state.names)],
        value=state.shown if count else None,
        visible=count > 1,
    )
    overlays = gr.Checkbox(value=True, visible=_drawable(state))
    files = gr.File(value=None, height=76 if study else EMPTY_HEIGHT, elem_classes="cs-small" if study else "")
    return *_view(state, None, True), slider, which, overlays, files


def _drawable(state: Session) -> bool:
    return state.overlaid is not None and bool(state.overlaid.boxes or state.overlaid.masks)


def _wire_image(parts: Parts) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def taken(state: Session | None, sources: list[str] | list[bytes], names: list[str]) -> tuple[Any, ...]:
        state = state or Session()
        new = session.take(state, sources, names)
        return state, state.history, "" if new else gr.skip(), *_image_side(state)

    def upload(files: list[str] | None, state: Session | None) -> tuple[Any, ...]:
        return taken(state, files or [], [])

    def draw(name: str) -> Callable[[Session | None], tuple[Any, ...]]:
        return lambda state: taken(state, [phantoms.PHANTOMS[name]()], [name])

    def turn(state: Session | None, frame: int, overlays: bool) -> tuple[Any, str]:
        return _view(state or Session(), int(frame) - 1, overlays)

    def choose(state: Session | None, which: int | None) -> tuple[Any, ...]:
        state = state or Session()
        state.shown = which or 0
        return state, *_image_side(state)

    changed = [parts.state, parts.chat, parts.panel, *parts.image_side]
    parts.files.upload(upload, [parts.files, parts.state], changed, **quiet)
    for button, name in zip(parts.phantoms, phantoms.PHANTOMS, strict=True):
        button.click(draw(name), [parts.state], changed, **quiet)
    seen = [parts.state, parts.frame, parts.overlays]
    parts.frame.input(turn, seen, [parts.viewer, parts.caption], trigger_mode="always_last", **quiet)
    parts.overlays.input(turn, seen, [parts.viewer, parts.caption], **quiet)
    parts.which.input(choose, [parts.state, parts.which], [parts.state, *parts.image_side], **quiet)


def _drawn(parts: Parts, state: Session) -> dict[Any, Any]:
    """Return the key frame with what an answer found on it, or no change where there is nothing to draw."""
    if not _drawable(state) or state.study is None:
        return {parts.overlays: gr.Checkbox(visible=False)}
    viewer, caption = _view(state, None, True)
    slider = gr.Slider(value=state.study.key_frame + 1)
    overlays = gr.Checkbox(value=True, visible=True)
    return {parts.viewer: viewer, parts.caption: caption, parts.frame: slider, parts.overlays: overlays}


def _example(event: gr.SelectData) -> str:
    return event.value["text"]


def _wire_talk(parts: Parts, consultant: Consultant) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    changed = [
        parts.state,
        parts.chat,
        parts.panel,
        parts.viewer,
        parts.caption,
        parts.frame,
        parts.overlays,
        parts.question,
        parts.send,
        parts.stop,
    ]

    def busy(running: bool) -> dict[Any, Any]:
        return {parts.send: gr.Button(interactive=not running), parts.stop: gr.Button(interactive=running)}

    def ask(state: Session | None, text: str, options: str, collaboration: str, style: str) -> Iterator[dict[Any, Any]]:
        choices = Choices(session.split_options(options), collaboration, style)
        state = state or Session()
        first: dict[Any, Any] = {parts.state: state, parts.question: "", **busy(True)}
        for panel_too in session.ask(consultant, state, text, choices):
            changes = {parts.chat: state.history, **first}
            if panel_too:
                changes[parts.panel] = panel.panel(state.steps, state.answer)
            first = {}
            yield changes
        yield {parts.state: state, **_drawn(parts, state), **busy(False)}

    def stop(state: Session | None) -> dict[Any, Any]:
        state = state or Session()
        session.stop(state)
        return {parts.state: state, parts.chat: state.history, **busy(False)}

    def clear() -> dict[Any, Any]:
        state = Session()
        image = dict(zip(parts.image_side, _image_side(state), strict=True))
        return {
            parts.state: state,
            parts.chat: [],
            parts.panel: "",
            parts.question: "",
            **image,
            **busy(False),
        }

    given = [parts.state, parts.question, parts.options, parts.collaboration, parts.style]
    running: Any = [
        parts.send.click(ask, given, changed, **quiet),
        parts.question.submit(ask, given, changed, **quiet),
    ]
    parts.stop.click(stop, [parts.state], [parts.state, parts.chat, parts.send, parts.stop], cancels=running, **quiet)
    parts.chat.example_select(_example, None, [parts.question], **quiet)
    cleared = [*changed, *(part for part in parts.image_side if part not in changed)]
    parts.clear.click(clear, None, cleared, cancels=running, **quiet)
