"""A plain convolutional net, the smallest opinion.

Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556
Idea: 3x3 convolutions in stages that halve the picture and widen the channels; here with batch norm and a global mean
in place of the large fully connected layers.
Differs from the paper: five short stages of a few dozen channels, trained from scratch on small inputs.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from specialists.core.fit import FitConfig
from specialists.core.method import Classifier, Method

METHOD = Method(task="classification", title="plain convolutional net", paper="https://arxiv.org/abs/1409.1556")


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the five stages."""

    labels: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Channels of each stage."""


def tiny(labels: int = 2) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, widths=(8, 16, 24))


def build(config: Config) -> Classifier:
    """Return the untrained net."""
    layers: list[nn.Module] = []
    before = 3
    for index, width in enumerate(config.widths):
        layers += [_convolution(before, width, stride=2)]
        layers += [_convolution(width, width, stride=1)] if index else []
        before = width
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(backbone, before, config.labels, config.dropout)


def _convolution(before: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
