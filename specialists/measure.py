"""Figures of classifiers and segmenters with their intervals; reads no image and trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from specialists.core.calibrate import brier, ece

ENOUGH = 5
"""Macro-F1 is over the labels with at least so many cases."""
RESAMPLES = 1000


def classification(probabilities: np.ndarray, targets: np.ndarray, groups: Sequence[str],
                   labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, accuracy, macro_f1, ci95, brier, ece, per_class} of probabilities (N, labels)."""
    guesses = probabilities.argmax(axis=1)
    counts = np.bincount(targets, minlength=len(labels))
    counted = counts >= min(ENOUGH, counts.max())
    each = f1(confusion(guesses, targets, len(labels)))
    return {"n": len(targets), "accuracy": _rounded((guesses == targets).mean()),
            "macro_f1": _rounded(each[counted].mean()),
            "ci95": macro_f1_interval(guesses, targets, groups, counted),
            "brier": _rounded(brier(probabilities, targets)), "ece": _rounded(ece(probabilities, targets)),
            "per_class": {name: _rounded(each[i]) for i, name in enumerate(labels) if counts[i]}}


def confusion(guesses: np.ndarray, targets: np.ndarray, labels: int) -> np.ndarray:
    """Return counts (labels, labels) of targets (rows) and guesses (columns)."""
    return np.bincount(targets * labels + guesses, minlength=labels**2).reshape(labels, labels)


def f1(matrix: np.ndarray) -> np.ndarray:
    """Return the F1 of each label (..., labels) from confusions (..., labels, labels)."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return 2 * hits / np.maximum(matrix.sum(-1) + matrix.sum(-2), 1)


def macro_f1_interval(guesses: np.ndarray, targets: np.ndarray, groups: Sequence[str],
                      counted: np.ndarray) -> list[float]:
    """Return the 95 % interval of macro-F1 over the labels `counted` (labels,) by a bootstrap over groups."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    labels = len(counted)
    matrices = np.zeros((len(names), labels * labels))
    np.add.at(matrices, (place, targets * labels + guesses), 1)
    drawn = _draws(len(names)) @ matrices  # (resamples, labels * labels)
    scores = f1(drawn.reshape(-1, labels, labels))[:, counted].mean(axis=1)
    return _interval(scores)


def mean_interval(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Return the 95 % interval of the mean of values (N,) by a bootstrap over groups."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    draws = _draws(len(names))
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    return _interval((draws @ sums) / (draws @ counts))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the overlap of two masks, 0..1; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def _draws(groups: int) -> np.ndarray:
    return np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)


def _interval(scores: np.ndarray) -> list[float]:
    low, high = np.percentile(scores, (2.5, 97.5))
    return [_rounded(low), _rounded(high)]


def _rounded(value: Any) -> float:
    return round(float(value), 4)
