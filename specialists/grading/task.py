"""How far along an ordered scale? Reads grades, fixes the cut points, says a grade with its range and measures it.

A net gives one real number; the steps of the scale lie at whole numbers and are cut half way between, as in the
recipe for diabetic retinopathy. It tunes no cut point: only the width of the range is fitted, on validation.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from specialists.core.card import Card
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Finding, Score
from specialists.core.inputs import to_square
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation.measure import grading

if TYPE_CHECKING:
    from specialists.core.fit import FitConfig

LOG = logging.getLogger(__name__)
COVERAGE = 0.8
"""How often the true grade is meant to lie within the range that is said."""


@dataclass(frozen=True)
class Scale:
    """An ordered scale: the key of its grade in a record, its lowest step and what each step is called."""

    key: str
    words: tuple[str, ...]
    low: int = 0

    @property
    def high(self) -> int:
        """The highest step."""
        return self.low + len(self.words) - 1


SCALES: dict[str, Scale] = {
    "diabetic retinopathy grade": Scale("dr_grade", ("none", "mild", "moderate", "severe", "proliferative")),
    "Kellgren-Lawrence grade": Scale("kl_grade", ("none", "doubtful", "mild", "moderate", "severe")),
}
"""Scales by the label that a tool gives them."""


class Predicts(Protocol):
    """Anything that answers about a study."""

    def predict(self, study: Study) -> Finding:
        """Return the finding."""
        ...


def answer(card: Card, study: Study, outputs: np.ndarray) -> Score:
    """Return the grade of one real output (1,), clipped to the scale, with the range fitted on validation."""
    low, high = float(card.input["low"]), float(card.input["high"])
    value = float(np.clip(outputs.reshape(-1)[0], low, high))
    half = float(card.input["half_width"])
    step = math.floor(value + 0.5) - int(low)
    return Score(card.name, card.label_names[0], value, low, high,
                 (max(low, value - half), min(high, value + half)), str(card.input["words"][step]))


def scale(labels: Sequence[str]) -> Scale:
    """Return the scale of a tool's one label; raises BadData."""
    if len(labels) != 1 or labels[0] not in SCALES:
        raise BadData(f"Got the scales {', '.join(labels) or 'none'}; wanted one of {', '.join(SCALES)}. "
                      "Add it to SCALES with the key of its grades in the records.")
    return SCALES[labels[0]]


def grade_of(sample: Sample, wanted: Scale) -> int | None:
    """Return the grade in a record, None where it has none: such an image says nothing about the scale."""
    grade = sample.record.get(wanted.key)
    if grade is None:
        return None
    if isinstance(grade, bool) or not isinstance(grade, int) or not wanted.low <= grade <= wanted.high:
        raise BadData(f"{sample.id}: got {wanted.key} {grade!r}; wanted a whole number from {wanted.low} to "
                      f"{wanted.high}. Correct the record.")
    return grade


def read(samples: Sequence[Sample], labels: Sequence[str], config: FitConfig) -> Table:
    """Read every image that has a grade; targets are float32 (N,). One that cannot be read is named and left out.

    A `prepare` in the method's file, which the configuration comes from, is applied as it is in use.
    """
    wanted, prepare = scale(labels), _prepare(config)
    kept, pixels, grades = [], [], []
    for sample in samples:
        grade = grade_of(sample, wanted)
        if grade is None:
            continue
        try:
            image = read_study(sample.path).image()
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        kept.append(sample)
        pixels.append(to_square(prepare(image), config.size))
        grades.append(grade)
    if not kept:
        raise BadData(f"No readable image has a {labels[0]}; wanted {wanted.key!r} in its record.")
    return Table(tuple(kept), np.stack(pixels), np.array(grades, dtype=np.float32), tuple(labels))


def _prepare(config: FitConfig) -> Callable[[Image.Image], Image.Image]:
    return getattr(sys.modules[type(config).__module__], "prepare", lambda image: image)


def choose(outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the card's `input` holds: the scale, its cut points, and the half width of the range.

    The half width is the conformal quantile of the errors of validation (Lei et al., JASA 2018,
    https://arxiv.org/abs/1604.04173): of cases like these, at least `coverage` have their grade within it.
    """
    wanted = scale(labels)
    values = np.clip(outputs.reshape(-1), wanted.low, wanted.high)
    errors = np.sort(np.abs(values - targets.reshape(-1)))
    place = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE)) - 1
    return {"low": wanted.low, "high": wanted.high, "words": list(wanted.words),
            "cuts": [step + 0.5 for step in range(wanted.low, wanted.high)],
            "half_width": round(float(errors[place]) + 5e-5, 4), "coverage": COVERAGE}


def figures(specialist: Predicts, samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, kappa, ci95, mae, accuracy, macro_f1, per_class, recall, confusion, covered, refused}.

    kappa has quadratic weights; `covered` is how often the true grade lies within the range that was said. What
    was refused has no grade: it is counted in `refused` alone.
    """
    wanted = scale(labels)
    graded = [(sample, grade) for sample in samples if (grade := grade_of(sample, wanted)) is not None]
    found = [(specialist.predict(read_study(sample.path)), sample.group, grade) for sample, grade in graded]
    said = [(finding, group, grade) for finding, group, grade in found if isinstance(finding, Score)]
    if not said:
        return {"n": 0, "refused": len(found)}
    values = np.array([finding.value for finding, _, _ in said])
    grades = np.array([grade for _, _, grade in said])
    inside = [low <= grade <= high for finding, _, grade in said
              for low, high in [finding.interval or (finding.value, finding.value)]]
    steps = [str(step) for step in range(wanted.low, wanted.high + 1)]
    return {**grading(values - wanted.low, grades - wanted.low, [group for _, group, _ in said], steps),
            "covered": round(float(np.mean(inside)), 4), "refused": len(found) - len(said)}
