"""Each one apart, and how many? Reads maps of instances, parts basins of depth, counts and measures what is found.

A net gives two maps: inside, and depth from the border of each thing to its middle. Crops clear of all things, where
they exist, stand beside the images, so that "none" is learned and measured.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from specialists.core.card import Card
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Finding, Instances, Refusal
from specialists.core.inputs import to_square
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation import boxes
from specialists.evaluation.measure import dice, interval, mean_interval

if TYPE_CHECKING:
    from specialists.core.fit import FitConfig

LOG = logging.getLogger(__name__)
SMALLEST_CROP = 0.3
"""A crop clear of all things has at least this part of the image's shorter side."""
SMOOTH = 1.0
"""Standard deviation, in pixels of the net's input, that the depth is smoothed with before it is parted."""
TRIED: dict[str, tuple[float, ...]] = {"inside": (0.4, 0.5, 0.6), "rise": (0.025, 0.05, 0.1), "area": (8, 16, 28),
                                       "sure": (0.0, 0.8, 0.9, 0.95, 0.98)}
"""What is tried of each threshold; the area is in pixels of the net's input."""


class Predicts(Protocol):
    """Anything that answers about a study."""

    def predict(self, study: Study) -> Finding:
        """Return the finding."""
        ...


def answer(card: Card, study: Study, outputs: np.ndarray) -> Instances:
    """Part the things in logits (2, h, w) with the card's thresholds, and bring them to the image's size."""
    parted = part(outputs, **card.input["thresholds"])
    spacing = study.spacing_mm and (study.spacing_mm[1], study.spacing_mm[2])
    return Instances(card.name, card.label_names[0], resized(parted, study.size), spacing)


def part(outputs: np.ndarray, inside: float, rise: float, area: float, sure: float) -> np.ndarray:
    """Return numbers int32 (h, w) of the things in logits (2, h, w), 0 for none.

    A thing grows from each peak of the depth that stands out by `rise` down to the border of what is inside; what is
    inside and has no peak is a thing too. Those smaller than `area`, or nowhere as probable as `sure`, are left out.
    """
    said = 1 / (1 + np.exp(-np.asarray(outputs, dtype=np.float32)))
    mask = said[0] > inside
    depth = ndimage.gaussian_filter(said[1], SMOOTH) * mask
    peaks, count = ndimage.label(h_maxima(depth, rise) * mask)  # type: ignore[misc]
    parts, _ = ndimage.label(mask)  # type: ignore[misc]
    without = ~np.isin(parts, np.unique(parts[peaks > 0])) & mask
    grown = watershed(-depth, np.where(without, parts + count, peaks), mask=mask)
    top = ndimage.maximum(said[0], grown, np.arange(int(grown.max()) + 1))
    return numbered(np.where(np.asarray(top)[grown] >= sure, grown, 0), area)


def numbered(things: np.ndarray, area: float) -> np.ndarray:
    """Return the things of at least `area` pixels, numbered from 1 without gaps."""
    sizes = np.bincount(things.ravel())
    kept = np.flatnonzero(sizes >= max(area, 1))
    kept = kept[kept > 0]
    numbers = np.zeros(len(sizes), dtype=np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[things]


def resized(things: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return numbers int32 at `size` (width, height), without blending them."""
    picture = Image.fromarray(things.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture, dtype=np.int32)


def truth(sample: Sample) -> np.ndarray | None:
    """Return the numbers int32 (H, W) of the things, None where the record names no map; raises BadStudy."""
    relative = sample.record.get("instances")
    if not relative:
        return None
    study = read_study(sample.path.parent.parent / relative)
    values = study.pixels[0, :, :, 0] * 255 if study.values is None else study.values[0, :, :, 0]
    return values.round().astype(np.int32)


def read(samples: Sequence[Sample], labels: Sequence[str], config: FitConfig) -> Table:
    """Read every image with a map of instances. One that cannot be read is named and left out.

    Targets are int16 (N, 2, size, size): numbers of the things, and depth in 255ths. An image's largest crop clear
    of all things stands beside it.
    """
    kept, pixels, targets = [], [], []
    for sample in samples:
        try:
            things = truth(sample)
            if things is None:
                continue
            image = read_study(sample.path).image()
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        views = [(image, things)]
        if (box := clear_square(things)) is not None:
            views.append((image.crop(box), np.zeros((1, 1), np.int32)))
        for picture, numbers in views:
            small = resized(numbers, (config.size, config.size))
            kept.append(sample)
            pixels.append(to_square(picture, config.size))
            targets.append(np.stack([small, depths(small)]).astype(np.int16))
    if not any(target.any() for target in targets):
        raise BadData(f"No readable image has a map of {labels[0]}; wanted 'instances' in its record.")
    return Table(tuple(kept), np.stack(pixels), np.stack(targets), tuple(labels))


def depths(things: np.ndarray) -> np.ndarray:
    """Return the depth of each pixel in its thing as uint8 (H, W): 255 in its middle, 0 outside."""
    found = np.zeros(things.shape, dtype=np.uint8)
    for number, place in enumerate(ndimage.find_objects(things), start=1):
        if place is None:
            continue
        own = things[place] == number
        distance = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1]  # type: ignore[index]
        found[place][own] = (255 * distance / distance.max())[own].round()
    return found


def clear_square(things: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the largest square (left, top, right, bottom) without a thing, None if too small."""
    free = np.pad(things == 0, 1)
    reach = ndimage.distance_transform_cdt(free, metric="chessboard")[1:-1, 1:-1]  # type: ignore[index]
    row, column = np.unravel_index(int(np.argmax(reach)), reach.shape)
    half = int(reach[row, column]) - 1
    if 2 * half + 1 < SMALLEST_CROP * min(things.shape):
        return None
    return int(column) - half, int(row) - half, int(column) + half + 1, int(row) + half + 1


def overlaps(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the intersection over union (n, m) of things numbered 1..n and 1..m on two maps (H, W)."""
    n, m = int(said.max(initial=0)), int(true.max(initial=0))
    shared = np.bincount(said.ravel() * (m + 1) + true.ravel(), minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    return (shared / np.maximum(union, 1))[1:, 1:]


def choose(outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the card's `input` holds: thresholds, chosen one after the other on validation.

    What is maximized is the F1 of things, plus the part of the crops without things that are said to be so.
    """
    true = [numbered(target[0].astype(np.int32), 1) for target in targets]
    chosen: dict[str, float] = {"inside": 0.5, "rise": 0.05, "area": 16, "sure": 0.9}
    for name, tried in TRIED.items():
        scores = [_score(outputs, true, {**chosen, name: value}) for value in tried]
        chosen[name] = tried[int(np.argmax(scores))]
    return {"thresholds": chosen}


def _score(outputs: np.ndarray, true: Sequence[np.ndarray], thresholds: dict[str, float]) -> float:
    said = [part(output, **thresholds) for output in outputs]
    clear = [not own.any() for own, things in zip(said, true, strict=True) if not things.any()]
    f1 = boxes.rates(boxes.collected([_pair(*pair) for pair in zip(said, true, strict=True)]))[2][0]
    return float(f1) + (float(np.mean(clear)) if clear else 0.0)


def _pair(said: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    overlap = overlaps(said, true)
    return overlap, overlap.max(axis=1, initial=0)  # no score of its own: the best match comes first


def figures(specialist: Predicts, samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, ap50, ci95, f1, f1_ci95, precision, recall, dice, dice_ci95, count_error, clear, refused}.

    A thing is found where one overlaps it by half. `ap50` is found / (found + missed + wrong), as this set's contest
    had it. `clear` are crops without a thing, `clear_said_none` how many of these are said to be so. What was refused
    counts as nothing found.
    """
    pairs, masks, groups, clear, refused = [], [], [], [], 0
    for sample in samples:
        true = truth(sample)
        if true is None:
            continue
        study, true = read_study(sample.path), numbered(true, 1)
        finding = specialist.predict(study)
        refused += isinstance(finding, Refusal)
        said = finding.instances if isinstance(finding, Instances) else np.zeros_like(true)
        pairs.append(_pair(said, true))
        masks.append(dice(said > 0, true > 0))
        groups.append(sample.group)
        if (box := clear_square(true)) is not None:
            beside = specialist.predict(read_study(study.image().crop(box)))
            clear.append(not (isinstance(beside, Instances) and beside.count))
    found = boxes.collected(pairs)
    precision, recall, f1 = (float(values[0]) for values in boxes.rates(found))
    drawn = boxes.rates(found, boxes.weights_of(groups))[2]
    counts = {key: value for key, value in boxes.counts(found, groups).items() if not key.startswith("clear")}
    return {"n": len(pairs), "ap50": round(f1 / (2 - f1), 4), "ci95": interval(drawn / (2 - drawn)),
            "f1": round(f1, 4), "f1_ci95": interval(drawn), "precision": round(precision, 4),
            "recall": round(recall, 4), "dice": round(float(np.mean(masks)), 4),
            "dice_ci95": mean_interval(np.array(masks), groups), **counts, "clear": len(clear),
            "clear_said_none": round(float(np.mean(clear)), 4) if clear else None, "refused": refused}
