"""Pictures drawn by the project to try the window with; they show no patient and teach no model."""

from __future__ import annotations

import io
from collections.abc import Callable

import nibabel
import numpy as np
from PIL import Image, ImageFilter

_SIDE = 256


def _grid(side: int = _SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every pixel, -1..1."""
    axis = np.linspace(-1, 1, side)
    return np.meshgrid(axis, axis)


def _inside(center: tuple[float, float], radii: tuple[float, float], side: int = _SIDE) -> np.ndarray:
    x, y = _grid(side)
    return ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 <= 1


def _png(values: np.ndarray, blur: float) -> bytes:
    picture = Image.fromarray((255 * np.clip(values, 0, 1)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def ultrasound() -> bytes:
    """Return a PNG of layered speckle with one dark lesion of uneven outline and the shadow under it."""
    rng = np.random.default_rng(7)
    x, y = _grid()
    tissue = 0.4 * (1 + 0.2 * np.sin(7 * y + 1.2 * np.sin(2.5 * x)) + 0.2 * np.sin(15 * y + 2 * np.sin(3 * x + 1)))
    tissue -= 0.06 * (y + 1)
    for depth, thickness, strength in ((-0.86, 0.06, 0.45), (0.35, 0.05, 0.25)):
        tissue += strength * np.exp(-(((y - depth - 0.05 * np.sin(3 * x)) / thickness) ** 2))
    uneven = 1 + 0.12 * np.sin(6 * np.arctan2(y + 0.12, x - 0.08))
    tissue = np.where(((x - 0.08) / 0.3) ** 2 + ((y + 0.12) / 0.22) ** 2 <= uneven, 0.04, tissue)
    tissue = np.where((np.abs(x - 0.08) < 0.24) & (y > 0.1), tissue * 0.55, tissue)
    return _png(np.clip(tissue, 0, 1) * rng.rayleigh(0.7, tissue.shape), 1.0)


def _brain(offset: float, side: int = _SIDE) -> np.ndarray:
    """Return a head-like slice 0..1, (side, side); offset -1..1 moves from its bottom to its top."""
    shrink = float(np.sqrt(max(1 - offset**2, 0.05)))
    head = np.zeros((side, side))
    for center, radii, value in (
        ((0, 0), (0.74, 0.92), 0.85),
        ((0, 0), (0.69, 0.87), 0.15),
        ((0, 0.01), (0.64, 0.82), 0.48),
        ((-0.14, -0.05), (0.09, 0.30), 0.12),
        ((0.14, -0.05), (0.09, 0.30), 0.12),
        ((0.3, 0.34), (0.17, 0.15), 0.82),
    ):
        scaled = (radii[0] * shrink, radii[1] * shrink)
        head[_inside((center[0] * shrink, center[1] * shrink), scaled, side)] = value
    return head


def brain_slice() -> bytes:
    """Return a PNG of a drawn brain slice with one bright, round region."""
    noise = np.random.default_rng(3).normal(0, 0.03, (_SIDE, _SIDE))
    return _png(_brain(0.0) + noise * (_brain(0.0) > 0), 1.2)


def volume() -> bytes:
    """Return a NIfTI file of 24 slices, 1 x 1 x 5 mm, through the drawn head."""
    slices = [_brain(offset, 128) for offset in np.linspace(-0.9, 0.9, 24)]
    values = np.stack(slices, axis=-1).astype(np.float32)  # (row, column, slice)
    values = values.transpose(1, 0, 2)[::-1, ::-1]  # to x, y, z of right, anterior, superior
    return nibabel.Nifti1Image(np.ascontiguousarray(values), np.diag([1.0, 1.0, 5.0, 1.0])).to_bytes()


PHANTOMS: dict[str, Callable[[], bytes]] = {
    "Drawn ultrasound": ultrasound,
    "Drawn brain slice": brain_slice,
    "Drawn volume": volume,
}
"""What the buttons under the image offer, by the words on them."""
