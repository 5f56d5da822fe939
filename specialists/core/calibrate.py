"""Turns logits into probabilities that can be believed, and measures how far they can be.

One temperature a specialist, fitted on validation data; no other kind of calibration.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over the last axis."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, 0.05..20, that gives logits (N, L) the least log loss on labels (N,).

    Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599
    """
    logits, labels = _aligned(logits, labels)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(axis=1)
        log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((log_sum - scaled[np.arange(len(labels)), labels]).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found["x"]))  # type: ignore[index]


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error, 0..1, of the most probable label, over equally wide bins."""
    probabilities, labels = _aligned(probabilities, labels)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the multi-class Brier score: squared errors summed over labels, averaged over cases, 0..2."""
    probabilities, labels = _aligned(probabilities, labels)
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def _aligned(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(rows, dtype=np.float64), np.asarray(labels).astype(int)
    if rows.ndim != 2 or labels.shape != (len(rows),) or not len(rows):
        raise ValueError(f"Got values of shape {rows.shape} and labels of shape {labels.shape}; "
                         "wanted (N, labels) and (N,) with N of 1 or more. Align them first.")
    if labels.min() < 0 or labels.max() >= rows.shape[1]:
        raise ValueError(f"Got labels {labels.min()} to {labels.max()}; wanted 0 to {rows.shape[1] - 1}. "
                         "Leave out cases without a known label.")
    return rows, labels
