"""The one training loop for methods whose step is "loss down"; it knows no method and no data set."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.precision import mixed_precision

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitConfig:
    """What every trained method shares."""

    size: int = 128
    """Side of the square an image is resized to, in pixels."""
    epochs: int = 36
    batch: int = 32
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    dropout: float = 0.2
    mirror: bool = True
    """Whether left and right may be exchanged; also whether the mirror image is averaged in when it answers."""
    flip_vertical: bool = False
    """Whether the kind of image has no upper side (skin, smears)."""
    balanced: bool = False
    """Whether an epoch draws every class equally often, with replacement; targets are then class numbers (N,)."""
    start: str = ""
    """Name of a trained specialist of the same shape whose weights below the head this net begins from."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.size < 16 or self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0:
            raise ValueError(f"size {self.size}, epochs {self.epochs}, batch {self.batch}, learning rate "
                             f"{self.learning_rate}: wanted size >= 16 and the others above 0.")


Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images (B, 3, H, W) in 0..1, targets) -> scalar."""
Augment = Callable[[Tensor, Tensor, FitConfig, torch.Generator], tuple[Tensor, Tensor]]
"""(images (B, 3, H, W) in 0..1, targets, config, generator) -> images and the targets that follow them."""


@dataclass(frozen=True)
class Watch:
    """Who hears of each epoch, and where a killed training is taken up again."""

    on_epoch: Callable[[int, float], None] | None = None
    """(epoch, mean loss) after each epoch."""
    checkpoint: Path | None = None
    """File written after each epoch and left in its last state: a finished fit is read back, not repeated. Whoever
    names the file removes it once what came of the fit is kept elsewhere."""


def affine(images: Tensor, targets: Tensor, config: FitConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment as most methods do; a method file may define an `augment` of its own in its place."""
    return augment(images, targets, config.mirror, config.flip_vertical, generator)


def fit(model: nn.Module, pixels: np.ndarray, targets: np.ndarray, loss: Loss, config: FitConfig,
        watch: Watch = Watch(), move: Augment = affine) -> nn.Module:  # noqa: B008 - frozen
    """Train in place and return the model in evaluation mode.

    `pixels` is uint8 (N, ..., C), the channels last; `targets` is (N,) class numbers, or (N, L, H, W) masks that
    move with the image, or what the method's own `move` and `loss` take. AdamW, one-cycle, bf16 autocast where this
    machine is fast at it, gradient norm clipped at 1. Seed the model before building it. A training resumed from
    `watch.checkpoint` ends with the same weights as one that was never stopped.
    """
    generator = torch.Generator().manual_seed(config.seed)
    accelerator = Accelerator(mixed_precision=mixed_precision(), cpu=not torch.cuda.is_available())
    optimizer = torch.optim.AdamW(_groups(model, config), lr=config.learning_rate)
    steps = max(1, len(pixels) // config.batch)
    batch = min(config.batch, len(pixels))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps * config.epochs)
    flat = pixels.ndim == 4 and all(p.ndim < 5 for p in model.parameters())
    layout = torch.channels_last if flat else torch.contiguous_format
    model, optimizer = accelerator.prepare(model.to(memory_format=layout), optimizer)  # type: ignore[call-overload]
    images, wanted = torch.from_numpy(pixels), torch.from_numpy(targets)
    state = _State(model, optimizer, schedule, generator)
    task = None if watch.checkpoint is None else _fingerprint(model, pixels, targets, config)
    for epoch in range(_resumed(watch.checkpoint, state, task), config.epochs):
        model.train()
        total = 0.0
        order = _order(wanted, config.balanced, generator)
        for step in range(steps):
            chosen = order[step * batch:(step + 1) * batch]
            x = images[chosen].movedim(-1, 1).float().div(255)
            x, y = move(x, wanted[chosen], config, generator)
            x = x.to(accelerator.device, memory_format=layout)
            value = loss(model, x, y.to(accelerator.device))
            optimizer.zero_grad()
            accelerator.backward(value)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(value.detach())
        if watch.checkpoint is not None:
            _store(watch.checkpoint, {"task": task, "epochs": epoch + 1, **state.read()})
        if watch.on_epoch is not None:
            watch.on_epoch(epoch, total / steps)
    net: Any = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return net.float().eval().to(memory_format=torch.contiguous_format)


def augment(images: Tensor, targets: Tensor, mirrored: bool, flip_vertical: bool,
            generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move, turn (15 degrees), scale (15 %), mirror and relight images (B, 3, H, W); masks follow, numbers stay."""
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle, scale = uniform(-0.26, 0.26), uniform(0.87, 1.15)
    mirror = (uniform(0, 1) < 0.5).float() * -2 + 1 if mirrored else torch.ones(count)
    upside = (uniform(0, 1) < 0.5).float() * -2 + 1 if flip_vertical else torch.ones(count)
    theta = torch.stack([
        torch.stack([torch.cos(angle) / scale * mirror, -torch.sin(angle) / scale * upside, uniform(-0.12, 0.12)], 1),
        torch.stack([torch.sin(angle) / scale * mirror, torch.cos(angle) / scale * upside, uniform(-0.12, 0.12)], 1),
    ], 1)  # (B, 2, 3)
    grid = F.affine_grid(theta, [count, 1, *images.shape[2:]], align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast, light = uniform(0.8, 1.2).view(-1, 1, 1, 1), uniform(-0.1, 0.1).view(-1, 1, 1, 1)
    moved = ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1)
    if targets.ndim == 4:
        targets = F.grid_sample(targets.float(), grid, mode="nearest", align_corners=False)
    return moved, targets


@dataclass(frozen=True)
class _State:
    """All that the next epoch depends on."""

    model: nn.Module
    optimizer: Any
    schedule: Any
    generator: torch.Generator

    def read(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "generator": self.generator.get_state(),
                "torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def write(self, stored: dict[str, Any]) -> None:
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.schedule.load_state_dict(stored["schedule"])
        self.generator.set_state(stored["generator"])
        torch.set_rng_state(stored["torch"])
        torch.cuda.set_rng_state_all(stored["cuda"])


def _resumed(path: Path | None, state: _State, task: str | None) -> int:
    """Take up the state stored for the same task; return how many epochs are done."""
    if path is None or not path.is_file():
        return 0
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        LOG.warning("%s cannot be read (%s): training starts anew.", path.name, type(error).__name__)
        return 0
    if stored.get("task") != task:
        LOG.warning("%s is of another training: this one starts anew.", path.name)
        return 0
    state.write(stored)
    return int(stored["epochs"])


def _store(path: Path, stored: dict[str, Any]) -> None:
    """Write whole or not at all: a kill in the middle leaves the file before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    torch.save(stored, part)
    os.replace(part, path)


def _fingerprint(model: nn.Module, pixels: np.ndarray, targets: np.ndarray, config: FitConfig) -> str:
    """Return what tells one training from another: data, configuration and the untrained weights."""
    found = hashlib.sha256(f"{config!r} {pixels.shape} {targets.shape}".encode())
    for array in (pixels, targets, *(value.detach().cpu().numpy() for value in model.state_dict().values())):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _order(targets: Tensor, balanced: bool, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch: each once, or as many drawn so that each class is as likely."""
    if not balanced:
        return torch.randperm(len(targets), generator=generator)
    classes = targets.reshape(-1).long()
    shares = 1 / torch.bincount(classes).double()[classes]
    return torch.multinomial(shares, len(classes), replacement=True, generator=generator)


def _groups(model: nn.Module, config: FitConfig) -> list[dict[str, object]]:
    """Weights decay; biases and norms do not."""
    kept = [p for p in model.parameters() if p.requires_grad]
    return [{"params": [p for p in kept if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in kept if p.ndim <= 1], "weight_decay": 0.0}]
