"""A volume as the input of a small net: one shape for all; what a volume shows is a method's affair."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def to_box(volume: np.ndarray, shape: tuple[int, int, int], smooth: bool = True) -> np.ndarray:
    """Return a volume (frames, H, W) resized to `shape`, without keeping the aspect ratio; masks are not blended."""
    voxels = torch.from_numpy(np.array(volume, dtype=np.float32))[None, None]
    mode = "trilinear" if smooth else "nearest-exact"
    return functional.interpolate(voxels, shape, mode=mode)[0, 0].numpy()
