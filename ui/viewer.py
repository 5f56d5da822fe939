"""The viewer as HTML: one slice as SVG in pixels of the file, layers and regions over it, tools and legend around.

Pure: the same slice gives the same text. Zoom, pan, drawing and lighting up happen in `viewer.js`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from assistant.steps import Answer
from specialists.core.findings import Box
from specialists.core.study import Study
from ui import annotate, planes
from ui.annotate import Layer
from ui.planes import View
from ui.render import escaped

SCRIPT = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")
MAX_SIDE = 1600
"""Longest side, in pixels, of the picture sent to the browser."""
FILL = 80
"""Opacity of an area, 0..255."""
POINT = 0.04
"""Side of the box around a point, as a share of the longer side."""
TOOLS = (
    ("pan", "Move", "Drag to move; wheel, + and − to zoom"),
    ("box", "Box", "Draw a box to ask about; Enter puts one in the middle"),
    ("point", "Point", "Mark a point to ask about"),
    ("in", "+", "Closer"),
    ("out", "−", "Farther"),
    ("fit", "Whole", "Show the whole image"),
)


def viewer(
    study: Study, view: View, answer: Answer | None = None, regions: Sequence[Box] = (), *, asks: bool = True
) -> str:
    """Return the viewer of a slice; where it `asks`, regions are drawn on the slice that the generalist sees."""
    picture = planes.pixels(study, view)
    height, width = picture.shape[:2]
    spacing = planes.spacing(study, view.plane)
    aspect = spacing[0] / spacing[1] if spacing else 1.0
    found = annotate.layers(study, view, answer)
    asks = asks and view.is_key(study)
    marks = "".join(map(_region, range(1, len(regions) + 1), regions)) if asks else ""
    body = (
        f'<image class="cs-pixels" href="{png_url(_small(picture))}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none"/>{"".join(_drawn(layer, width, height) for layer in found)}{marks}'
    )
    scale = f' data-mm="{spacing[1]:.6g}"' if spacing else ""
    named = f"{study.sha256[:12]}-{view.plane}"
    return (
        f'<div class="cs-viewer">{_tools(asks, len(regions))}'
        '<div class="cs-stage" tabindex="0" role="group" aria-label="Image. Arrow keys move, plus and minus zoom, '
        'page keys change the slice.">'
        f'<svg data-key="{named}" data-width="{width}" data-height="{height}" data-aspect="{aspect:.6g}" '
        f'data-asks="{int(asks)}"{scale} viewBox="0 0 {width} {height * aspect:.6g}" role="group" '
        f'aria-label="{escaped(_told(study, view, found))}">'
        f'<g class="cs-plane" transform="scale(1 {aspect:.6g})">{body}<rect class="cs-new" hidden/></g></svg>'
        f'<div class="cs-scale" hidden><span></span></div></div>{_comparison(found)}{_legend(found)}</div>'
    )


def around(x: float, y: float, size: tuple[int, int]) -> Box:
    """Return the box that stands for a point, within an image of (width, height)."""
    side = max(2.0, POINT * max(size))
    left = min(max(x - side / 2, 0.0), max(size[0] - side, 0.0))
    top = min(max(y - side / 2, 0.0), max(size[1] - side, 0.0))
    return Box("point", (left, top, min(left + side, size[0]), min(top + side, size[1])))


def within(corners: Sequence[float], size: tuple[int, int], label: str = "box") -> Box | None:
    """Return the box of two corners, clipped to an image of (width, height); None where nothing is left of it."""
    x1, y1, x2, y2 = (float(v) for v in corners)
    left, right = sorted((min(max(x1, 0.0), size[0]), min(max(x2, 0.0), size[0])))
    top, bottom = sorted((min(max(y1, 0.0), size[1]), min(max(y2, 0.0), size[1])))
    return Box(label, (left, top, right, bottom)) if right - left >= 1 and bottom - top >= 1 else None


def _told(study: Study, view: View, found: Sequence[Layer]) -> str:
    seen = f"{view.plane} slice {view.at(study) + 1}" if study.volume else "medical image"
    return f"{seen}; shown on it: {', '.join(layer.name for layer in found)}" if found else seen


def _small(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image.convert("L") if (picture == picture[..., :1]).all() else image


def png_url(image: Image.Image) -> str:
    """Return a picture as a data URL."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _drawn(layer: Layer, width: int, height: int) -> str:
    inside = ""
    if layer.picture is not None:
        inside = _compared(layer, width, height) if layer.compared else _laid(layer.picture, width, height)
    elif layer.mask is not None:
        inside = _laid(_tinted(layer), width, height)
    for box in layer.boxes:
        x1, y1, x2, y2 = box.xyxy
        inside += f'<rect x="{x1:.6g}" y="{y1:.6g}" width="{x2 - x1:.6g}" height="{y2 - y1:.6g}"/>'
    return (
        f'<g class="cs-layer" data-layer="{layer.id}" style="--layer:{layer.color}">'
        f"<title>{escaped(layer.name)}</title>{inside}</g>"
    )


def _laid(picture: Image.Image, width: int, height: int, more: str = "") -> str:
    """Return a picture laid over the whole slice."""
    return f'<image href="{png_url(picture)}" width="{width}" height="{height}" preserveAspectRatio="none"{more}/>'


def _compared(layer: Layer, width: int, height: int) -> str:
    """Return an enhanced image that is seen right of an edge; the page moves the edge."""
    assert layer.picture is not None
    edge, cut = f"{width / 2:.6g}", f"cut-{layer.id}"
    return (
        f'<clipPath id="{cut}"><rect class="cs-cut" x="{edge}" width="{width}" height="{height}"/></clipPath>'
        + _laid(layer.picture, width, height, f' clip-path="url(#{cut})"')
        + f'<line class="cs-edge" x1="{edge}" x2="{edge}" y2="{height}"/>'
    )


def _tinted(layer: Layer) -> Image.Image:
    """Return an area as RGBA: a tint and an opaque edge."""
    assert layer.mask is not None
    mask = layer.mask
    inner = np.asarray(ndimage.binary_erosion(mask, iterations=max(1, max(mask.shape) // 400)), dtype=bool)
    edge = mask & ~inner
    edge = edge if layer.rim is None else edge | layer.rim
    alpha = np.where(edge, 255, np.where(mask, FILL, 0)).astype(np.uint8)
    color = [int(layer.color[i : i + 2], 16) for i in (1, 3, 5)]
    made = np.concatenate([np.broadcast_to(np.array(color, np.uint8), (*mask.shape, 3)), alpha[..., None]], axis=2)
    image = Image.fromarray(made, "RGBA")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR)
    return image


def _region(number: int, box: Box) -> str:
    x1, y1, x2, y2 = box.xyxy
    word = "Point" if box.label == "point" else "Region"
    return (
        f'<g class="cs-region" data-region="{number}" tabindex="0" role="button" aria-label="{word} {number}: arrow '
        'keys move it, with Shift they resize it, Delete removes it">'
        f'<rect x="{x1:.6g}" y="{y1:.6g}" width="{x2 - x1:.6g}" height="{y2 - y1:.6g}"/>'
        f'<text x="{x1:.6g}" y="{y1:.6g}">{number}</text></g>'
    )


def _tools(asks: bool, regions: int) -> str:
    made = ""
    for name, words, told in TOOLS:
        off = " disabled" if name in ("box", "point") and not asks else ""
        state = ' aria-pressed="false"' if name in ("pan", "box", "point") else ""
        said = f'title="{told}" aria-label="{words}: {told}"'
        made += f'<button type="button" data-tool="{name}" {said}{state}{off}>{words}</button>'
    if regions:
        made += '<button type="button" data-tool="clear" title="Remove all regions">Remove regions</button>'
    return f'<div class="cs-tools" role="toolbar" aria-label="Tools of the image">{made}</div>'


def _comparison(found: Sequence[Layer]) -> str:
    """Return the slider between what the image was and what it is, enhanced."""
    if not any(layer.compared for layer in found):
        return ""
    return (
        '<label class="cs-compare"><span>Before</span><input type="range" min="0" max="100" value="50" data-compare '
        'aria-label="Where the image as it was ends and the enhanced one begins, in per cent of the width">'
        '<span>After</span></label>'
    )


def _swatch(layer: Layer) -> str:
    if layer.picture is None or layer.compared:
        return f'<span class="cs-swatch" style="background:{layer.color}"></span>'
    note = f' title="{escaped(layer.note)}"' if layer.note else ""
    return f'<span class="cs-ramp"{note}>none<span style="background:{layer.color}"></span>most</span>'


def _legend(found: Sequence[Layer]) -> str:
    if not found:
        return ""
    rows = "".join(
        f'<label class="cs-entry" data-layers="{layer.id}"><input type="checkbox" checked data-toggle="{layer.id}">'
        f'{_swatch(layer)}{escaped(layer.name)}</label>'
        for layer in found
    )
    every = '<label class="cs-entry cs-all"><input type="checkbox" checked data-toggle="all">All</label>'
    every = every if len(found) > 1 else ""
    return f'<div class="cs-legend" role="group" aria-label="What is shown">{every}{rows}</div>'
