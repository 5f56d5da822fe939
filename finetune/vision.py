"""Stage one: the generalist's vision tower learns kinds of image, labels and places, before it speaks.

Supervised, twice at once: a linear head over the mean visual token names the (set, label) pair, half of its target what
specialists that did not see the image believed; another over the patches says which named thing covers each. Both
heads are thrown away. Which images may be taught is `recipe.see`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLForConditionalGeneration

from finetune.nano import SIZE, grid, patches
from instruct_data.items import Item
from specialists.core.fit import FitConfig, Watch, augment, fit

LOG = logging.getLogger(__name__)
CELLS = 40
"""Side of the maps of named things, in cells."""
PATCHES = SIZE // 16
FEWEST = 20
"""Images on which a thing must be marked to be taught."""


@dataclass(frozen=True)
class VisionConfig(FitConfig):
    """Schedule of the vision stage."""

    size: int = SIZE
    epochs: int = 40
    batch: int = 64
    learning_rate: float = 1e-3
    label_smoothing: float = 0.0
    belief: float = 0.5
    """Part of a target that is the mean opinion of specialists that did not see the image."""
    places: float = 1.0
    """Weight of the loss over patches."""


@dataclass(frozen=True)
class Lessons:
    """What the tower learns of each image; rows stay aligned."""

    pairs: tuple[tuple[str, str], ...]
    """All (set, label)."""
    things: tuple[str, ...]
    """Names of things that are located."""
    pair: np.ndarray
    """int (N,), the image's own pair."""
    target: np.ndarray
    """float (N, pairs), summing to 1."""
    known: np.ndarray
    """bool (N, things): the thing is marked wherever it is, or marked here."""
    maps: np.ndarray
    """bool (N, things, CELLS, CELLS)."""

    def flat(self) -> np.ndarray:
        """Return one row an image, as `fit` takes it: target, pair, known, maps; float16."""
        parts = (self.target, self.pair[:, None], self.known, self.maps.reshape(len(self.maps), -1))
        return np.concatenate([part.astype(np.float16) for part in parts], 1)


def lessons(items: Sequence[Item], belief: float) -> Lessons:
    """Return what there is to learn of examined items; labels stand for diagnosis sets, else the kind of image."""
    own = [(i.sample.dataset, i.label if i.labels else i.kind) for i in items]
    pairs = tuple(sorted(set(own)))
    marked = [n for i in items for n in {r.name for r in i.regions}]
    things = tuple(sorted(n for n in set(marked) if marked.count(n) >= FEWEST)) or ("nothing",)
    pair = np.array([pairs.index(p) for p in own])
    target = np.eye(len(pairs), dtype=np.float32)[pair]
    known = np.zeros((len(items), len(things)), bool)
    maps = np.zeros((len(items), len(things), CELLS, CELLS), bool)
    for row, item in enumerate(items):
        if item.opinions and item.labels:
            target[row] = (1 - belief) * target[row] + belief * _believed(item, pairs)
        seen = {r.name for r in item.regions}
        for column, name in enumerate(things):
            known[row, column] = name in seen or name in item.marked
            if name in seen:
                maps[row, column] = _map(item, name)
    return Lessons(pairs, things, pair, target, known, maps)


def _believed(item: Item, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return the mean opinion as shares of all pairs."""
    shares = np.array([np.mean([o.probabilities.get(label, 0.0) for o in item.opinions])
                       if name == item.sample.dataset else 0.0 for name, label in pairs])
    return shares / max(shares.sum(), 1e-6)


def _map(item: Item, name: str) -> np.ndarray:
    """Return where the thing is, bool (CELLS, CELLS): by its mask where there is one, else by its boxes."""
    file = item.sample.mask_path(name)
    if file is not None and file.suffix == ".png" and file.is_file():
        with Image.open(file) as mask:
            return np.array(mask.convert("L").resize((CELLS, CELLS), Image.Resampling.BILINEAR)) > 100
    found = np.zeros((CELLS, CELLS), bool)
    for region in item.named(name):
        x1, y1, x2, y2 = (round(v * CELLS) for v in region.box)
        found[y1:max(y2, y1 + 1), x1:max(x2, x1 + 1)] = True
    return found


class Named(nn.Module):
    """The vision tower with a head over (set, label) pairs and one over the things on each patch."""

    def __init__(self, tower: nn.Module, width: int, inner: int, pairs: int, things: int) -> None:
        """`tower` is the `visual` part of a Qwen3-VL, `width` its output width, `inner` that of its patches."""
        super().__init__()
        self.tower = tower
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, pairs)
        levels = len(tower.deepstack_merger_list)  # type: ignore[arg-type]
        self.deep = nn.ModuleList(nn.Linear(width, pairs) for _ in range(levels))
        self.norm, self.there = nn.LayerNorm(inner), nn.Linear(inner, things)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of images (B, 3, 160, 160) in 0..1: (heads, B, pairs), one a level, and (B, things, 10, 10)."""
        out = self.tower(patches(images), grid_thw=grid(len(images)))
        levels = [out.pooler_output, *out.deepstack_features]
        named = torch.stack([h(self.dropout(x.view(len(images), -1, x.shape[-1]).mean(1)))
                             for h, x in zip([self.head, *self.deep], levels, strict=True)])
        half = PATCHES // 2  # patches come in blocks of two by two, as they are merged
        there = self.there(self.norm(out.last_hidden_state)).view(len(images), half, half, 2, 2, -1)
        return named, there.permute(0, 5, 1, 3, 2, 4).reshape(len(images), -1, PATCHES, PATCHES)


def teach(model: Qwen3VLForConditionalGeneration, pixels: np.ndarray, learned: Lessons, config: VisionConfig) -> Named:
    """Train `model.model.visual` in place on uint8 (N, 160, 160, 3); return it with its heads."""
    pairs, things = len(learned.pairs), len(learned.things)
    own = torch.tensor([[a == b for b, _ in learned.pairs] for a, _ in learned.pairs])  # (pairs, pairs): same set
    weight = torch.tensor(1 / np.sqrt(np.bincount(learned.pair, minlength=pairs)), dtype=torch.float32)
    weight = weight / weight[learned.pair].mean()

    def move(images: Tensor, rows: Tensor, settings: FitConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        told, maps = rows[:, :pairs + 1 + things].float(), rows[:, pairs + 1 + things:]
        images, maps = augment(images, maps.reshape(-1, things, CELLS, CELLS), settings.mirror, settings.flip_vertical,
                               generator)
        return images, torch.cat([told, F.adaptive_avg_pool2d(maps.float(), PATCHES).flatten(1)], 1)

    def loss(net: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
        named, there = (x.float() for x in net(images))
        target, pair, known, maps = rows.split([pairs, 1, things, things * PATCHES * PATCHES], 1)
        pair = pair[:, 0].long()
        among_all = -(target * named.log_softmax(-1)).sum(-1)  # (heads, B)
        inside = -(target * named.masked_fill(~own[pair], -30.0).log_softmax(-1)).sum(-1)
        placed = F.binary_cross_entropy_with_logits(there, maps.view_as(there), reduction="none").mean((2, 3))
        return (((among_all + inside) * weight[pair]).mean() / 2
                + config.places * (placed * known).sum() / known.sum().clamp(min=1))

    torch.manual_seed(config.seed)
    vision = model.config.vision_config
    net = Named(model.model.visual, vision.out_hidden_size, vision.hidden_size, pairs, things)
    fit(net, pixels, learned.flat(), loss, config, Watch(
        lambda epoch, value: LOG.info("vision: epoch %d of %d, loss %.3f", epoch + 1, config.epochs, value)), move)
    return net
