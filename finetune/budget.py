"""The memory that a run needs on each GPU, by formula from the checkpoint's config: an estimate, nothing is measured.

Weights, gradients and AdamW's two moments are counted exactly; activations after Korthikanti et al., 2022,
https://arxiv.org/abs/2205.05198 (34 bytes a token, layer and unit of width; recomputed ones 2). The libraries' own
buffers, about 1 GB on a GPU, come on top.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from finetune.config import Pace
from finetune.model import empty_net, part_of, stored_type

KEPT, RECOMPUTED = 34, 2
"""Bytes of activations a token, layer and unit of width."""
NF4 = 0.516
"""Bytes of a weight in 4 bits, its share of the doubly quantized scales included."""


@dataclass(frozen=True)
class Net:
    """Sizes of a checkpoint."""

    parts: dict[str, int]
    """Weights of each part of the net."""
    linear: dict[str, tuple[int, int]]
    """Of the linear layers of each part: their weights, and the sum of their inputs and outputs."""
    layers: int
    """Of the language model."""
    width: int
    stored: int
    """Bytes of a stored weight."""

    @property
    def weights(self) -> int:
        """Weights of the whole net."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Need:
    """Bytes on one GPU."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.activations


def net_of(path: Path) -> Net:
    """Return the sizes of a checkpoint; its weights are not read."""
    net = empty_net(path)
    parts: dict[str, int] = {}
    for name, weight in net.named_parameters():
        parts[part_of(name)] = parts.get(part_of(name), 0) + weight.numel()
    linear: dict[str, tuple[int, int]] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            count, ends = linear.get(part_of(name), (0, 0))
            linear[part_of(name)] = (count + module.weight.numel(), ends + module.in_features + module.out_features)
    text = net.config.get_text_config()
    return Net(parts, linear, text.num_hidden_layers, text.hidden_size, stored_type(path).itemsize)


def need(net: Net, recipe: str, pace: Pace, tokens: int, *, parts: tuple[str, ...] = ("language",),
         devices: int = 1) -> Need:
    """Return the bytes of a recipe ("lora", "qlora", "full") on each of `devices` GPUs, a batch `tokens` long.

    `parts` get LoRA matrices, or are trained by "full" (with all that is no part). ZeRO-2 spreads gradients and
    optimizer over the devices, ZeRO-3 weights, too; what is offloaded lies in the machine's memory instead.
    """
    zero = "" if devices == 1 or pace.deepspeed == "none" else "zero2" if recipe == "qlora" else pace.deepspeed
    in_four = net.linear.get("language", (0, 0))[0]
    if recipe == "full":
        trained = sum(count for part, count in net.parts.items() if part in (*parts, "other"))
        frozen, each = (net.weights - trained) * (2.0 if zero else 4.0), (4, 4, 8)
    else:
        trained = pace.rank * sum(net.linear.get(part, (0, 0))[1] for part in parts)
        frozen, each = net.weights * float(net.stored), (4, 4, 8)
        if recipe == "qlora":
            frozen, each = (net.weights - in_four) * 2 + in_four * NF4, (2, 2, 4)
    weights, gradients, moments = (2, 2, 12) if zero else each  # DeepSpeed keeps a copy in 32 bits with the moments
    layer = tokens * net.width * KEPT
    spread, whole = (devices if zero else 1), (devices if zero.startswith("zero3") else 1)
    return Need(weights=0 if zero == "zero3_offload" else (frozen + weights * trained) / whole,
                gradients=gradients * trained / spread,
                optimizer=0 if zero.endswith("offload") else moments * trained / spread,
                activations=tokens * net.width * RECOMPUTED * net.layers + layer if pace.checkpointing
                else layer * net.layers)


def machine() -> tuple[str, int]:
    """Return what there is: the first GPU and its bytes, or this machine's memory."""
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return found.name, found.total_memory
    return "this machine's memory", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
