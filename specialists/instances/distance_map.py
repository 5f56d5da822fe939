"""A U-Net that tells what is inside a nucleus and how deep, so that touching nuclei come apart.

Naylor et al., IEEE Transactions on Medical Imaging 2019, https://doi.org/10.1109/TMI.2018.2865709
Idea: beside the mask, the distance of each pixel to the border of its own nucleus is learned. It is low where two
touch, so that basins of the distance (a watershed) are single nuclei.
The network is MONAI's U-Net blocks on blocks of 2x2 pixels.
Differs from the paper: two outputs of one net, mask and distance; the distance is a part of the deepest one of its
nucleus, so that small and large nuclei look alike, and is learned by cross-entropy in place of the squared error.
Numbers: the cards in specialists/weights        Reproduce: consilium specialists train --zoo --data DIR
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.backbones import UShape
from specialists.core.fit import FitConfig
from specialists.core.mask_loss import mask_loss
from specialists.core.method import Method

METHOD = Method(task="instances", title="U-Net with a distance map",
                paper="https://doi.org/10.1109/TMI.2018.2865709")
BLOCK = 2
"""Side of the blocks of pixels that the network takes as one."""
DEPTH_WEIGHT = 2.0


@dataclass(frozen=True)
class Config(FitConfig):
    """Widths of the stages; what is looked for has one name."""

    size: int = 256
    labels: int = 1
    widths: tuple[int, ...] = (16, 24, 40, 64, 96)
    """Channels of the stages at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's side."""
    epochs: int = 16
    batch: int = 8
    dropout: float = 0.0
    flip_vertical: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes that the stages do not divide, and several labels."""
        super().__post_init__()
        step = BLOCK * 2 ** (len(self.widths) - 1)
        if self.size % step or self.labels != 1:
            raise ValueError(f"Got size {self.size} and {self.labels} labels; wanted a multiple of {step} and one.")


def tiny(labels: int = 1) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=64, epochs=2, batch=8, labels=labels, widths=(8, 12, 16))


class Net(nn.Module):
    """The stages down and up again, and a pixel's two outputs."""

    def __init__(self, config: Config) -> None:
        """Build the untrained net."""
        super().__init__()
        self.body = UShape(2, 3 * BLOCK**2, config.widths, config.dropout)
        self.head = nn.Conv2d(config.widths[0], 2 * BLOCK**2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 2, H, W) of images (B, 3, H, W) in 0..1: inside, and depth from border to center."""
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2, H, W) and features (B, D), the mean of the innermost stage."""
        x, features = self.body(F.pixel_unshuffle((images - 0.5) / 0.25, BLOCK))
        return F.pixel_shuffle(self.head(x), BLOCK), features


def build(config: Config) -> Net:
    """Return the untrained net."""
    return Net(config)


def loss(config: Config) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return a loss for `fit`, for targets (B, 2, H, W): numbers of nuclei, 0 for none, and depth in 255ths."""
    def measure(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        logits = model(images).float()
        inside, depth = (targets[:, :1] > 0).float(), targets[:, 1:].float() / 255
        depth_loss = F.binary_cross_entropy_with_logits(logits[:, 1:], depth)
        return mask_loss(logits[:, :1], inside) + DEPTH_WEIGHT * depth_loss
    return measure
