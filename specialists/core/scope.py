"""Is a study one that a specialist can speak about? By its kind of image and the distance of its features.

Says nothing about whether the specialist is right within its scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specialists.core.card import Card
from specialists.core.findings import Classification, Refusal, percent

UNKNOWN = "unknown"
EVEN = 6
"""An image whose gray values (of 256) differ by less shows nothing: triage calls it unknown."""
ADMIT = 0.1
"""Share of a specialist's kinds from which on it is asked, though triage names another kind first: of a child's chest
X-rays triage takes 6 % for an adult's, and is unsure of a third of these. Chosen on validation."""
FEW, WIDE = 30, 1.5
"""With fewer validation images than this the limit is at least so many times what they pass."""
FLOOR = 1e-3
"""Smallest variance of a direction, as a fraction of the mean: keeps the whitening within half precision."""


@dataclass(frozen=True, eq=False)
class Scope:
    """Where the training images lie in the space of features, and how far from them is too far."""

    means: np.ndarray
    """(classes, D)"""
    whitening: np.ndarray
    """(D, D): distances are Euclidean after it."""
    threshold: float


def fit_scope(features: np.ndarray, labels: np.ndarray, val_features: np.ndarray,
              kept: float = 0.99, margin: float = 1.1) -> Scope:
    """Fit on training features (N, D) with labels (N,); `margin` times what `kept` of validation passes is the limit.

    In use triage has refused other kinds before, so that the limit is wide: fitted on one half of validation, it
    keeps 99 % of the other half (without the margin 97 %, at a quantile of 0.97 95 %). Fewer than `FEW` validation
    images tell little of how far others lie: then the margin is at least `WIDE`.

    The Mahalanobis distance to the nearest class mean (Lee et al., NeurIPS 2018, https://arxiv.org/abs/1807.03888),
    on L2-normalized features and with a shrunk covariance (Ledoit and Wolf, 2004).
    """
    unit, labels = _unit(features), np.asarray(labels)
    if unit.ndim != 2 or labels.shape != (len(unit),) or len(unit) < 2 or not len(val_features):
        raise ValueError(f"Got features of shape {np.shape(features)}, labels of shape {labels.shape} and "
                         f"{len(val_features)} validation cases; wanted (N, D), (N,) and one or more.")
    classes, place = np.unique(labels, return_inverse=True)
    means = np.stack([unit[place == c].mean(axis=0) for c in range(len(classes))])
    variances, directions = np.linalg.eigh(shrunk_covariance(unit - means[place]))
    variances = np.maximum(variances, max(FLOOR * float(variances.mean()), 1e-8))
    # what is stored is rounded to half precision, so the threshold is fitted on the rounded numbers
    half = (np.asarray(a, np.float16).astype(np.float32) for a in (means, directions / np.sqrt(variances)))
    scope = Scope(*half, threshold=np.inf)
    margin = margin if len(val_features) >= FEW else max(margin, WIDE)
    return Scope(scope.means, scope.whitening, margin * float(np.quantile(distance(val_features, scope), kept)))


def shrunk_covariance(offsets: np.ndarray) -> np.ndarray:
    """Return the covariance (D, D) of centered offsets (N, D), drawn towards a ball as far as it is uncertain.

    Ledoit and Wolf, 2004, https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    x = np.asarray(offsets, dtype=np.float64)
    count, width = x.shape
    sample = x.T @ x / count
    ball = np.trace(sample) / width * np.eye(width)
    apart = float(((sample - ball) ** 2).sum())
    unsure = float((((x**2).T @ x**2) / count - sample**2).sum()) / count
    share = min(unsure / apart, 1.0) if apart > 0 else 0.0
    return (1 - share) * sample + share * ball


def distance(features: np.ndarray, scope: Scope) -> np.ndarray:
    """Return how far features (N, D) lie from the nearest class, (N,): about 1 for images as taught."""
    offsets = _unit(features)[:, None, :] - scope.means[None]  # (N, classes, D)
    squared = ((offsets @ scope.whitening) ** 2).mean(axis=-1)
    return np.sqrt(squared.min(axis=1))


def to_tensors(scope: Scope) -> dict[str, np.ndarray]:
    """Return what is stored beside the weights, under the prefix "scope."."""
    return {"scope.means": scope.means.astype(np.float16),
            "scope.whitening": scope.whitening.astype(np.float16),
            "scope.threshold": np.asarray([scope.threshold], dtype=np.float32)}


def from_tensors(tensors: Mapping[str, np.ndarray]) -> Scope | None:
    """Return the scope stored by `to_tensors`, None where there is none."""
    if "scope.whitening" not in tensors:
        return None
    means, whitening = (np.asarray(tensors[f"scope.{n}"], dtype=np.float32) for n in ("means", "whitening"))
    return Scope(means, whitening, float(np.asarray(tensors["scope.threshold"]).reshape(-1)[0]))


def in_scope(card: Card, triaged: Classification) -> Refusal | None:
    """Return the refusal of a specialist that does not accept this kind of image, None if it does."""
    kind = triaged.label
    share = sum(triaged.probabilities.get(name, 0.0) for name in card.kinds)
    if kind in card.kinds or (kind != UNKNOWN and share >= ADMIT):
        return None
    wanted = " or ".join(card.kinds)
    if kind == UNKNOWN:
        return Refusal(card.name, f"It answers for {wanted}; this image is like no kind that is known.")
    seen = kind if triaged.probability == 1 else f"{kind} ({percent(triaged.probability)})"  # stated, not seen
    return Refusal(card.name, f"It answers for {wanted}; this image looks like: {seen}.",
                   {"kind_probability": triaged.probability})


def too_far(card: Card, far: float, threshold: float) -> Refusal:
    """Return the refusal of an image whose features lie too far from those of training."""
    wanted = " or ".join(card.kinds)
    return Refusal(card.name, f"This image is unlike the {wanted} images it was taught on: its features lie "
                   f"{far:.2f} away from them, and the limit is {threshold:.2f}.",
                   {"distance": far, "threshold": threshold})


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
