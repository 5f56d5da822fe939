"""Objects as points: a thing is the peak of a heatmap at its center, with its size and offset read off there.

Zhou et al., 2019, https://arxiv.org/abs/1904.07850
Idea: one small map a label is taught to be 1 at the centers of its things and to fall off around them; four more
maps hold the size of the thing and what the coarse grid loses of its center. Peaks are detections: no anchors.
The network is a narrow stem and MONAI's U-Net blocks on a grid of a quarter of the image's side.
Differs from the paper: trained from scratch, 0.4 M parameters; sizes are logarithms, so that small things count as
much as large ones; the offset is from the middle of a cell; the spread of a peak is a sixth of the thing's own sides.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.backbones import UShape
from specialists.core.fit import FitConfig
from specialists.core.method import Method

METHOD = Method(task="detection", title="CenterNet (objects as points)", paper="https://arxiv.org/abs/1904.07850")
BLOCK = 2
"""Side of the blocks of pixels that the network takes as one."""
SPREAD = 1 / 6
"""Standard deviation of a peak, as a part of the thing's width and height."""
NARROWEST = 0.7
"""Smallest standard deviation of a peak, in cells."""
SIZE_WEIGHT, OFFSET_WEIGHT = 0.5, 1.0
KEPT = 0.4
"""A thing that augmentation moves out of the image is kept while this part of its area is inside."""


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the stages, how many labels are told apart, and how images are varied."""

    size: int = 256
    labels: int = 1
    widths: tuple[int, ...] = (16, 32, 48, 64, 80)
    """Channels of the stem and of the stages at 1/4, 1/8, 1/16 and 1/32 of the input's side."""
    epochs: int = 60
    batch: int = 8
    dropout: float = 0.0
    mirror: bool = False
    """Whether the mirror image is averaged in when it answers: offsets would have to change their sign, so no."""
    flips: bool = True
    """Whether left and right are exchanged in training."""
    zoom: float = 0.25
    """Largest relative change of scale in training, either way."""
    shift: float = 0.15
    """Largest shift in training, as a part of the side."""

    def __post_init__(self) -> None:
        """Refuse sizes that the stages do not divide."""
        super().__post_init__()
        if self.size % 32 or len(self.widths) != 5 or self.mirror:
            raise ValueError(f"Got size {self.size}, {len(self.widths)} widths, mirror {self.mirror}; wanted a "
                             "multiple of 32, five widths and no mirror image averaged in.")


def tiny(labels: int = 1) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=64, epochs=2, batch=4, labels=labels, widths=(8, 8, 12, 16, 16))


class Net(nn.Module):
    """The stem, the stages down and up again to a quarter of the side, and the head."""

    def __init__(self, config: Config) -> None:
        """Build the untrained net; heatmaps start near 0, as the focal loss wants."""
        super().__init__()
        stem, first = config.widths[:2]
        self.stem = nn.Sequential(
            Convolution(2, 3 * BLOCK**2, stem, kernel_size=3, act="relu", norm="batch"),
            Convolution(2, stem, first, strides=2, kernel_size=3, act="relu", norm="batch"))
        self.body = UShape(2, first, config.widths[1:], config.dropout)
        said = nn.Conv2d(2 * first, config.labels + 4, 1)
        said.bias = nn.Parameter(torch.tensor([-2.19] * config.labels + [0.0] * 4))
        self.head = nn.Sequential(Convolution(2, first, 2 * first, kernel_size=3, act="relu", norm="batch"), said)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, labels + 4, H / 4, W / 4) of images (B, 3, H, W) in 0..1; H and W are multiples of 32.

        Logits of the heatmaps, logarithms of width and height in cells, and the center's place in its cell, -0.5..0.5.
        """
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, and features (B, D), the mean of the innermost stage."""
        x, features = self.body(self.stem(F.pixel_unshuffle((images - 0.5) / 0.25, BLOCK)))
        return self.head(x), features


def build(config: Config) -> Net:
    """Return the untrained net."""
    return Net(config)


def loss(config: Config) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return a loss for `fit`, for targets (B, most, 5): label (-1 for none), left, top, right, bottom in 0..1.

    The focal loss of equation 1 on heatmaps; at centers alone, the absolute errors of size and offset.
    """
    def measure(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        outputs = model(images).float()  # (B, labels + 4, h, w)
        wanted, centers = draw(targets.float(), config.labels, outputs.shape[2], outputs.shape[3])
        count = max(1, len(centers.image))
        value = focal(outputs[:, :config.labels], wanted) / count
        said = outputs[centers.image, config.labels:, centers.row, centers.column]  # (things, 4)
        size = F.l1_loss(said[:, :2], centers.size, reduction="sum") / count
        offset = F.l1_loss(said[:, 2:], centers.offset, reduction="sum") / count
        return value + SIZE_WEIGHT * size + OFFSET_WEIGHT * offset
    return measure


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the sum of the penalty-reduced focal loss, alpha 2 and beta 4 (equation 1)."""
    said = torch.sigmoid(logits)
    center = (wanted >= 1).float()
    found = center * (1 - said) ** 2 * F.logsigmoid(logits)
    empty = (1 - center) * (1 - wanted) ** 4 * said ** 2 * F.logsigmoid(-logits)
    return -(found + empty).sum()


@dataclass(frozen=True)
class Centers:
    """Where things are on the grid, a row a thing."""

    image: Tensor
    row: Tensor
    column: Tensor
    size: Tensor
    """(things, 2): logarithms of width and height in cells."""
    offset: Tensor
    """(things, 2): right and down from the middle of the cell, in cells."""


def draw(targets: Tensor, labels: int, height: int, width: int) -> tuple[Tensor, Centers]:
    """Return the heatmaps (B, labels, height, width) of targets (B, most, 5), and the centers."""
    image, place = torch.nonzero(targets[..., 0] >= 0, as_tuple=True)
    things = targets[image, place]  # (things, 5)
    scale = targets.new_tensor([width, height])
    middle = (things[:, 1:3] + things[:, 3:5]) / 2 * scale
    sides = ((things[:, 3:5] - things[:, 1:3]) * scale).clamp(min=0.25)
    column, row = (middle[:, 0].long().clamp(0, width - 1), middle[:, 1].long().clamp(0, height - 1))
    cells = torch.stack([column, row], 1).float()
    spread = (sides * SPREAD).clamp(min=NARROWEST)
    across = torch.arange(width, device=targets.device)[None] - column[:, None]  # (things, width)
    down = torch.arange(height, device=targets.device)[None] - row[:, None]
    bumps = (torch.exp(-down**2 / (2 * spread[:, 1:] ** 2))[:, :, None]
             * torch.exp(-across**2 / (2 * spread[:, :1] ** 2))[:, None, :])  # (things, height, width)
    heat = targets.new_zeros(len(targets) * labels, height, width)
    slots = (image * labels + things[:, 0].long())[:, None, None].expand_as(bumps)
    heat.scatter_reduce_(0, slots, bumps, "amax")
    centers = Centers(image, row, column, sides.log(), middle - cells - 0.5)
    return heat.view(len(targets), labels, height, width), centers


def augment(images: Tensor, targets: Tensor, config: FitConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror, scale, shift and relight images; the boxes move exactly with them, and are cut at the border."""
    chosen = config if isinstance(config, Config) else Config()
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    mirror = torch.where(uniform(0, 1) < 0.5 * chosen.flips, -1.0, 1.0)
    upside = torch.where(uniform(0, 1) < 0.5 * chosen.flip_vertical, -1.0, 1.0)
    scale = 1 + uniform(-chosen.zoom, chosen.zoom)
    shift = torch.stack([uniform(-1, 1), uniform(-1, 1)], 1) * 2 * chosen.shift  # of a grid from -1 to 1
    turn = torch.stack([mirror * scale, upside * scale], 1)  # (B, 2): input = turn * output + shift
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = turn[:, 0], turn[:, 1], shift
    grid = F.affine_grid(theta, [count, 1, *images.shape[2:]], align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
    contrast, light = uniform(0.8, 1.2).view(-1, 1, 1, 1), uniform(-0.1, 0.1).view(-1, 1, 1, 1)
    return ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1), _followed(targets, turn, shift)


def _followed(targets: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """Return targets (B, most, 5) after the grid `input = turn * output + shift`, in -1..1; those lost become -1."""
    ends = (targets[..., 1:].view(*targets.shape[:2], 2, 2) * 2 - 1 - shift[:, None, None]) / turn[:, None, None]
    ends = torch.sort((ends + 1) / 2, dim=2).values  # a mirror exchanges the corners
    cut = ends.clamp(0, 1)
    part = (cut[:, :, 1] - cut[:, :, 0]).prod(-1) / (ends[:, :, 1] - ends[:, :, 0]).prod(-1).clamp(min=1e-9)
    label = torch.where(part >= KEPT, targets[..., 0], torch.full_like(targets[..., 0], -1))
    return torch.cat([label[..., None], cut.flatten(2)], dim=2)
