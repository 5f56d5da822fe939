"""U-Net, the baseline every other segmenter is compared with.

Ronneberger et al., MICCAI 2015, https://arxiv.org/abs/1505.04597
Idea: a path that halves the picture to see context, a path back up to see where, and bridges that carry
detail across. The network is MONAI's BasicUNet.
Differs from the paper: padded convolutions, batch norm, narrow stages; blocks of 2x2 pixels are taken as one
(Shi et al., https://arxiv.org/abs/1609.05158), a quarter of the cost; Dice and cross-entropy in place of
weighted cross-entropy; images without the structure have empty masks, so that "not present" is an answer.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.fit import FitConfig
from specialists.core.mask_loss import mask_loss
from specialists.core.method import Method

METHOD = Method(task="segmentation", title="U-Net", paper="https://arxiv.org/abs/1505.04597")
BLOCK = 2
"""Side of the blocks of pixels that the network takes as one."""


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the stages, and how many structures are drawn."""

    labels: int = 1
    widths: tuple[int, ...] = (16, 32, 48, 72, 96, 16)
    """Channels of the five stages on the way down, and of the last one on the way up."""
    epochs: int = 40
    dropout: float = 0.1


def tiny(labels: int = 1) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, widths=(4, 4, 8, 8, 16, 4))


class Net(nn.Module):
    """MONAI's U-Net with its innermost features in reach."""

    def __init__(self, config: Config) -> None:
        """Build the untrained net."""
        super().__init__()
        self.unet = BasicUNet(spatial_dims=2, in_channels=3 * BLOCK**2, out_channels=config.labels * BLOCK**2,
                              features=config.widths, act="relu", norm="batch", dropout=config.dropout,
                              upsample="nontrainable")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, labels, H, W) of images (B, 3, H, W) in 0..1; H and W are multiples of 32."""
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, labels, H, W) and features (B, D), the mean of the innermost stage."""
        x0, x1, x2, x3, x = self._down(images)
        features = x.mean(dim=(2, 3))
        for up, bridge in ((self.unet.upcat_4, x3), (self.unet.upcat_3, x2), (self.unet.upcat_2, x1),
                           (self.unet.upcat_1, x0)):
            x = up(x, bridge)
        return F.pixel_shuffle(self.unet.final_conv(x), BLOCK), features

    def _down(self, images: Tensor) -> list[Tensor]:
        stages = [self.unet.conv_0(F.pixel_unshuffle((images - 0.5) / 0.25, BLOCK))]
        for down in (self.unet.down_1, self.unet.down_2, self.unet.down_3, self.unet.down_4):
            stages.append(down(stages[-1]))
        return stages


def build(config: Config) -> Net:
    """Return the untrained net."""
    return Net(config)


def loss(config: Config) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return a loss for `fit`: cross-entropy, and Dice over the batch so that empty masks do not rule."""
    return lambda model, images, targets: mask_loss(model(images), targets)
