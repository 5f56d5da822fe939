"""3D U-Net: every slice is judged together with its neighbors.

Cicek et al., MICCAI 2016, https://arxiv.org/abs/1606.06650
Idea: the U-Net with convolutions in three dimensions, so that the volume of a structure is drawn as one body.
The network is MONAI's U-Net blocks on blocks of 2x2x2 voxels.
Differs from the paper: dense labels, three stages, narrow; Dice and cross-entropy in place of weighted
cross-entropy; a volume is resized to one shape, the same at training and in use.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.backbones import UShape
from specialists.core.fit import FitConfig
from specialists.core.mask_loss import mask_loss
from specialists.core.method import Method
from specialists.core.study import Study
from specialists.core.volumes import to_box

METHOD = Method(task="volumetry", title="3D U-Net", paper="https://arxiv.org/abs/1606.06650")
BLOCK = 2
"""Side of the blocks of voxels that the network takes as one."""


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the stages, how many structures are drawn, and how large a volume it expects."""

    size: int = 40
    """Frames and columns that a volume is resized to; rows are 7/5 of it."""
    labels: int = 1
    widths: tuple[int, ...] = (24, 40, 56)
    """Channels of the stages at 1/2, 1/4 and 1/8 of the input's sides."""
    epochs: int = 90
    batch: int = 4
    dropout: float = 0.0
    extent_mm: tuple[float, ...] = (36.0, 50.0, 35.0)
    """Usual extent of a volume in millimeters: between frames, rows and columns."""

    def __post_init__(self) -> None:
        """Refuse sizes that the stages do not divide."""
        super().__post_init__()
        step = BLOCK * 2 ** (len(self.widths) - 1)
        if any(side % step for side in shape(self.size)) or len(self.extent_mm) != 3:
            raise ValueError(f"Got size {self.size}, that is {shape(self.size)} voxels, and extents {self.extent_mm}; "
                             f"wanted multiples of {step}, and three extents.")


def tiny(labels: int = 1) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=20, epochs=2, batch=4, labels=labels, widths=(8, 12))


def shape(size: int) -> tuple[int, int, int]:
    """Return frames, rows and columns that a volume is resized to."""
    return size, size * 7 // 5, size


def inputs(study: Study, size: int) -> np.ndarray:
    """Return a volume as float32 (1, frames, rows, columns) in 0..1; a single image is repeated."""
    return to_box(study.pixels.mean(axis=3), shape(size))[None]


class Net(nn.Module):
    """The stages down and up again, and the voxels' logits."""

    def __init__(self, config: Config) -> None:
        """Build the untrained net."""
        super().__init__()
        self.labels = config.labels
        self.body = UShape(3, BLOCK**3, config.widths, config.dropout)
        self.head = nn.Conv3d(config.widths[0], config.labels * BLOCK**3, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Return logits (B, labels, D, H, W) of volumes (B, 1, D, H, W) in 0..1."""
        return self.look(volumes)[0]

    def look(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, labels, D, H, W) and features (B, D), the mean of the innermost stage."""
        x, features = self.body(_packed((volumes - 0.5) / 0.25))
        return _unpacked(self.head(x), self.labels), features


def _packed(volumes: Tensor) -> Tensor:
    """Take the voxels of a block as channels: (B, 1, D, H, W) to (B, BLOCK**3, D/2, H/2, W/2)."""
    count, _, *sides = volumes.shape
    d, h, w = (side // BLOCK for side in sides)
    blocks = volumes.reshape(count, d, BLOCK, h, BLOCK, w, BLOCK)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(count, BLOCK**3, d, h, w)


def _unpacked(blocks: Tensor, labels: int) -> Tensor:
    """Turn `_packed` around, for several labels."""
    count, _, d, h, w = blocks.shape
    voxels = blocks.reshape(count, labels, BLOCK, BLOCK, BLOCK, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return voxels.reshape(count, labels, d * BLOCK, h * BLOCK, w * BLOCK)


def build(config: Config) -> Net:
    """Return the untrained net."""
    return Net(config)


def loss(config: Config) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return a loss for `fit`, for masks (B, labels, D, H, W): cross-entropy, and Dice over the batch."""
    return lambda model, volumes, targets: mask_loss(model(volumes), targets)


def augment(images: Tensor, targets: Tensor, config: FitConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move, turn (15 degrees about each axis), scale (15 %), mirror and relight volumes; masks follow."""
    count = len(images)

    def uniform(low: float, high: float, columns: int = 1) -> Tensor:
        return torch.rand(count, columns, generator=generator) * (high - low) + low

    theta = torch.zeros(count, 3, 4)
    theta[:, :, :3] = _turned(uniform(-0.26, 0.26, 3)) * uniform(0.87, 1.15)[:, :, None]
    if config.mirror:
        theta[:, :, 0] *= torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta[:, :, 3] = uniform(-0.12, 0.12, 3)
    grid = F.affine_grid(theta, [count, 1, *images.shape[2:]], align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    followed = F.grid_sample(targets.float(), grid, mode="nearest", align_corners=False)
    contrast, light = (uniform(*ends).view(-1, 1, 1, 1, 1) for ends in ((0.8, 1.2), (-0.1, 0.1)))
    return ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1), followed


def _turned(angles: Tensor) -> Tensor:
    """Return rotations (B, 3, 3) by angles (B, 3) about the three axes, one after the other."""
    whole = torch.eye(3).expand(len(angles), 3, 3)
    for axis, (first, second) in enumerate(((0, 1), (0, 2), (1, 2))):
        own = torch.eye(3).repeat(len(angles), 1, 1)
        cosine, sine = torch.cos(angles[:, axis]), torch.sin(angles[:, axis])
        own[:, first, first], own[:, second, second] = cosine, cosine
        own[:, first, second], own[:, second, first] = -sine, sine
        whole = whole @ own
    return whole
