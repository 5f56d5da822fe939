"""Small drawn images of three classes in any layout, for the tests beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("blue", "green", "red")


def picture(label: str, number: int, side: int = 40) -> Image.Image:
    """Return noise tinted by its label, with a square of its own: no two are alike."""
    rng = np.random.default_rng([LABELS.index(label), number])
    pixels = rng.normal(90, 40, (side, side, 3))
    pixels[..., 2 - LABELS.index(label)] += 70
    x, y = rng.integers(4, side - 14, 2)
    pixels[y:y + 10, x:x + 10] += 60
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def class_folders(root: Path, each: int = 12, splits: dict[str, int] | None = None) -> Path:
    """Write `each` images a label, or so many of each split; return the folder."""
    for label in LABELS:
        number = 0
        for split, count in (splits or {"": each}).items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for _ in range(count):
                picture(label, number).save(folder / f"{number:02}.png")
                number += 1
    return root
