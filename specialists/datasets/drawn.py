"""Drawn fundus photographs of graded severity, with the masks of their lesions; they show no patient.

They serve to measure whether the idea of a published method carries over where no real set has the truth wanted.
What is measured on them says nothing about patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

LESIONS: dict[str, tuple[float, tuple[float, float, float]]] = {
    "microaneurysm": (0.010, (-0.20, -0.16, -0.06)),
    "haemorrhage": (0.028, (-0.28, -0.20, -0.08)),
    "hard exudate": (0.018, (0.16, 0.20, 0.06)),
    "soft exudate": (0.040, (0.12, 0.14, 0.10)),
}
"""Radius, as a part of the side, and change of color of each kind of lesion."""
COUNTS: tuple[dict[str, tuple[int, int]], ...] = (
    {},
    {"microaneurysm": (2, 5)},
    {"microaneurysm": (4, 9), "haemorrhage": (1, 3), "hard exudate": (0, 3)},
    {"microaneurysm": (6, 12), "haemorrhage": (4, 8), "hard exudate": (2, 6), "soft exudate": (0, 2)},
    {"microaneurysm": (8, 14), "haemorrhage": (7, 12), "hard exudate": (4, 9), "soft exudate": (2, 4)},
)
"""Fewest and most lesions of each kind at a grade, 0..4."""
RADIUS = 0.46
"""Of the bright field, as a part of the side."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn eye with what is on it."""

    pixels: np.ndarray
    """uint8 (side, side, 3)."""
    masks: dict[str, np.ndarray]
    """Boolean (side, side) of each kind of lesion that is there."""
    grade: int


def fundus(rng: np.random.Generator, side: int, grade: int = 0, strength: float = 1.0, spread: float = 1.0) -> Drawn:
    """Draw one eye with the lesions of a grade.

    `strength` scales how much they differ from what lies under them, `spread` their radius.
    """
    axis = (np.arange(side) + 0.5) / side - 0.5
    x, y = np.meshgrid(axis, axis)
    field = x**2 + y**2 <= RADIUS**2
    ink = _background(rng, x, y) + _vessels(rng, side)[..., None] * np.array([-0.16, -0.13, -0.05])
    masks: dict[str, np.ndarray] = {}
    for name, (low, high) in COUNTS[grade].items():
        for _ in range(int(rng.integers(low, high + 1))):
            shape = _blob(rng, x, y, spread * LESIONS[name][0])
            change = np.array(LESIONS[name][1]) * strength * rng.uniform(0.6, 1.2)
            ink += shape[..., None] * change
            masks[name] = masks.get(name, np.zeros_like(field)) | ((shape > 0.4) & field)
    ink = gaussian_filter(ink, (rng.uniform(0.3, 0.7) * side / 128,) * 2 + (0,))
    ink += rng.normal(0, 0.02, ink.shape)
    pixels = (255 * np.where(field[..., None], ink, 0.02).clip(0, 1)).round().astype(np.uint8)
    return Drawn(pixels, {name: mask for name, mask in masks.items() if mask.any()}, grade)


def smaller(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return images (N, S, S, 3) averaged down to (N, side, side, 3); S is a multiple of side."""
    count, large = pixels.shape[0], pixels.shape[1] // side
    blocks = pixels.reshape(count, side, large, side, large, 3).astype(np.float32)
    return blocks.mean(axis=(2, 4)).round().astype(np.uint8)


def _background(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the color of the retina with its disc, macula, uneven light and pigment, float (side, side, 3)."""
    color = np.array([0.62, 0.36, 0.20]) + rng.normal(0, 0.04, 3)
    slope = rng.normal(0, 0.15, 2)
    light = 1 + slope[0] * x + slope[1] * y - 0.8 * (x**2 + y**2)
    pigment = gaussian_filter(rng.normal(0, 1, x.shape), x.shape[0] / 24)
    ink = (color * (light + 0.05 * pigment / pigment.std())[..., None])
    eye = rng.choice((-1.0, 1.0))
    disc = np.exp(-((((x - 0.24 * eye) ** 2 + (y + rng.normal(0, 0.02)) ** 2) / 0.07**2) ** 2))
    macula = np.exp(-((x + 0.10 * eye) ** 2 + y**2) / 0.08**2)
    return ink + disc[..., None] * np.array([0.28, 0.32, 0.22]) - 0.10 * macula[..., None]


def _vessels(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return how much vessel lies on each pixel, 0..1: walks that leave the middle and thin out."""
    scale = 2
    page = Image.new("L", (side * scale, side * scale))
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(7, 11))):
        place, angle = np.array([0.5, 0.5]) + rng.normal(0, 0.06, 2), rng.uniform(0, 2 * np.pi)
        for step in range(14):
            angle += rng.normal(0, 0.25)
            after = place + 0.035 * np.array([np.cos(angle), np.sin(angle)])
            width = max(1, round(scale * side / 128 * (2.6 - 0.15 * step)))
            pen.line([tuple(v * side * scale for v in place), tuple(v * side * scale for v in after)], 255, width)
            place = after
    return np.asarray(page.resize((side, side), Image.Resampling.BOX), dtype=np.float64) / 255


def _blob(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Return a soft spot at a random place of the field, 0..1: longer than wide and turned at random."""
    angle, away = rng.uniform(0, 2 * np.pi), RADIUS * 0.9 * np.sqrt(rng.uniform(0.02, 1))
    left, up = x - away * np.cos(angle), y - away * np.sin(angle)
    turn, size = rng.uniform(0, np.pi), radius * rng.uniform(0.7, 1.3)
    along = (left * np.cos(turn) + up * np.sin(turn)) / (size * rng.uniform(1, 1.6))
    across = (up * np.cos(turn) - left * np.sin(turn)) / size
    return np.exp(-((along**2 + across**2) ** 2))
