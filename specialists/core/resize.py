"""Maps of numbers made larger or smaller by linear interpolation, as PyTorch does it, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def linear(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return float32 values (..., *old) as (..., *shape): pixel centers aligned, borders repeated, nothing averaged."""
    values = np.asarray(values, dtype=np.float32)
    for axis, side in zip(range(-len(shape), 0), shape, strict=True):
        old = values.shape[axis]
        place = np.clip((np.arange(side) + 0.5) * (old / side) - 0.5, 0, old - 1)
        below = np.floor(place).astype(int)
        share = (place - below).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
        low, high = np.take(values, below, axis), np.take(values, np.minimum(below + 1, old - 1), axis)
        values = low + share * (high - low)
    return values
