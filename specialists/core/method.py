"""What a method file says about itself, and the loss that classifiers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Method:
    """A published idea: its task, paper and the license of this implementation."""

    task: str
    title: str
    paper: str
    license: str = "Apache-2.0"


def class_weights(targets: np.ndarray, labels: int) -> Tensor:
    """Return weights (labels,) by the inverse square root of each class's count, mean 1."""
    counts = np.bincount(targets, minlength=labels).clip(1)
    weights = 1 / np.sqrt(counts)
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def weighted_cross_entropy(weights: Tensor, smoothing: float) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return a loss for `fit`: cross-entropy in float32 with class weights and label smoothing."""
    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        logits = model(images).float()  # (B, labels)
        return F.cross_entropy(logits, targets, weight=weights.to(logits.device), label_smoothing=smoothing)
    return loss


@dataclass(frozen=True)
class Link:
    """A convolution whose filters may be removed, with its norm and what reads its channels: names of modules."""

    convolution: str
    norm: str
    reader: str


class Classifier(nn.Module):
    """A backbone that gives features, and a linear head on them."""

    def __init__(self, backbone: nn.Module, width: int, labels: int, dropout: float) -> None:
        """`backbone` maps images (B, 3, H, W), centered, to features (B, width)."""
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, labels)

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, width) of images (B, 3, H, W) in 0..1."""
        return self.backbone((images - 0.5) / 0.25)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, labels) of images (B, 3, H, W) in 0..1."""
        return self.head(self.dropout(self.features(images)))

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, labels) and features (B, width), without dropout."""
        features = self.features(images)
        return self.head(features), features


class Served(nn.Module):
    """A net as it answers in use: outputs and features in one pass, averaged over image and mirror."""

    def __init__(self, net: nn.Module, mirror: bool) -> None:
        """`net.look` maps images (B, 3, H, W) in 0..1 to outputs (B, ...) and features (B, D)."""
        super().__init__()
        self.net = net
        self.mirror = mirror

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs, dense ones (B, L, H, W) turned back before the mean, and features (B, D)."""
        outputs, features = self.net.look(images)  # type: ignore[operator]
        if not self.mirror:
            return outputs, features
        mirrored, others = self.net.look(images.flip(-1))  # type: ignore[operator]
        turned = mirrored.flip(-1) if mirrored.ndim > 2 else mirrored
        return (outputs + turned) / 2, (features + others) / 2
