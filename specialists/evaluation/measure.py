"""Figures of classifiers, graders and segmenters with their intervals; reads no image and trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from specialists.core.calibrate import brier, ece

ENOUGH = 5
"""Macro-F1 is over the labels with at least so many cases, and over all that occur where fewer than two have them."""
RESAMPLES = 1000


def classification(probabilities: np.ndarray, targets: np.ndarray, groups: Sequence[str],
                   labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, accuracy, macro_f1, ci95, not_in_macro_f1, brier, ece, per_class} of probabilities (N, labels)."""
    guesses = probabilities.argmax(axis=1)
    counts = np.bincount(targets, minlength=len(labels))
    counted = _counted(counts)
    each = f1(confusion(guesses, targets, len(labels)))
    return {"n": len(targets), "accuracy": rounded((guesses == targets).mean()),
            "macro_f1": rounded(each[counted].mean()),
            "ci95": macro_f1_interval(guesses, targets, groups, counted),
            "not_in_macro_f1": _others(labels, counted),
            "brier": rounded(brier(probabilities, targets)), "ece": rounded(ece(probabilities, targets)),
            "per_class": {name: rounded(each[i]) for i, name in enumerate(labels) if counts[i]}}


def _counted(counts: np.ndarray) -> np.ndarray:
    """Return which labels (labels,) macro-F1 is over: that of one label alone is no macro-F1."""
    enough = counts >= ENOUGH
    return enough if enough.sum() >= 2 else counts > 0


def _others(labels: Sequence[str], counted: np.ndarray) -> list[str]:
    return [label for label, is_counted in zip(labels, counted, strict=True) if not is_counted]


def without(figures: Mapping[str, Any]) -> str:
    """Say which labels the macro-F1 of these figures leaves out, "" where none or not stated."""
    named = figures.get("not_in_macro_f1")
    return f"without {', '.join(named)}: fewer than {ENOUGH} cases" if named else ""


def confusion(guesses: np.ndarray, targets: np.ndarray, labels: int) -> np.ndarray:
    """Return counts (labels, labels) of targets (rows) and guesses (columns)."""
    return np.bincount(targets * labels + guesses, minlength=labels**2).reshape(labels, labels)


def f1(matrix: np.ndarray) -> np.ndarray:
    """Return the F1 of each label (..., labels) from confusions (..., labels, labels)."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return 2 * hits / np.maximum(matrix.sum(-1) + matrix.sum(-2), 1)


def macro_f1_interval(guesses: np.ndarray, targets: np.ndarray, groups: Sequence[str],
                      counted: np.ndarray) -> list[float]:
    """Return the 95 % interval of macro-F1 over the labels `counted` (labels,) by a bootstrap over groups.

    A label that neither occurs nor is guessed in a resample has no F1 there.
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    labels = len(counted)
    matrices = np.zeros((len(names), labels * labels))
    np.add.at(matrices, (place, targets * labels + guesses), 1)
    drawn = draws(len(names)) @ matrices  # (resamples, labels * labels)
    drawn = drawn.reshape(-1, labels, labels)
    known = ((drawn.sum(-1) + drawn.sum(-2)) > 0) & counted  # (resamples, labels)
    scores = np.where(known, f1(drawn), 0.0).sum(axis=1)[known.any(axis=1)]
    return interval(scores / known.sum(axis=1)[known.any(axis=1)])


def mean_interval(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Return the 95 % interval of the mean of values (N,) by a bootstrap over groups."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    drawn = draws(len(names))
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    return interval((drawn @ sums) / (drawn @ counts))


def grading(values: np.ndarray, grades: np.ndarray, groups: Sequence[str], steps: Sequence[str]) -> dict[str, Any]:
    """Return {n, kappa, ci95, mae, accuracy, macro_f1, not_in_macro_f1, per_class, recall, confusion}.

    `values` (N,) are real and `grades` (N,) whole, both from 0 for the first of the steps. per_class has the F1 and
    recall the recall of each step; kappa is Cohen's with quadratic weights.
    """
    guesses = np.clip(np.floor(values + 0.5), 0, len(steps) - 1).astype(np.int64)
    matrix = confusion(guesses, grades, len(steps))
    counts = matrix.sum(axis=1)
    counted = _counted(counts)
    each, recall = f1(matrix), np.diagonal(matrix) / np.maximum(counts, 1)
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    matrices = np.zeros((len(names), len(steps) ** 2))
    np.add.at(matrices, (place, grades * len(steps) + guesses), 1)
    drawn = (draws(len(names)) @ matrices).reshape(-1, len(steps), len(steps))
    return {"n": len(grades), "kappa": rounded(kappa(matrix)), "ci95": interval(kappa(drawn)),
            "mae": rounded(np.abs(values - grades).mean()), "accuracy": rounded((guesses == grades).mean()),
            "macro_f1": rounded(each[counted].mean()), "not_in_macro_f1": _others(steps, counted),
            "per_class": {name: rounded(each[i]) for i, name in enumerate(steps) if counts[i]},
            "recall": {name: rounded(recall[i]) for i, name in enumerate(steps) if counts[i]},
            "confusion": matrix.tolist()}


def kappa(matrix: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa with quadratic weights (...,) of confusions (..., steps, steps); 1 where all is one step."""
    steps = matrix.shape[-1]
    weights = np.subtract.outer(np.arange(steps), np.arange(steps)) ** 2
    cases = np.maximum(matrix.sum((-1, -2)), 1)[..., None, None]
    chance = matrix.sum(-1)[..., :, None] * matrix.sum(-2)[..., None, :] / cases
    expected = (weights * chance).sum((-1, -2))
    return 1 - (weights * matrix).sum((-1, -2)) / np.where(expected > 0, expected, 1)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the overlap of two masks, 0..1; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def draws(groups: int) -> np.ndarray:
    """Return how often each group is drawn in each resample of a bootstrap: (resamples, groups)."""
    return np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)


def interval(scores: np.ndarray) -> list[float]:
    """Return the 95 % interval of the scores of all resamples."""
    low, high = np.percentile(scores, (2.5, 97.5))
    return [rounded(low), rounded(high)]


def rounded(value: Any) -> float:
    """Return a figure with four places."""
    return round(float(value), 4)
