"""A small residual net.

He et al., CVPR 2016, https://arxiv.org/abs/1512.03385
Idea: each block learns what to add to its input, so that depth does not hurt training. The network is MONAI's ResNet
with one basic block a stage.
Differs from the paper: four narrow blocks, a 5x5 stem, no max pooling, trained from scratch on small inputs.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from dataclasses import dataclass

from monai.networks.nets.resnet import ResNet

from specialists.core.fit import FitConfig
from specialists.core.method import Classifier, Method

METHOD = Method(task="classification", title="small residual net", paper="https://arxiv.org/abs/1512.03385")


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the four stages."""

    labels: int = 2
    widths: tuple[int, ...] = (24, 48, 80, 128)
    """Channels of each stage."""


def tiny(labels: int = 2) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, widths=(8, 8, 16, 16))


def build(config: Config) -> Classifier:
    """Return the untrained net."""
    backbone = ResNet(block="basic", layers=[1, 1, 1, 1], block_inplanes=list(config.widths), spatial_dims=2,
                      n_input_channels=3, conv1_t_size=5, conv1_t_stride=2, no_max_pool=True, feed_forward=False)
    return Classifier(backbone, config.widths[-1], config.labels, config.dropout)
