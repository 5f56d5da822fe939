"""Masks as COCO's compressed run lengths, and back; knows no polygons and no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Return `{"size": [height, width], "counts": text}` of a boolean mask (H, W)."""
    if mask.ndim != 2:
        raise ValueError(f"Got a mask of shape {mask.shape}; wanted (height, width). Encode each label.")
    flat = np.asarray(mask, dtype=bool).ravel(order="F")  # COCO counts down the columns
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    if flat.size and flat[0]:
        runs = [0, *runs]  # the first run is always one of zeros
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _text(runs)}


def decode(rle: Mapping[str, Any]) -> np.ndarray:
    """Return the boolean mask (H, W); counts may be COCO's compressed text or a plain list."""
    height, width = rle["size"]
    counts = rle["counts"]
    runs = _runs(counts) if isinstance(counts, str) else list(counts)
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"Run lengths do not fill a mask of {height} x {width} pixels; "
                         "wanted COCO run lengths of that size. Encode the mask again.")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _text(runs: Sequence[int]) -> str:
    out: list[str] = []
    for place, run in enumerate(runs):
        rest = run - (runs[place - 2] if place > 2 else 0)  # from the fourth run on: difference to two before
        more = True
        while more:
            chunk = rest & 0x1F
            rest >>= 5
            more = rest != -1 if chunk & 0x10 else rest != 0
            out.append(chr((chunk | 0x20 if more else chunk) + 48))
    return "".join(out)


def _runs(text: str) -> list[int]:
    runs: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place >= len(text):
                raise ValueError("Run lengths are cut off; wanted a whole COCO text. Encode the mask again.")
            code = ord(text[place]) - 48
            place += 1
            value |= (code & 0x1F) << shift
            shift += 5
            more = bool(code & 0x20)
            if not more and code & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs
