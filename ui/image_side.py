"""The image's side of the window: dropping files, the viewer, slices, windows and regions; it answers nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from ui import phantoms, planes, render, session, viewer
from ui.parts import LOADED, QUIET, ImageParts, Parts
from ui.planes import View
from ui.session import Session

EMPTY_HEIGHT = 340
READING = f"async (...given) => {{ {LOADED} await window.consilium.reading(); return given; }}"
READ = "() => window.consilium.read()"
"""Said to the page before files are read, and after: questions wait meanwhile (`page.js`)."""
REGIONS = 9
"""More than these cannot be drawn."""


def build() -> tuple[ImageParts, tuple[gr.Button, ...]]:
    """Lay the side out, empty."""
    picture = gr.HTML(elem_id="viewer", js_on_load=viewer.SCRIPT)
    caption = gr.HTML(elem_id="caption")
    regions = gr.HTML(elem_id="regions")
    plane = gr.Radio(
        [(name.capitalize(), name) for name in planes.PLANES],
        value="axial",
        label="Plane",
        visible=False,
        elem_id="plane",
    )
    frame = gr.Slider(1, 2, value=1, step=1, label="Slice", visible=False, elem_id="frame")
    with gr.Row(visible=False, elem_id="windowing") as windowing:
        preset = gr.Dropdown([], label="Window", filterable=False, min_width=170, scale=1, elem_id="preset")
        center = gr.Slider(0, 1, label="Level", min_width=150, scale=2, elem_id="center")
        width = gr.Slider(0, 1, label="Width", min_width=150, scale=2, elem_id="width")
    which = gr.Radio([], label="Image", visible=False, elem_id="which")
    files = gr.File(
        label="Drop PNG, JPEG, TIFF, WebP, DICOM or NIfTI", file_count="multiple", height=EMPTY_HEIGHT, elem_id="files"
    )
    with gr.Row(elem_classes="phantoms"):
        drawn = tuple(gr.Button(name, size="sm", min_width=90) for name in phantoms.PHANTOMS)
    return ImageParts(picture, caption, plane, frame, which, preset, center, width, windowing, regions, files), drawn


def looked_at(parts: ImageParts, state: Session) -> dict[Any, Any]:
    """Return the slice in view, its caption and its regions."""
    study = state.study
    if study is None:
        return {parts.viewer: "", parts.caption: "", parts.regions: ""}
    regions = state.regions if state.shown == 0 else ()
    return {
        parts.viewer: viewer.viewer(study, state.view, state.overlaid, regions, asks=state.shown == 0),
        parts.caption: render.study_line(study, state.view),
        parts.regions: render.regions_line(study, regions, drawable=state.view.is_key(study) and state.shown == 0),
    }


def shown(parts: ImageParts, state: Session) -> dict[Any, Any]:
    """Return the whole side for a session."""
    study = state.study
    return {
        **looked_at(parts, state),
        parts.plane: gr.Radio(value=state.view.plane, visible=bool(study and study.volume)),
        parts.frame: _slider(state),
        parts.which: gr.Radio(
            [(name, i) for i, name in enumerate(state.names)],
            value=state.shown if study else None,
            visible=len(state.studies) > 1,
        ),
        **_window(parts, state),
        parts.files: gr.File(
            value=None, height=76 if study else EMPTY_HEIGHT, elem_classes="cs-small" if study else ""
        ),
    }


def _slider(state: Session) -> gr.Slider:
    study = state.study
    if study is None:
        return gr.Slider(visible=False)
    count = planes.slices(study, state.view.plane)
    word = "Slice" if study.volume else "Frame"
    return gr.Slider(1, max(count, 2), value=state.view.at(study) + 1, visible=study.frames > 1, label=word)


def _window(parts: ImageParts, state: Session) -> dict[Any, Any]:
    """Return the window's controls; none where the file's values are not known."""
    study = state.study
    if study is None or study.values is None:
        return {
            parts.windowing: gr.Row(visible=False),
            parts.preset: gr.skip(),
            parts.center: gr.skip(),
            parts.width: gr.skip(),
        }
    known = planes.presets(study)
    low, high, step = planes.limits(study)
    center, width = state.view.window or study.window or ((low + high) / 2, high - low)
    named = next((name for name, window in known.items() if window == state.view.window), None)
    return {
        parts.windowing: gr.Row(visible=True),
        parts.preset: gr.Dropdown(list(known), value=named),
        parts.center: gr.Slider(min(low, center), max(high, center), value=float(f"{center:.4g}"), step=step),
        parts.width: gr.Slider(step, max(high - low, width), value=float(f"{width:.4g}"), step=step),
    }


def drawn(state: Session, said: dict[str, Any]) -> bool:
    """Change the regions as the page says; returns whether anything changed."""
    study = state.studies[0] if state.studies else None
    if study is None or state.shown != 0 or not state.view.is_key(study):
        return False
    at = int(said.get("moved") or said.get("removed") or 0) - 1
    if said.get("clear"):
        state.regions = []
    elif 0 <= at < len(state.regions) and "removed" in said:
        state.regions = [box for i, box in enumerate(state.regions) if i != at]
    elif "corners" in said:
        label = state.regions[at].label if 0 <= at < len(state.regions) else "box"
        box = viewer.within(said["corners"], study.size, label)
        if box is None:
            return True
        if 0 <= at < len(state.regions):
            state.regions = [box if i == at else old for i, old in enumerate(state.regions)]
        elif len(state.regions) < REGIONS:
            state.regions = [*state.regions, box]
    elif "point" in said and len(state.regions) < REGIONS:
        x, y = said["point"]
        state.regions = [*state.regions, viewer.around(x, y, study.size)]
    else:
        return False
    return True


def wire(parts: Parts, talk: Callable[[Session], dict[Any, Any]]) -> None:
    """Let files, buttons and the viewer act; `talk` shows the other side."""
    image = parts.image
    _wire_files(parts, talk)
    _wire_slices(parts)
    _wire_window(parts)

    def select(state: Session | None, event: gr.EventData) -> dict[Any, Any]:
        said = dict(event._data or {})
        if state is None or state.study is None:
            return {image.regions: gr.skip()}
        if "step" in said:
            state.view = replace(state.view, index=state.view.at(state.study) + int(said["step"]))
            return {**looked_at(image, state), image.frame: state.view.at(state.study) + 1}
        return looked_at(image, state) if drawn(state, said) else {image.regions: gr.skip()}

    seen = [image.viewer, image.caption, image.regions, image.frame]
    image.viewer.select(select, [parts.state], seen, **QUIET)


def _wire_files(parts: Parts, talk: Callable[[Session], dict[Any, Any]]) -> None:
    def taken(state: Session | None, sources: list[str] | list[bytes], names: list[str]) -> dict[Any, Any]:
        state = state or Session()
        session.take(state, sources, names)
        return {parts.state: state, **shown(parts.image, state)}

    def upload(files: list[str] | None, state: Session | None) -> dict[Any, Any]:
        return taken(state, files or [], [])

    def draw(name: str) -> Callable[[Session | None], dict[Any, Any]]:
        return lambda state: taken(state, [phantoms.PHANTOMS[name]()], [name])

    def choose(state: Session | None, which: int | None) -> dict[Any, Any]:
        state = state or Session()
        state.shown, state.view = which or 0, View()
        return {parts.state: state, **shown(parts.image, state)}

    changed = [parts.state, *parts.image.all]
    told = [parts.image.files.upload(upload, [parts.image.files, parts.state], changed, js=READING, **QUIET)]
    for button, name in zip(parts.phantoms, phantoms.PHANTOMS, strict=True):
        told.append(button.click(draw(name), [parts.state], changed, js=READING, **QUIET))
    for event in told:  # the talk comes after: beside the slow picture it would be older than an answer that has come
        event.then(lambda state: talk(state or Session()), [parts.state], parts.talk.told, **QUIET).then(
            None, js=READ, **QUIET)
    parts.image.which.input(choose, [parts.state, parts.image.which], [parts.state, *parts.image.all], **QUIET)


def _wire_slices(parts: Parts) -> None:
    image = parts.image

    def turn(state: Session | None, frame: int) -> dict[Any, Any]:
        state = state or Session()
        state.view = replace(state.view, index=int(frame) - 1)
        return looked_at(image, state)

    def cut(state: Session | None, plane: str) -> dict[Any, Any]:
        state = state or Session()
        state.view = replace(state.view, plane=plane, index=None)
        return {**looked_at(image, state), image.frame: _slider(state)}

    seen = [image.viewer, image.caption, image.regions]
    image.frame.input(turn, [parts.state, image.frame], seen, trigger_mode="always_last", **QUIET)
    image.plane.input(cut, [parts.state, image.plane], [*seen, image.frame], **QUIET)


def _wire_window(parts: Parts) -> None:
    image = parts.image

    def choose(state: Session | None, name: str) -> dict[Any, Any]:
        state = state or Session()
        if state.study is None:
            return {image.viewer: gr.skip()}
        state.view = replace(state.view, window=planes.presets(state.study).get(name))
        return {**looked_at(image, state), **_window(image, state)}

    def slide(state: Session | None, center: float, width: float) -> dict[Any, Any]:
        state = state or Session()
        state.view = replace(state.view, window=(center, width))
        return {**looked_at(image, state), image.preset: None}

    seen = [image.viewer, image.caption, image.regions]
    controls = [image.windowing, image.preset, image.center, image.width]
    image.preset.input(choose, [parts.state, image.preset], [*seen, *controls], **QUIET)
    for slider in (image.center, image.width):
        given = [parts.state, image.center, image.width]
        slider.input(slide, given, [*seen, image.preset], trigger_mode="always_last", **QUIET)
