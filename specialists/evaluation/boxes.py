"""Figures of what is found one by one: things matched to the truth, precision, recall, average precision and counts.

It reads no image and knows no net; whether boxes or outlines are compared is the caller's overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from specialists.evaluation.measure import draws, interval, mean_interval

LEAST = 0.5
"""Intersection over union from which a thing counts as found."""


@dataclass(frozen=True, eq=False)
class Found:
    """What was said of one label on several images: a row a thing said, and a row an image."""

    scores: np.ndarray
    """(things,)"""
    hits: np.ndarray
    """bool (things,): it is one of the true things, and none is counted twice."""
    image: np.ndarray
    """(things,): row of its image."""
    truths: np.ndarray
    """(images,): how many there are."""

    def above(self, threshold: float) -> Found:
        """Return what was said with a score above the threshold."""
        kept = self.scores > threshold
        return Found(self.scores[kept], self.hits[kept], self.image[kept], self.truths)


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the overlap (n, m) of boxes (n, 4) and (m, 4): left, top, right, bottom."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (one, other)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)


def matched(overlap: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return which of the things said (n,) are true: from the surest on, each takes the best truth (m) still free."""
    hits = np.zeros(len(scores), dtype=bool)
    free = overlap.copy()
    for row in np.argsort(-scores, kind="stable") if overlap.shape[1] else ():
        best = int(free[row].argmax())
        if free[row, best] >= LEAST:
            hits[row] = True
            free[:, best] = -1
    return hits


def collected(images: Sequence[tuple[np.ndarray, np.ndarray]]) -> Found:
    """Join images, each the overlap (n, m) of things said and true, and the scores (n,)."""
    scores = [scores for _, scores in images]
    hits = [matched(overlap, said) for overlap, said in images]
    rows = [np.full(len(said), row) for row, said in enumerate(scores)]
    return Found(np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, dtype=bool), *hits]),
                 np.concatenate([np.zeros(0, dtype=np.int64), *rows]),
                 np.array([overlap.shape[1] for overlap, _ in images]))


def average_precision(found: Found, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under precision over recall (draws,), for images weighted by `weights` (draws, images)."""
    weights = np.ones((1, len(found.truths))) if weights is None else weights
    order = np.argsort(-found.scores, kind="stable")
    each = weights[:, found.image[order]]  # (draws, things)
    hits = np.cumsum(each * found.hits[order], axis=1)
    total = np.maximum(weights @ found.truths, 1e-9)[:, None]
    precision = hits / np.maximum(np.cumsum(each, axis=1), 1e-9)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (np.diff(hits / total, axis=1, prepend=0) * envelope).sum(axis=1)


def best_threshold(found: Found) -> float:
    """Return the score above which the F1 of all things is highest; half way to the next lower score."""
    scores = np.sort(found.scores)[::-1]
    if not len(scores):
        return 0.5
    hits = np.cumsum(found.hits[np.argsort(-found.scores, kind="stable")])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + max(1, found.truths.sum()))
    place = int(f1.argmax())
    below = scores[place + 1] if place + 1 < len(scores) else 0.0
    return float((scores[place] + below) / 2)


def rates(found: Found, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 (draws,) of all that was said."""
    weights = np.ones((1, len(found.truths))) if weights is None else weights
    each = weights[:, found.image]
    hits, said, true = (each * found.hits).sum(axis=1), each.sum(axis=1), weights @ found.truths
    return hits / np.maximum(said, 1e-9), hits / np.maximum(true, 1e-9), 2 * hits / np.maximum(said + true, 1e-9)


def counts(found: Found, groups: Sequence[str]) -> dict[str, Any]:
    """Return {count_error, count_ci95, correlation, clear, clear_said_none} of the number of things an image."""
    said = np.bincount(found.image, minlength=len(found.truths))
    errors = np.abs(said - found.truths).astype(float)
    varied = min(said.std(), found.truths.std()) > 0
    clear = found.truths == 0
    return {"count_error": round(float(errors.mean()), 4), "count_ci95": mean_interval(errors, groups),
            "correlation": round(float(np.corrcoef(said, found.truths)[0, 1]), 4) if varied else None,
            "clear": int(clear.sum()),
            "clear_said_none": round(float((said[clear] == 0).mean()), 4) if clear.any() else None}


def figures(all_said: Found, said: Found, groups: Sequence[str]) -> dict[str, Any]:
    """Return the figures of one label: `all_said` gives the average precision, `said` above the threshold the rest."""
    weights = weights_of(groups)
    precision, recall, f1 = (float(values[0]) for values in rates(said))
    return {"things": int(said.truths.sum()), "ap50": round(float(average_precision(all_said)[0]), 4),
            "ap50_ci95": interval(average_precision(all_said, weights)), "precision": round(precision, 4),
            "recall": round(recall, 4), "f1": round(f1, 4), "f1_ci95": interval(rates(said, weights)[2]),
            **counts(said, groups)}


def weights_of(groups: Sequence[str]) -> np.ndarray:
    """Return how often each image is drawn in each resample of a bootstrap over groups: (resamples, images)."""
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    return draws(int(place.max()) + 1)[:, place]
