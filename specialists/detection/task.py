"""Which things, where, how many? Reads boxes, finds the peaks of heatmaps, counts them and measures boxes and counts.

A net gives a heatmap a label, and size and offset of a thing on a coarse grid. An image whose record has no boxes
says nothing and is left out; one whose list of boxes is empty has none of the things.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from scipy import ndimage

from specialists.core.card import Card
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Box, Boxes, Finding, Refusal
from specialists.core.inputs import to_square
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation import boxes as measure
from specialists.evaluation.measure import interval

if TYPE_CHECKING:
    from specialists.core.fit import FitConfig

LOG = logging.getLogger(__name__)
FAINTEST = 0.05
"""Peaks under this score are never a thing."""
MOST = 300
"""Things a label at most."""
DUPLICATE = 0.6
"""Of two things of a label that overlap more than this, the surer one stays."""


class Said(NamedTuple):
    """Things of one label, the surest first."""

    boxes: np.ndarray
    """(n, 4): left, top, right, bottom in 0..1."""
    scores: np.ndarray
    """(n,)"""


class Detects(Protocol):
    """A specialist, as far as it is measured here."""

    def predict(self, study: Study) -> Finding:
        """Return the finding."""
        ...

    def raw(self, studies: Sequence[Study]) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs (N, ...) and features (N, D)."""
        ...


def answer(card: Card, study: Study, outputs: np.ndarray) -> Boxes:
    """Return the things whose peaks in outputs (L + 4, h, w) are above the card's threshold of their label."""
    scale = np.array([*study.size, *study.size], dtype=float)
    found = []
    for name, said in zip(card.label_names, candidates(outputs, len(card.labels)), strict=True):
        for corners, score in zip(said.boxes * scale, said.scores, strict=True):
            if score > card.input["thresholds"][name]:
                left, top, right, bottom = (round(float(v), 1) for v in corners)
                found.append(Box(name, (left, top, right, bottom), float(score)))
    return Boxes(card.name, tuple(found), card.label_names)


def candidates(outputs: np.ndarray, labels: int) -> list[Said]:
    """Return what outputs (labels + 4, h, w) show of each label: peaks of 3x3 cells, without duplicates."""
    outputs = np.asarray(outputs, dtype=np.float32)
    heat = 1 / (1 + np.exp(-outputs[:labels]))
    peaks = (ndimage.maximum_filter(heat, size=(1, 3, 3), mode="constant") == heat) & (heat > FAINTEST)
    return [_said(heat[label], peaks[label], outputs[labels:]) for label in range(labels)]


def _said(heat: np.ndarray, peaks: np.ndarray, shape: np.ndarray) -> Said:
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-heat[rows, columns], kind="stable")[:MOST]
    rows, columns = rows[order], columns[order]
    width, height, right, down = shape[:, rows, columns]
    grid = np.array([heat.shape[1], heat.shape[0]] * 2, dtype=float)
    x, y = columns + 0.5 + right, rows + 0.5 + down
    half = np.exp(np.clip([width, height], -4, 8)) / 2
    corners = np.clip(np.stack([x - half[0], y - half[1], x + half[0], y + half[1]], 1) / grid, 0, 1)
    kept = _distinct(corners)
    return Said(corners[kept], heat[rows, columns][kept])


def _distinct(corners: np.ndarray) -> list[int]:
    overlap = measure.iou(corners, corners)
    kept: list[int] = []
    for row in range(len(corners)):
        if not kept or overlap[row, kept].max() <= DUPLICATE:
            kept.append(row)
    return kept


def truth(sample: Sample, labels: Sequence[str]) -> list[np.ndarray]:
    """Return the true boxes (n, 4) in 0..1 of each label."""
    named = [(box["name"], box["box"]) for box in sample.record.get("boxes") or ()]
    return [np.array([corners for name, corners in named if name == label], dtype=float).reshape(-1, 4)
            for label in labels]


def read(samples: Sequence[Sample], labels: Sequence[str], config: FitConfig) -> Table:
    """Read every image whose record has boxes. One that cannot be read is named and left out.

    Targets are float32 (N, most, 5): label, left, top, right, bottom in 0..1; the label is -1 in rows without a thing.
    """
    kept, pixels, things = [], [], []
    for sample in samples:
        if sample.record.get("boxes") is None:
            continue
        try:
            pixels.append(to_square(read_study(sample.path).image(), config.size))
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        kept.append(sample)
        things.append(np.concatenate([np.column_stack([np.full(len(own), number), own])
                                      for number, own in enumerate(truth(sample, labels))]))
    most = max((len(own) for own in things), default=0)
    if not most:
        raise BadData(f"No readable image has a box named {' or '.join(labels)}.")
    targets = np.zeros((len(kept), most, 5), dtype=np.float32)
    targets[..., 0] = -1
    for row, own in enumerate(things):
        targets[row, :len(own)] = own
    return Table(tuple(kept), np.stack(pixels), targets, tuple(labels))


def choose(outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the card's `input` holds: the threshold of each label, by the F1 of its things on validation."""
    said = [candidates(output, len(labels)) for output in outputs]
    chosen = {}
    for number, name in enumerate(labels):
        images = [(measure.iou(own[number].boxes, rows[rows[:, 0] == number, 1:]), own[number].scores)
                  for own, rows in zip(said, targets, strict=True)]
        chosen[name] = round(measure.best_threshold(measure.collected(images)), 4)
    return {"thresholds": chosen}


def figures(specialist: Detects, samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, ap50, ci95, f1, precision, recall, count_error, refused, per_class, labels}.

    A thing is found where a box overlaps it by half; none is counted twice. The first figures are means over the
    labels, `labels` has those of each with intervals; per_class is their F1. What was refused counts as nothing found.
    """
    known = [sample for sample in samples if sample.record.get("boxes") is not None]
    groups = [sample.group for sample in known]
    faint, above, refused = [], [], 0
    for sample in known:
        study = read_study(sample.path)
        finding = specialist.predict(study)
        refused += isinstance(finding, Refusal)
        outputs = None if isinstance(finding, Refusal) else specialist.raw([study])[0][0]
        faint.append([Said(np.zeros((0, 4)), np.zeros(0))] * len(labels) if outputs is None
                     else candidates(outputs, len(labels)))
        above.append([_drawn(finding, label, study.size) for label in labels])
    each, aps, true = {}, [], [truth(sample, labels) for sample in known]
    for number, label in enumerate(labels):
        all_said, said = (measure.collected([(measure.iou(own[number].boxes, boxes[number]), own[number].scores)
                                             for own, boxes in zip(rows, true, strict=True)])
                          for rows in (faint, above))
        each[label] = measure.figures(all_said, said, groups)
        aps.append(measure.average_precision(all_said, measure.weights_of(groups)))
    means = {key: round(float(np.mean([own[key] for own in each.values()])), 4)
             for key in ("ap50", "f1", "precision", "recall", "count_error")}
    return {"n": len(known), "ap50": means.pop("ap50"), "ci95": interval(np.mean(aps, axis=0)), **means,
            "refused": refused, "per_class": {label: own["f1"] for label, own in each.items()}, "labels": each}


def _drawn(finding: Finding, label: str, size: tuple[int, int]) -> Said:
    own = [box for box in finding.boxes if box.label == label] if isinstance(finding, Boxes) else []
    corners = np.array([box.xyxy for box in own], dtype=float).reshape(-1, 4) / (size * 2)
    return Said(corners, np.array([box.score or 0.0 for box in own]))
