"""What an answer found, as layers over one slice of a study, each with an id, a name and a color.

It computes no finding and changes no pixel of the study.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from assistant.steps import Answer
from specialists.core.findings import Box, Boxes, Enhanced, Finding, HeatMap, Instances, Masks, Volumes, counted
from specialists.core.pictures import SCALE
from specialists.core.study import Study
from ui import planes
from ui.planes import View

COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
"""Okabe and Ito's palette: told apart by people with any color vision, on gray images too."""
RAMP = f"linear-gradient(90deg, {', '.join(f'rgb{color}' for color in SCALE)})"
"""From 0 to 1 of a heat map."""
GLASS = "repeating-linear-gradient(90deg, #9fb0bf 0 3px, #ffffff 3px 6px)"
"""Stands for an enhanced image, which has no color of its own."""
FEW = 3
"""Of more boxes of one label than this there is one layer, named by their number."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One thing to toggle: an area or boxes in pixels of the slice, or a picture over the whole of it."""

    id: str
    """The same on every slice, and without spaces: a finding names its layers by it."""
    name: str
    color: str = COLORS[0]
    """As CSS has it; of a picture, what stands for it in the legend."""
    mask: np.ndarray | None = None
    """bool (H, W), or None for boxes."""
    rim: np.ndarray | None = None
    """bool (H, W) of borders to draw inside the mask too; None: its outer edge alone."""
    boxes: tuple[Box, ...] = field(default=())
    picture: Image.Image | None = None
    """Of any size; a heat map is RGBA, an enhanced image RGB."""
    compared: bool = False
    """The picture is the image itself made clearer: before and after are looked at side by side."""
    note: str = ""
    """What its brightest place stands for."""


def layers(study: Study, view: View, answer: Answer | None) -> tuple[Layer, ...]:
    """Return pictures, areas, then boxes, of an answer on a slice; those of one image belong on its key frame alone."""
    if answer is None:
        return ()
    key = view.is_key(study)
    found = [*_areas(answer, study, view), *(_outlines(answer, study) if key else ())]
    ids = layer_ids(answer)
    pictures = map(picture_layer, _pictures(answer)) if key else ()
    return (*pictures, *(replace(layer, color=_color(ids, layer.id)) for layer in found))


def layer_ids(answer: Answer) -> list[str]:
    """Return the ids of all layers of an answer, so that each has one color on every slice."""
    areas = [area_id(f.specialist, label) for f in answer.findings for label in _labels(f)]
    more = [area_id(m.specialist, label) for m in answer.masks for label in m.masks]
    return list(dict.fromkeys([*areas, *more, *(box_id(box.label) for box in answer.boxes)]))


def picture_layer(finding: HeatMap | Enhanced) -> Layer:
    """Return the layer of a heat map or of an enhanced image."""
    if isinstance(finding, Enhanced):
        name = f"{finding.specialist.replace('_', ' ')}: {finding.done}"
        return Layer(f"after-{_slug(finding.specialist)}", name, GLASS, picture=finding.image(), compared=True)
    name = f"{finding.specialist.replace('_', ' ')}: heat map of {finding.label}"
    known = f"heat-{_slug(finding.specialist)}-{_slug(finding.label)}"
    return Layer(known, name, RAMP, picture=finding.tint(), note=finding.meaning)


def of_finding(finding: Finding, answer: Answer) -> list[str]:
    """Return the ids of the layers that show a finding."""
    if isinstance(finding, HeatMap | Enhanced):
        return [picture_layer(finding).id]
    labels = _labels(finding)
    boxed = {box.label for box in finding.boxes} if isinstance(finding, Boxes) else set(labels)
    wanted = [area_id(finding.specialist, label) for label in labels] + [box_id(label) for label in boxed]
    return [known for known in layer_ids(answer) if known in wanted]


def colors(answer: Answer) -> dict[str, str]:
    """Return the color of each layer by its id, as CSS has it."""
    ids = layer_ids(answer)
    pictures = {layer.id: layer.color for layer in map(picture_layer, _pictures(answer))}
    return {**{known: _color(ids, known) for known in ids}, **pictures}


def area_id(specialist: str, label: str) -> str:
    """Return the id of an area."""
    return f"area-{_slug(specialist)}-{_slug(label)}"


def box_id(label: str) -> str:
    """Return the id of the boxes of a label."""
    return f"box-{_slug(label)}"


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.casefold()).strip("-") or "x"


def _color(ids: Sequence[str], known: str) -> str:
    return COLORS[ids.index(known) % len(COLORS)]


def _pictures(answer: Answer) -> list[HeatMap | Enhanced]:
    """Return enhanced images, then heat maps: these lie over those."""
    found = [f for f in answer.findings if isinstance(f, HeatMap | Enhanced)]
    return sorted(found, key=lambda f: isinstance(f, HeatMap))


def _labels(finding: Finding) -> list[str]:
    if isinstance(finding, Masks | Volumes):
        return list(finding.masks)
    return [finding.label] if isinstance(finding, Instances) else []


def _areas(answer: Answer, study: Study, view: View) -> Iterable[Layer]:
    """Yield masks, things apart with their own borders, and what volumes have on this slice."""
    things = {f.specialist: f for f in answer.findings if isinstance(f, Instances)}
    solid = {f.specialist: f for f in answer.findings if isinstance(f, Volumes)}
    shape = study.pixels.shape[1:3]
    if view.is_key(study):
        for masks in answer.masks:
            if masks.specialist not in things and masks.specialist not in solid:
                yield from _flat(masks, shape)
        yield from (_apart(found) for found in things.values() if found.mask.shape == shape and found.count)
    for found in solid.values():
        for label, mask in found.masks.items():
            if mask.shape != study.pixels.shape[:3]:
                continue
            shown = planes.cut(mask, view.plane, view.at(study))
            if shown.any():
                yield Layer(area_id(found.specialist, label), label, mask=shown)


def _flat(masks: Masks, shape: tuple[int, ...]) -> Iterable[Layer]:
    for label, mask in masks.masks.items():
        if mask.shape == shape and mask.any():
            yield Layer(area_id(masks.specialist, label), label, mask=mask)


def _apart(found: Instances) -> Layer:
    name = counted(found.count, found.label)
    return Layer(area_id(found.specialist, found.label), name, mask=found.mask, rim=found.rim())


def _outlines(answer: Answer, study: Study) -> Iterable[Layer]:
    """Yield a layer a label."""
    for label in dict.fromkeys(box.label for box in answer.boxes):
        own = tuple(_clipped(box, study.size) for box in answer.boxes if box.label == label)
        yield Layer(box_id(label), _name(label, own), boxes=own)


def _name(label: str, boxes: Sequence[Box]) -> str:
    if len(boxes) > FEW:
        return counted(len(boxes), label)
    scores = [f"{100 * box.score:.0f} %" for box in boxes if box.score is not None]
    many = "box" if len(boxes) == 1 else "boxes"
    return f"{label}, {many} {', '.join(scores)}".strip()


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    width, height = size
    x1, y1, x2, y2 = box.xyxy
    left, right = sorted((min(max(x1, 0.0), width), min(max(x2, 0.0), width)))
    top, bottom = sorted((min(max(y1, 0.0), height), min(max(y2, 0.0), height)))
    return Box(box.label, (left, top, right, bottom), box.score)
