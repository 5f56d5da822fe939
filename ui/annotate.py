"""The viewer's picture: one frame of a study, made small enough for a page, with masks and boxes as layers.

It computes no finding and changes no pixel of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from assistant.steps import Answer
from specialists.core.findings import Box, Instances, Masks, Volumes, counted
from specialists.core.study import Study

MAX_SIDE = 1024
"""Longest side, in pixels, of the picture sent to the browser."""
MIN_SIDE = 384
"""Smaller pictures are enlarged to this longest side, so that outlines stay thin."""
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
"""Okabe and Ito's palette: told apart by people with any color vision, on gray images too."""

FEW = 3
"""Of more boxes of one label than this there is one layer, named by their number."""

_FILL, _EDGE = 0.30, 1.0


@dataclass(frozen=True)
class Picture:
    """A frame and its layers, as the annotated image component takes them."""

    image: np.ndarray
    """uint8 (H, W, 3)."""
    layers: tuple[tuple[np.ndarray, str], ...]
    """Opacity 0..1 (H, W) and the name in the legend."""
    colors: dict[str, str]
    """Color of each name."""


def picture(study: Study, frame: int | None = None, answer: Answer | None = None) -> Picture:
    """Return a frame, the key frame if None; an answer's layers belong on the key frame, those of volumes on each."""
    frame = study.key_frame if frame is None else frame
    image = Image.fromarray(study.rgb(frame))
    scale = _scale(max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resample = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    shown = np.asarray(image.resize(size, resample) if scale != 1 else image)
    drawn = _layers if frame == study.key_frame else _slices
    layers = drawn(answer, frame, image.size, size) if answer else ()
    names = list(dict.fromkeys(name for _, name in layers))
    return Picture(shown, layers, {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)})


def _scale(side: int) -> float:
    if side > MAX_SIDE:
        return MAX_SIDE / side
    return MIN_SIDE / side if side < MIN_SIDE else 1.0


Layer = tuple[np.ndarray, str]
Size = tuple[int, int]


def _layers(answer: Answer, frame: int, original: Size, size: Size) -> tuple[Layer, ...]:
    """Return masks first, things apart, and boxes above them; (width, height) before and after scaling."""
    apart = {f.specialist: f for f in answer.findings if isinstance(f, Instances)}
    whole = [masks for masks in answer.masks if masks.specialist not in apart]
    areas = [_area(mask, name, size) for masks in whole for name, mask in _fitting(masks, original)]
    things = [_apart(found, size) for found in apart.values() if found.mask.shape == original[::-1] and found.count]
    return (*areas, *things, *_outlines(answer.boxes, original, size))


def _slices(answer: Answer, frame: int, original: Size, size: Size) -> tuple[Layer, ...]:
    """Return what volumes have on a frame that is not the key frame."""
    shown = [f.shown(frame) for f in answer.findings if isinstance(f, Volumes)]
    return tuple(_area(mask, name, size) for masks in shown for name, mask in _fitting(masks, original))


def _outlines(boxes: Sequence[Box], original: Size, size: Size) -> list[Layer]:
    """Return a layer a box, or one a label where there are many of it."""
    layers: list[Layer] = []
    for label in dict.fromkeys(box.label for box in boxes):
        own = [box for box in boxes if box.label == label]
        drawn = [_outline(box, original, size) for box in own]
        if len(own) > FEW:
            layers.append((np.max(drawn, axis=0), counted(len(own), label)))
        else:
            layers += [(layer, _name(box)) for layer, box in zip(drawn, own, strict=True)]
    return layers


def _apart(found: Instances, size: Size) -> Layer:
    """Return one layer of many things, each with its own border, named by their number."""
    picture = Image.fromarray(found.instances.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    shown = Instances(found.specialist, found.label, np.asarray(picture))
    layer = np.where(shown.rim(), _EDGE, np.where(shown.mask, _FILL, 0.0))
    return layer, counted(found.count, found.label)


def _fitting(masks: Masks, original: tuple[int, int]) -> Sequence[tuple[str, np.ndarray]]:
    width, height = original
    return [(name, mask) for name, mask in masks.masks.items() if mask.shape == (height, width) and mask.any()]


def _name(box: Box) -> str:
    return f"{box.label}, box" if box.score is None else f"{box.label}, box {100 * box.score:.0f} %"


def _area(mask: np.ndarray, name: str, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    inside = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) > 127
    eroded = inside.copy()
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            eroded &= np.roll(inside, shift, axis)
    return np.where(eroded, _FILL, np.where(inside, _EDGE, 0.0)), name


def _outline(box: Box, original: tuple[int, int], size: tuple[int, int], thickness: int = 2) -> np.ndarray:
    layer = np.zeros((size[1], size[0]))
    across, down = size[0] / original[0], size[1] / original[1]
    x1, y1, x2, y2 = box.xyxy
    left, right = sorted(int(np.clip(round(x * across), 0, size[0] - 1)) for x in (x1, x2))
    top, bottom = sorted(int(np.clip(round(y * down), 0, size[1] - 1)) for y in (y1, y2))
    layer[top : bottom + 1, left : right + 1] = _EDGE
    layer[top + thickness : bottom + 1 - thickness, left + thickness : right + 1 - thickness] = 0.0
    return layer
