"""A study as the input of a small net: one square RGB frame in 0..1; augmentation lives in `fit`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from specialists.core.study import Study


def to_input(study: Study, size: int) -> np.ndarray:
    """Return the key frame as float32 (3, size, size) in 0..1, resized without keeping the aspect ratio."""
    return to_float(to_square(study.image(), size))


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Return the image as uint8 (size, size, 3); shrinking averages over the pixels, so nothing aliases."""
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=None))


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (..., H, W, 3) as float32 (..., 3, H, W) in 0..1."""
    return np.moveaxis(pixels, -1, -3).astype(np.float32) / 255
