"""Decoded images of one question with their targets, as training takes them; reads no file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specialists.datasets.layout import Sample


@dataclass(frozen=True)
class Table:
    """Images of one question, decoded: rows stay aligned."""

    samples: tuple[Sample, ...]
    pixels: np.ndarray
    """uint8 (N, size, size, 3)."""
    targets: np.ndarray
    """What the task learns of each row, e.g. int64 (N,), numbers into `labels`, or masks (N, labels, size, size)."""
    labels: tuple[str, ...]

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return np.array([i for i, s in enumerate(self.samples) if s.split == split], dtype=np.int64)
