"""A plain convolutional net, the smallest opinion.

Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556
Idea: 3x3 convolutions in stages that halve the picture and widen the channels; here with batch norm and a global mean
in place of the large fully connected layers.
Differs from the paper: five short stages of a few dozen channels, trained from scratch on small inputs.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from specialists.core.fit import FitConfig
from specialists.core.method import Classifier, Link, Method

METHOD = Method(task="classification", title="plain convolutional net", paper="https://arxiv.org/abs/1409.1556")


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the five stages."""

    labels: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Channels of each stage."""
    inner: tuple[int, ...] = ()
    """Channels of the first convolution of each stage but the first, where a pruned net has others than `widths`."""


def tiny(labels: int = 2) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, widths=(8, 16, 24))


def build(config: Config) -> Classifier:
    """Return the untrained net."""
    layers: list[nn.Module] = []
    before = 3
    inner = (0, *(config.inner or config.widths[1:]))
    for index, width in enumerate(config.widths):
        if index:
            layers += [_convolution(before, inner[index], stride=2), _convolution(inner[index], width, stride=1)]
        else:
            layers += [_convolution(before, width, stride=2)]
        before = width
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(backbone, before, config.labels, config.dropout)


def links(config: Config) -> list[Link]:
    """Return what pruning may thin: every convolution; the next one, or the head, reads it."""
    count = 2 * len(config.widths) - 1
    readers = [*(f"backbone.{place}.0" for place in range(1, count)), "head"]
    return [Link(f"backbone.{place}.0", f"backbone.{place}.1", reader) for place, reader in enumerate(readers)]


def thinner(config: Config, kept: Sequence[int]) -> Config:
    """Return the configuration of a net that has so many filters left in each of the `links`."""
    return replace(config, widths=(kept[0], *kept[2::2]), inner=tuple(kept[1::2]))


def _convolution(before: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
