"""A study as the input of a small net: one square RGB frame in 0..1, or what the method makes of it.

Augmentation lives in `fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from specialists.core.study import Study

Reader = Callable[[Study, int], np.ndarray]
"""(study, size) -> float32 (C, ...) in 0..1, one of a batch that a net sees."""
_squares: WeakKeyDictionary[Study, dict[int, np.ndarray]] = WeakKeyDictionary()
"""The key frames already resized, by side, as long as their studies live: a trio looks at the same one."""


def to_input(study: Study, size: int) -> np.ndarray:
    """Return the key frame as float32 (3, size, size) in 0..1, resized without keeping the aspect ratio."""
    squares = _squares.setdefault(study, {})
    if size not in squares:
        squares[size] = to_square(study.image(), size)
    return to_float(squares[size])


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Return the image as uint8 (size, size, 3); shrinking averages over the pixels, so nothing aliases."""
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=None))


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (..., H, W, 3) as float32 (..., 3, H, W) in 0..1."""
    return np.moveaxis(pixels, -1, -3).astype(np.float32) / 255


def reader(method: ModuleType | None) -> Reader:
    """Return what makes a study the input of a method's net.

    It is the method's own `inputs(study, size)` where it has one, e.g. for volumes; else `to_input`, after the
    method's `prepare(image)` where it has that.
    """
    own = getattr(method, "inputs", None)
    prepare = getattr(method, "prepare", None)
    if own is not None or prepare is None:
        return own or to_input
    return lambda study, size: to_float(to_square(prepare(study.image()), size))
