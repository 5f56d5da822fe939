"""The one training loop for methods whose step is "loss down"; it knows no method and no data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F


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
    flip_vertical: bool = False
    """Whether the kind of image has no upper side (skin, smears)."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if self.size < 16 or self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0:
            raise ValueError(f"size {self.size}, epochs {self.epochs}, batch {self.batch}, learning rate "
                             f"{self.learning_rate}: wanted size >= 16 and the others above 0.")


Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images (B, 3, H, W) in 0..1, targets) -> scalar."""


def fit(model: nn.Module, pixels: np.ndarray, targets: np.ndarray, loss: Loss, config: FitConfig,
        on_epoch: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train in place and return the model in evaluation mode.

    `pixels` is uint8 (N, H, W, 3); `targets` is (N,) class numbers, or (N, L, H, W) masks that move with the
    image. AdamW, one-cycle, bf16 autocast, gradient norm clipped at 1. Seed the model before building it.
    """
    generator = torch.Generator().manual_seed(config.seed)
    accelerator = Accelerator(mixed_precision="bf16", cpu=not torch.cuda.is_available())
    optimizer = torch.optim.AdamW(_groups(model, config), lr=config.learning_rate)
    steps = max(1, len(pixels) // config.batch)
    batch = min(config.batch, len(pixels))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps * config.epochs)
    model, optimizer = accelerator.prepare(model, optimizer)
    images, wanted = torch.from_numpy(pixels), torch.from_numpy(targets)
    for epoch in range(config.epochs):
        model.train()
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            chosen = order[step * batch:(step + 1) * batch]
            x = images[chosen].permute(0, 3, 1, 2).float().div(255)
            x, y = augment(x, wanted[chosen], config.flip_vertical, generator)
            value = loss(model, x.to(accelerator.device), y.to(accelerator.device))
            optimizer.zero_grad()
            accelerator.backward(value)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(value.detach())
        if on_epoch is not None:
            on_epoch(epoch, total / steps)
    return accelerator.unwrap_model(model, keep_fp32_wrapper=False).float().eval()


def augment(images: Tensor, targets: Tensor, flip_vertical: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move, turn (15 degrees), scale (15 %), mirror and relight images (B, 3, H, W); masks follow, numbers stay."""
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle, scale = uniform(-0.26, 0.26), uniform(0.87, 1.15)
    mirror = (uniform(0, 1) < 0.5).float() * -2 + 1
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


def _groups(model: nn.Module, config: FitConfig) -> list[dict[str, object]]:
    """Weights decay; biases and norms do not."""
    kept = [p for p in model.parameters() if p.requires_grad]
    return [{"params": [p for p in kept if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in kept if p.ndim <= 1], "weight_decay": 0.0}]
