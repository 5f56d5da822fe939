"""Convolutions first, attention after: a compact convolutional transformer.

Hassani et al., 2021, https://arxiv.org/abs/2104.05704
Idea: a convolutional stem makes the tokens, so that a transformer learns from little data; a learned weight a token
(sequence pooling) replaces the class token. The blocks are MONAI's.
Differs from the paper: three strided convolutions with batch norm as the stem, two narrow blocks, a position
embedding fixed by the input size.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import Tensor, nn

from specialists.core.fit import FitConfig
from specialists.core.method import Classifier, Method

METHOD = Method(task="classification", title="compact convolutional transformer",
                paper="https://arxiv.org/abs/2104.05704")


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the stem and the transformer."""

    labels: int = 2
    learning_rate: float = 1.5e-3
    stem: tuple[int, ...] = (24, 48, 96, 112)
    """Channels of the strided convolutions; the last is the width of the tokens."""
    blocks: int = 2
    heads: int = 4


def tiny(labels: int = 2) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, stem=(8, 16, 32), blocks=1, heads=2)


class Backbone(nn.Module):
    """Images (B, 3, H, W) to features (B, width)."""

    def __init__(self, config: Config) -> None:
        """The position embedding holds for `config.size` alone."""
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in config.stem:
            layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.stem = nn.Sequential(*layers)
        side = config.size
        for _ in config.stem:
            side = (side + 1) // 2
        self.position = nn.Parameter(0.02 * torch.randn(1, side * side, before))
        self.blocks = nn.ModuleList(TransformerBlock(before, 2 * before, config.heads, dropout_rate=0.1)
                                    for _ in range(config.blocks))
        for block in self.blocks:
            block.norm_cross_attn.requires_grad_(False)  # part of MONAI's block; self-attention leaves it idle
        self.norm = nn.LayerNorm(before)
        self.weigh = nn.Linear(before, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (B, width)."""
        tokens = self.stem(images).flatten(2).transpose(1, 2) + self.position  # (B, tokens, width)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        share = self.weigh(tokens).softmax(dim=1)  # (B, tokens, 1), sequence pooling
        return (share * tokens).sum(dim=1)


def build(config: Config) -> Classifier:
    """Return the untrained net."""
    return Classifier(Backbone(config), config.stem[-1], config.labels, config.dropout)
