"""The floor under every classifier that ships: one plain small residual net, trained in the usual way and untuned.

No pre-training, no second look at the mirror image, no fold; it is compared with and never shipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.calibrate import softmax
from specialists.core.fit import FitConfig, Watch, fit
from specialists.core.inputs import to_float
from specialists.core.method import class_weights, weighted_cross_entropy
from specialists.datasets.table import Table
from specialists.evaluation.measure import classification

LAST = 8
"""The net is kept as it stood after the best of so many last epochs, by macro-F1 on validation."""


@dataclass(frozen=True)
class PlainConfig(FitConfig):
    """128 px, batch 32, AdamW 3e-3 one-cycle, as in `FitConfig`; 40 epochs."""

    epochs: int = 40
    widths: tuple[int, ...] = (24, 48, 96, 160)


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        """Take the channels before and after, and the stride of the first convolution."""
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, width, h, w)."""
        inner = F.relu(self.norms[0](self.first(images)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(images))


class Plain(nn.Module):
    """A 5x5 stem with stride 2, four residual blocks, the global mean, dropout and a linear head."""

    def __init__(self, labels: int, config: PlainConfig) -> None:
        """0.56 M parameters as `PlainConfig` has it."""
        super().__init__()
        first = config.widths[0]
        layers: list[nn.Module] = [nn.Conv2d(3, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
        before = first
        for place, width in enumerate(config.widths):
            layers.append(Block(before, width, 2 if place else 1))
            before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(before, labels))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, labels) of images (B, 3, H, W) in 0..1."""
        return self.head(self.body((images - 0.5) / 0.25).mean(dim=(2, 3)))


def plain_probabilities(table: Table, config: PlainConfig) -> np.ndarray:
    """Train on the table's train rows, choose the epoch on its val rows; return probabilities (N, L) of all rows."""
    torch.manual_seed(config.seed)
    net = Plain(len(table.labels), config)
    train, val = table.rows("train"), table.rows("val")
    groups = [table.samples[i].group for i in val]
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})

    def on_epoch(epoch: int, loss: float) -> None:
        nonlocal best
        if epoch < config.epochs - LAST:
            return
        guesses = softmax(_logits(net, table.pixels[val]))
        score = classification(guesses, table.targets[val], groups, table.labels)["macro_f1"]
        if score >= best[0]:
            best = score, {name: value.detach().clone() for name, value in net.state_dict().items()}

    weights = class_weights(table.targets[train], len(table.labels))
    fit(net, table.pixels[train], table.targets[train], weighted_cross_entropy(weights, config.label_smoothing),
        config, Watch(on_epoch))
    net.load_state_dict(best[1])
    return softmax(_logits(net, table.pixels))


def quick(config: PlainConfig) -> PlainConfig:
    """Return a configuration that trains in a second, for tests."""
    return replace(config, size=32, epochs=2, batch=8, widths=(8, 8, 16, 16))


@torch.inference_mode()
def _logits(net: nn.Module, pixels: np.ndarray, batch: int = 64) -> np.ndarray:
    net.eval()
    parts = [net(torch.from_numpy(to_float(pixels[start:start + batch]))).float()
             for start in range(0, len(pixels), batch)]
    return torch.cat(parts).numpy()
