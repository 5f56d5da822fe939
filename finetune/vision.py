"""Stage one: the generalist's vision tower learns what kinds of image and which labels there are, before it speaks.

Supervised: a linear head over the mean visual token names the (set, label) pair. The head is thrown away. Which
images may be taught is `recipe.see`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLForConditionalGeneration

from finetune.nano import SIZE, grid, patches
from specialists.core.fit import FitConfig, Watch, fit

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VisionConfig(FitConfig):
    """Schedule of the vision stage."""

    size: int = SIZE
    epochs: int = 36
    batch: int = 64
    learning_rate: float = 1e-3
    label_smoothing: float = 0.1


class Named(nn.Module):
    """The vision tower with a head over (set, label) pairs."""

    def __init__(self, tower: nn.Module, width: int, pairs: int) -> None:
        """`tower` is the `visual` part of a Qwen3-VL; `width` its output width."""
        super().__init__()
        self.tower = tower
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, pairs)
        levels = len(tower.deepstack_merger_list)  # type: ignore[arg-type]
        self.deep = nn.ModuleList(nn.Linear(width, pairs) for _ in range(levels))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (heads, B, pairs) of images (B, 3, 160, 160) in 0..1; a head for each deepstack level too."""
        out = self.tower(patches(images), grid_thw=grid(len(images)))
        levels = [out.pooler_output, *out.deepstack_features]
        heads = [self.head, *self.deep]
        return torch.stack([h(self.dropout(x.view(len(images), -1, x.shape[-1]).mean(1)))
                            for h, x in zip(heads, levels, strict=True)])


def teach(model: Qwen3VLForConditionalGeneration, pixels: np.ndarray, pairs: Sequence[tuple[str, str]],
          config: VisionConfig) -> dict[str, int]:
    """Train `model.model.visual` in place on uint8 (N, 160, 160, 3); `pairs` is (set, label) of each image.

    Returns the number of images of each set.
    """
    names = sorted(set(pairs))
    targets = np.array([names.index(p) for p in pairs])
    sets = sorted({name for name, _ in names})
    own = torch.tensor([[a == b for b, _ in names] for a, _ in names])  # (pairs, pairs): same set
    weight = torch.tensor(1 / np.sqrt(np.bincount(targets, minlength=len(names))), dtype=torch.float32)
    weight = weight / weight[targets].mean()

    def loss(net: nn.Module, images: Tensor, wanted: Tensor) -> Tensor:
        logits = net(images).float()  # (heads, B, pairs)
        inside = logits.masked_fill(~own[wanted], -30.0)
        terms = [F.cross_entropy(level, wanted, weight, label_smoothing=config.label_smoothing) for level in logits]
        terms += [F.cross_entropy(level, wanted, weight) for level in inside]
        return torch.stack(terms).mean()

    torch.manual_seed(config.seed)
    net = Named(model.model.visual, model.config.text_config.hidden_size, len(names))
    fit(net, pixels, targets, loss, config,
        Watch(lambda epoch, value: LOG.info("vision: epoch %d of %d, loss %.3f", epoch + 1, config.epochs, value)))
    return {name: sum(p[0] == name for p in pairs) for name in sets}
