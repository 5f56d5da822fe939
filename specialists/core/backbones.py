"""Parts of networks that several methods share; what a method's idea is stands in its own file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from torch import Tensor, nn


class UShape(nn.Module):
    """MONAI's U-Net blocks for any number of stages, with the innermost features in reach.

    Ronneberger et al., MICCAI 2015, https://arxiv.org/abs/1505.04597; Cicek et al., MICCAI 2016,
    https://arxiv.org/abs/1606.06650 for volumes.
    """

    def __init__(self, dims: int, before: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        """Take 2 or 3 dimensions, the channels that come in, and those of each stage from the finest on."""
        super().__init__()
        plain = {"act": "relu", "norm": "batch", "bias": False, "dropout": dropout}
        self.entry = TwoConv(dims, before, widths[0], **plain)
        self.down = nn.ModuleList([Down(dims, fine, coarse, **plain) for fine, coarse in pairwise(widths)])
        self.up = nn.ModuleList([UpCat(dims, coarse, fine, fine, upsample="nontrainable", **plain)
                                 for fine, coarse in reversed(list(pairwise(widths)))])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, widths[0], ...) on the grid of x (B, before, ...), and (B, widths[-1]): the innermost mean."""
        x, bridges = self.entry(x), []
        for down in self.down:
            bridges.append(x)
            x = down(x)
        features = x.flatten(2).mean(dim=2)
        for up, bridge in zip(self.up, reversed(bridges), strict=True):
            x = up(x, bridge)
        return x, features
