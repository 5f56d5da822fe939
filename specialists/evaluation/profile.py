"""Everything a card says of a classifier's test images: figures with intervals, reliability, confusion.

It takes probabilities and reads no image; whether an image was refused is measured in `refusals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from specialists.core.calibrate import brier, ece
from specialists.evaluation.measure import classification, confusion, draws, interval, mean_interval, rounded

BINS = 15
"""Bins of the expected calibration error, as in `calibrate.ece`."""
SHOWN_BINS = 5
"""Bins of the reliability of one label: classes are small, and wide bins hold enough cases to say something."""
SLACK = 0.0051
"""Figures are compared with room for the last places: a net in another runtime rounds otherwise."""


def profile(probabilities: np.ndarray, targets: np.ndarray, groups: Sequence[str],
            labels: Sequence[str]) -> dict[str, Any]:
    """Return figures of probabilities (N, L) for numbers of labels (N,), every one with its interval by group.

    {n, accuracy, macro_f1, ci95 (of macro_f1), not_in_macro_f1, brier, ece, per_class, auroc,
    intervals: {figure: [low, high]}, reliability: {label: {n, brier, ece, bins}}, confusion: {labels, counts}}.
    """
    found = classification(probabilities, targets, groups, labels)
    right = (probabilities.argmax(axis=1) == targets).astype(float)
    squared = ((probabilities - np.eye(len(labels))[targets]) ** 2).sum(axis=1)
    area, area_interval = auroc(probabilities, targets, groups)
    intervals = {"accuracy": mean_interval(right, groups), "macro_f1": found["ci95"], "auroc": area_interval,
                 "brier": mean_interval(squared, groups), "ece": ece_interval(probabilities, targets, groups)}
    counts = confusion(probabilities.argmax(axis=1), targets, len(labels))
    return {**found, "auroc": area, "intervals": intervals,
            "reliability": reliability(probabilities, targets, labels),
            "confusion": {"labels": list(labels), "counts": counts.tolist()}}


def auroc(probabilities: np.ndarray, targets: np.ndarray, groups: Sequence[str]
          ) -> tuple[float | None, list[float] | None]:
    """Return the area under the ROC curve, one label against the rest, averaged over labels; with its interval.

    None where one label alone occurs. A resample without a label leaves that label out.
    """
    present = [k for k in range(probabilities.shape[1]) if 0 < (targets == k).sum() < len(targets)]
    if not present:
        return None, None
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    weights = np.vstack([np.ones(len(names)), draws(len(names))])[:, place]  # (1 + resamples, N)
    areas = np.stack([_areas(probabilities[:, k], targets == k, weights) for k in present])
    known = np.isfinite(areas).sum(axis=0)
    means = np.nansum(areas, axis=0) / np.maximum(known, 1)
    return rounded(means[0]), interval(means[1:][known[1:] > 0])


def _areas(scores: np.ndarray, has: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted Mann-Whitney share (draws,) of pairs in the right order; nan without a pair."""
    difference = scores[has][:, None] - scores[~has][None]
    ordered = (difference > 0) + 0.5 * (difference == 0)  # (with, without)
    own, other = weights[:, has], weights[:, ~has]
    pairs = own.sum(axis=1) * other.sum(axis=1)
    won = ((own @ ordered) * other).sum(axis=1)
    return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


def ece_interval(probabilities: np.ndarray, targets: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Return the 95 % interval of the expected calibration error by a bootstrap over groups."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    confidence = probabilities.max(axis=1)
    gaps = np.zeros((len(names), BINS))
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    np.add.at(gaps, (place, bins), confidence - (probabilities.argmax(axis=1) == targets))
    drawn = draws(len(names))
    return interval(np.abs(drawn @ gaps).sum(axis=1) / (drawn @ np.bincount(place)))


def reliability(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return {label: {n, brier, ece, bins: [{n, said, seen}]}}: what was said of a label, and how often it was so.

    `n` counts the label's images. Bins are equally wide over what was said of the label, empty ones left out.
    """
    found = {}
    for k, name in enumerate(labels):
        said, seen = probabilities[:, k], targets == k
        if not seen.any():
            continue
        two, truth = np.stack([1 - said, said], axis=1), seen.astype(int)
        bins = np.clip(np.ceil(said * SHOWN_BINS).astype(int) - 1, 0, SHOWN_BINS - 1)
        rows = [{"n": int((bins == b).sum()), "said": rounded(said[bins == b].mean()),
                 "seen": rounded(seen[bins == b].mean())} for b in np.unique(bins)]
        found[name] = {"n": int(seen.sum()), "brier": rounded(brier(two, truth)), "ece": rounded(ece(two, truth)),
                       "bins": rows}
    return found


def outside(stated: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return which stated figures, each with its interval on the card, are not met by those found now."""
    intervals = dict(stated.get("intervals") or {})
    main = next((key for key in MAIN if stated.get(key) is not None), None)
    if main is not None and stated.get("ci95"):
        intervals.setdefault(main, stated["ci95"])
    missed = []
    for key, limits in intervals.items():
        now = found.get(key)
        if limits is None or now is None:
            continue
        low, high = limits[0] - SLACK, limits[1] + SLACK
        if not low <= now <= high:
            missed.append(f"{key}: the card says {stated.get(key)} ({limits[0]} to {limits[1]}), found {now}")
    return missed


MAIN = ("kappa", "dice", "ap50", "macro_f1", "accuracy")
"""Figures that "ci95" of a card may belong to, the first that is there."""
