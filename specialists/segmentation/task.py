"""Where exactly? Reads masks, chooses thresholds, draws the masks of an answer and measures them.

An image known to lack a structure has an empty mask. Sets whose every image has the structure get crops clear of
it beside their images, so that "not present" is learned and measured.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from scipy.special import expit

from specialists.core.card import Card
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Finding, Masks, Refusal
from specialists.core.inputs import to_square
from specialists.core.resize import linear
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation.measure import dice, mean_interval

if TYPE_CHECKING:
    from specialists.core.fit import FitConfig

LOG = logging.getLogger(__name__)
SMALLEST_CROP = 0.3
"""A crop clear of the structure has at least this part of the image's side."""


class Predicts(Protocol):
    """Anything that answers about a study."""

    def predict(self, study: Study) -> Finding:
        """Return the finding."""
        ...


def answer(card: Card, study: Study, outputs: np.ndarray) -> Masks:
    """Resize the probabilities of logits (L, h, w) to the image and cut them at the card's thresholds."""
    width, height = study.size
    probabilities = linear(expit(outputs.astype(np.float32)), (height, width))  # (L, H, W)
    masks: dict[str, np.ndarray] = {}
    absent: list[str] = []
    for name, probability in zip(card.label_names, probabilities, strict=True):
        wanted = card.input["thresholds"][name]
        mask = probability > wanted["mask"]
        if mask.any() and float(probability.max()) >= wanted["present"] and mask.mean() >= wanted["area"]:
            masks[name] = mask
        else:
            absent.append(name)
    spacing = study.spacing_mm and (study.spacing_mm[1], study.spacing_mm[2])
    return Masks(card.name, masks, spacing, tuple(absent))


def read_mask(sample: Sample, name: str, size: tuple[int, int]) -> np.ndarray:
    """Return a mask as bool (height, width) for `size` (width, height); empty where the sample has none."""
    path = sample.mask_path(name)
    if path is None:
        return np.zeros(size[::-1], dtype=bool)
    return np.asarray(read_study(path).image().convert("L").resize(size, Image.Resampling.BILINEAR)) >= 128


def read(samples: Sequence[Sample], labels: Sequence[str], config: FitConfig) -> Table:
    """Read every image that has one of the masks, or is known to have none, with its masks.

    Targets are uint8 (N, labels, size, size), 0 or 1. One that cannot be read is named and left out. Where no
    image of the set lacks the structures, each image's largest clear crop stands beside it.
    """
    masked = [s for s in samples if any(s.mask_path(name) for name in labels)]
    empty = [s for s in samples if s not in masked and s.record.get("masks") is None and s.label in _empty(samples)]
    kept, pixels, masks = [], [], []
    for sample in [*masked, *empty]:
        try:
            image = read_study(sample.path).image()
            drawn = [read_mask(sample, name, image.size) for name in labels]
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        views = [(image, drawn)]
        if not empty and len(labels) == 1 and (box := clear_box(drawn[0])) is not None:
            views.append((image.crop(box), [np.zeros((1, 1), dtype=bool)]))
        for picture, truth in views:
            kept.append(sample)
            pixels.append(to_square(picture, config.size))
            masks.append(np.stack([_small(mask, config.size) for mask in truth]))
    if not any(mask.any() for mask in masks):
        raise BadData(f"No readable image has a mask named {' or '.join(labels)}.")
    return Table(tuple(kept), np.stack(pixels), np.stack(masks), tuple(labels))


def _empty(samples: Sequence[Sample]) -> set[str]:
    """Return the labels of which no image has any mask: e.g. "normal"."""
    with_masks = {s.label for s in samples if s.record.get("masks")}
    return {s.label for s in samples if s.label is not None} - with_masks


def _small(mask: np.ndarray, size: int) -> np.ndarray:
    gray = Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BILINEAR)
    return (np.asarray(gray) >= 128).astype(np.uint8)


def clear_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the largest crop (left, top, right, bottom) beside the bounding box of a mask, None if too small."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    boxes = [(0, 0, left, height), (right, 0, width, height), (0, 0, width, top), (0, bottom, width, height)]
    wide = [box for box in boxes if min((box[2] - box[0]) / width, (box[3] - box[1]) / height) >= SMALLEST_CROP]
    best = max(wide, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=None)
    return None if best is None else tuple(map(int, best))  # type: ignore[return-value]


def choose(outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the card's `input` holds: the thresholds of each label, chosen on logits and masks of val."""
    probabilities = 1 / (1 + np.exp(-outputs.astype(np.float32)))  # (n, L, size, size)
    return {"thresholds": {name: thresholds(probabilities[:, i], targets[:, i] > 0)
                           for i, name in enumerate(labels)}}


def thresholds(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Choose the thresholds `mask`, `present` and `area` for probabilities (N, H, W) and masks (N, H, W).

    What is maximized is the mean Dice of images with the structure plus the balanced accuracy of "present".
    """
    has = truth.any(axis=(1, 2))
    top = probabilities.max(axis=(1, 2))
    best, chosen = -1.0, {}
    for cut in (0.3, 0.4, 0.5, 0.6, 0.7):
        drawn = probabilities > cut
        overlap = np.array([dice(a, b) for a, b in zip(drawn, truth, strict=True)])
        for present in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97):
            for area in (0.0, 0.002, 0.004, 0.008, 0.012, 0.016):
                said = (top >= present) & (drawn.mean(axis=(1, 2)) >= area) & drawn.any(axis=(1, 2))
                balanced = (said[has].mean() + (1 - said[~has].mean() if (~has).any() else 1)) / 2
                score = float((overlap * said)[has].mean() + balanced)
                if score > best + 1e-6:
                    best, chosen = score, {"mask": cut, "present": present, "area": area}
    return chosen


def figures(specialist: Predicts, samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, dice, ci95, sensitivity, normals, specificity, refused, per_class} in pixels of the originals.

    Dice counts a structure that is said to be absent as 0. `normals` are images known to lack the structure, or
    crops clear of it where there are none. An image where nobody drew a structure that may be there tells nothing
    of it.
    """
    lacking = _empty(samples)
    rows = [row for sample in samples for row in _row(specialist, sample, labels, not lacking)
            if row["has"] or row["crop"] or sample.label in lacking]
    each = {name: _figures([row for row in rows if row["label"] == name]) for name in labels}
    whole = _figures(rows)
    whole["refused"] = sum(row["refused"] for row in rows if row["label"] == labels[0])
    return whole if len(labels) == 1 else {**whole, "per_class": {k: v["dice"] for k, v in each.items()}}


def _row(specialist: Predicts, sample: Sample, labels: Sequence[str], crops: bool) -> list[dict[str, Any]]:
    study = read_study(sample.path)
    finding = specialist.predict(study)
    drawn = finding.masks if isinstance(finding, Masks) else {}
    rows = []
    for name in labels:
        truth = read_mask(sample, name, study.size)
        rows.append({"label": name, "group": sample.group, "has": bool(truth.any()), "said": name in drawn,
                     "dice": dice(drawn[name], truth) if name in drawn else 0.0,
                     "refused": isinstance(finding, Refusal), "crop": False})
        if crops and len(labels) == 1 and (box := clear_box(truth)) is not None:
            beside = specialist.predict(read_study(study.image().crop(box)))
            rows.append({"label": name, "group": sample.group, "has": False, "dice": 0.0, "refused": False,
                         "crop": True, "said": isinstance(beside, Masks) and name in beside.masks})
    return rows


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    there, clear = [row for row in rows if row["has"]], [row for row in rows if not row["has"]]
    values = np.array([row["dice"] for row in there])
    clear_said = float(np.mean([row["said"] for row in clear])) if clear else None
    return {"n": len(there), "dice": round(float(values.mean()), 4) if there else None,
            "ci95": mean_interval(values, [row["group"] for row in there]) if there else None,
            "sensitivity": round(float(np.mean([row["said"] for row in there])), 4) if there else None,
            "normals": len(clear), "specificity": None if clear_said is None else round(1 - clear_said, 4)}
