"""A small residual net.

He et al., CVPR 2016, https://arxiv.org/abs/1512.03385
Idea: each block learns what to add to its input, so that depth does not hurt training. The network is MONAI's ResNet
with one basic block a stage.
Differs from the paper: four narrow blocks, a 5x5 stem, no max pooling, trained from scratch on small inputs.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from monai.networks.nets.resnet import ResNet
from torch import nn

from specialists.core.fit import FitConfig
from specialists.core.method import Classifier, Link, Method

METHOD = Method(task="classification", title="small residual net", paper="https://arxiv.org/abs/1512.03385")


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the four stages."""

    labels: int = 2
    widths: tuple[int, ...] = (24, 48, 80, 128)
    """Channels of each stage."""
    inner: tuple[int, ...] = ()
    """Channels between the two convolutions of each stage, where a pruned net has others than `widths`."""


def tiny(labels: int = 2) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, widths=(8, 8, 16, 16))


def build(config: Config) -> Classifier:
    """Return the untrained net."""
    backbone = ResNet(block="basic", layers=[1, 1, 1, 1], block_inplanes=list(config.widths), spatial_dims=2,
                      n_input_channels=3, conv1_t_size=5, conv1_t_stride=2, no_max_pool=True, feed_forward=False)
    before = config.widths[0]
    for stage, (inner, width) in enumerate(zip(config.inner, config.widths, strict=False), 1):
        block = backbone.get_submodule(f"layer{stage}.0")
        stride = 1 if stage == 1 else 2
        block.conv1, block.bn1 = nn.Conv2d(before, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        block.conv2 = nn.Conv2d(inner, width, 3, 1, 1, bias=False)
        before = width
    return Classifier(backbone, config.widths[-1], config.labels, config.dropout)


def links(config: Config) -> list[Link]:
    """Return what pruning may thin: the first convolution of each block, so that the sums still match."""
    blocks = [f"backbone.layer{stage}.0" for stage in range(1, len(config.widths) + 1)]
    return [Link(f"{block}.conv1", f"{block}.bn1", f"{block}.conv2") for block in blocks]


def thinner(config: Config, kept: Sequence[int]) -> Config:
    """Return the configuration of a net that has so many filters left in each of the `links`."""
    return replace(config, inner=tuple(kept))
