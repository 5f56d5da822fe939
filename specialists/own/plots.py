"""Confusion, reliability and ROC of a classifier as PNG; measures nothing that is not drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from specialists.evaluation import measure

BINS = 10
MOST_CURVES = 12
"""Labels drawn in one plot of curves at most, the most frequent ones."""
BLUE, GRAY = "#2b6ca3", "#999999"


def confusion(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> bytes:
    """Draw counts of true labels (rows) and said ones (columns) of probabilities (n, L)."""
    matrix = measure.confusion(probabilities.argmax(axis=1), targets, len(labels))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 3.2 + 0.55 * len(labels))
    figure = Figure(figsize=(side + 1.2, side))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(label) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=40, ha="right", parse_math=False)
    axes.set_yticks(range(len(labels)), names, parse_math=False)
    for row, column in np.ndindex(matrix.shape):
        color = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color)
    axes.set(xlabel="said", ylabel="true", title="Confusion (images; color: part of the true label)")
    return _png(figure)


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> bytes:
    """Draw how often the most probable label is right, by its probability, with 95 % intervals (Wilson)."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    place = np.clip((sure * BINS).astype(int), 0, BINS - 1)
    figure = Figure(figsize=(5.2, 5.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color=GRAY, linestyle="--", linewidth=1, label="as it should be")
    for number in np.unique(place):
        inside = place == number
        count, part = int(inside.sum()), float(right[inside].mean())
        low, high = _wilson(part, count)
        error = [[max(0.0, part - low)], [max(0.0, high - part)]]
        above.errorbar(sure[inside].mean(), part, yerr=error, color=BLUE, marker="o", capsize=3)
    above.set(ylabel="right", xlim=(0, 1), ylim=(0, 1.02), title="Reliability of the most probable label")
    above.legend(loc="lower right")
    below.bar((np.arange(BINS) + 0.5) / BINS, np.bincount(place, minlength=BINS), width=0.9 / BINS, color=BLUE)
    below.set(xlabel="probability", ylabel="images")
    return _png(figure)


def roc(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> bytes:
    """Draw the ROC curve of each label against the others, with its area."""
    figure = Figure(figsize=(5.6, 5.6))
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color=GRAY, linestyle="--", linewidth=1)
    counts = np.bincount(targets, minlength=len(labels))
    for number in np.argsort(-counts, kind="stable")[:MOST_CURVES]:
        if not 0 < counts[number] < len(targets):
            continue
        wrong, found, _ = roc_curve(targets == number, probabilities[:, number])
        axes.plot(wrong, found, label=f"{_short(labels[int(number)])} ({auc(wrong, found):.3f})")
    axes.set(xlabel="part of the others called so", ylabel="part found", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01),
             title="ROC, each label against the others (area)")
    if len(axes.lines) > 1:
        for text in axes.legend(loc="lower right", fontsize="small").get_texts():
            text.set_parse_math(False)
    return _png(figure)


def _wilson(part: float, count: int, z: float = 1.96) -> tuple[float, float]:
    middle = (part + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(part * (1 - part) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return middle - half, middle + half


def _short(label: str) -> str:
    return label if len(label) <= 28 else label[:27] + "…"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label in letters that the font does not have
        figure.tight_layout()
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
