"""A plain residual net grades well when resolution, loss, sampling, augmentation and both eyes are chosen well.

Huang et al., Diagnostics 13(10):1664, 2023, https://arxiv.org/abs/2110.14160
Idea: the grade of diabetic retinopathy is one real number learned with the squared error, on the cropped field of the
fundus, with strong geometric augmentation and natural sampling; the features of both eyes are then fused by a small
net. The network is MONAI's ResNet. Every choice is a field of `Config`, so that an ablation is a configuration.
Differs from the paper: a narrow net from scratch at 160 px in place of ResNet-50 at 512 px, AdamW and a one-cycle
schedule in place of SGD; the crop leaves images without a dark border as they are; focal and kappa losses are not here.
Numbers: results/dr-recipe.json, cards in specialists/weights      Reproduce: python -m benchmarks.methods.dr_recipe
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.fit import FitConfig, affine
from specialists.core.method import Classifier, Method

METHOD = Method(task="grading", title="the recipe for grading diabetic retinopathy",
                paper="https://arxiv.org/abs/2110.14160")
LOSSES = ("mse", "mae", "ce", "soft")
AUGMENTATIONS = ("full", "usual", "none")
DARK = 40
"""A border whose blurred values (of 256) stay under this is background."""
BRIGHTER = 10
"""What is brighter than the background by more than this belongs to the field."""
TIGHT = 1 / 16
"""A crop that would take off less than this part of the longer side is not done: it was done before."""
NARROWEST = 0.5
"""A box narrower than this part of the image's shorter side is no field: the central square is taken."""


@dataclass(frozen=True)
class Config(FitConfig):
    """One field a choice of the recipe."""

    size: int = 160
    epochs: int = 30
    labels: int = 1
    """How many scales are graded: one."""
    grades: int = 5
    """Steps of the scale, the lowest is 0."""
    widths: tuple[int, ...] = (24, 48, 80, 128)
    """Channels of each stage."""
    loss: str = "mse"
    """"mse" or "mae" of one real output, "ce" over the grades, or "soft": neighbours of the grade get a share."""
    top: bool = False
    """For "ce" and "soft": whether the answer is the most probable grade instead of the mean grade."""
    augmentation: str = "full"
    """"full" as in the recipe, "usual" as for other methods, or "none"."""
    rotation: float = 180.0
    """Largest turn in degrees, either way; small where the kind of image has an upper side."""
    flip_vertical: bool = True
    translation: float = 0.2
    """Largest shift, as a part of the side."""
    light: float = 0.2
    """Largest relative change of brightness and of contrast."""

    def __post_init__(self) -> None:
        """Refuse choices that are not there."""
        super().__post_init__()
        if self.loss not in LOSSES or self.augmentation not in AUGMENTATIONS or self.grades < 2 or self.labels != 1:
            raise ValueError(f"Got loss {self.loss!r}, augmentation {self.augmentation!r}, {self.grades} grades of "
                             f"{self.labels} scales; wanted one of {', '.join(LOSSES)}, one of "
                             f"{', '.join(AUGMENTATIONS)}, 2 grades or more and one scale.")


def tiny(labels: int = 1) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, grades=3, widths=(8, 8, 16, 16))


def prepare(image: Image.Image) -> Image.Image:
    """Return the field of a fundus photograph without its black border; what has no such border stays as it is."""
    blurred = np.asarray(image.convert("RGB").filter(ImageFilter.BLUR), dtype=np.int16)
    edge = max(1, image.width // 32)
    background = np.concatenate([blurred[:, :edge], blurred[:, -edge:]], axis=1).max(axis=(0, 1))  # (3,)
    if background.max() >= DARK:
        return image
    field = (blurred > background + BRIGHTER).any(axis=2)
    columns, rows = np.flatnonzero(field.any(axis=0)), np.flatnonzero(field.any(axis=1))
    shorter = min(image.size)
    if not len(rows) or min(columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]) < NARROWEST * shorter:
        left, upper = (image.width - shorter) // 2, (image.height - shorter) // 2
        return image.crop((left, upper, left + shorter, upper + shorter))
    box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    loose = max(image.width - (box[2] - box[0]), image.height - (box[3] - box[1]))
    return image.crop(box) if loose > TIGHT * max(image.size) else image


class Net(Classifier):
    """The residual net; trains on one output or one a grade, and answers with one number either way."""

    def __init__(self, config: Config) -> None:
        """Build the untrained net; a real output starts at the middle of the scale."""
        backbone = ResNet(block="basic", layers=[1, 1, 1, 1], block_inplanes=list(config.widths), spatial_dims=2,
                          n_input_channels=3, conv1_t_size=5, conv1_t_stride=2, no_max_pool=True, feed_forward=False)
        real = config.loss in ("mse", "mae")
        super().__init__(backbone, config.widths[-1], 1 if real else config.grades, config.dropout)
        self.top = config.top
        if real:
            nn.init.constant_(self.head.bias, (config.grades - 1) / 2)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the real grade (B, 1), neither clipped nor rounded, and features (B, D)."""
        outputs, features = super().look(images)
        return self.grade(outputs), features

    def grade(self, outputs: Tensor) -> Tensor:
        """Return the real grade (B, 1) of what `forward` gives."""
        if outputs.shape[1] == 1:
            return outputs
        if self.top:
            return outputs.argmax(dim=1, keepdim=True).to(outputs.dtype)
        steps = torch.arange(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        return outputs.softmax(dim=1) @ steps[:, None]


def build(config: Config) -> Net:
    """Return the untrained net."""
    return Net(config)


def loss(config: Config) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return the loss that the configuration names, for targets (B,) or (B, 1): grades from 0."""
    def measure(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        outputs, grades = model(images).float(), targets.reshape(-1)
        if config.loss == "mse":
            return F.mse_loss(outputs[:, 0], grades.float())
        if config.loss == "mae":
            return F.l1_loss(outputs[:, 0], grades.float())
        if config.loss == "ce":
            return F.cross_entropy(outputs, grades.long(), label_smoothing=config.label_smoothing)
        steps = torch.arange(config.grades, device=outputs.device)
        shares = (-2.0 * (steps - grades[:, None].float()).abs()).softmax(dim=1)  # (B, grades)
        return F.cross_entropy(outputs, shares)
    return measure


def augment(images: Tensor, targets: Tensor, config: FitConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip, turn, crop to 0.87..1.15 of the area at a ratio of 0.7..1.3, shift and relight; grades stay."""
    chosen = config if isinstance(config, Config) else Config()
    if chosen.augmentation == "none":
        return images, targets
    if chosen.augmentation == "usual":
        return affine(images, targets, config, generator)
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    area, ratio = uniform(0.87, 1.15), torch.exp(uniform(math.log(0.7), math.log(1.3)))
    mirror = torch.where(uniform(0, 1) < 0.5 * chosen.mirror, -1.0, 1.0)
    upside = torch.where(uniform(0, 1) < 0.5 * chosen.flip_vertical, -1.0, 1.0)
    wide, high = (area * ratio).sqrt() * mirror, (area / ratio).sqrt() * upside
    angle = uniform(-1, 1) * math.radians(chosen.rotation)
    shift = 2 * chosen.translation  # of a grid that runs from -1 to 1
    theta = torch.stack([
        torch.stack([torch.cos(angle) * wide, -torch.sin(angle) * high, uniform(-shift, shift)], 1),
        torch.stack([torch.sin(angle) * wide, torch.cos(angle) * high, uniform(-shift, shift)], 1)], 1)  # (B, 2, 3)
    grid = F.affine_grid(theta, [count, 1, *images.shape[2:]], align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    contrast, brightness = (uniform(1 - chosen.light, 1 + chosen.light).view(-1, 1, 1, 1) for _ in range(2))
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    return (((moved - mean) * contrast + mean) * brightness).clamp(0, 1), targets


class PairHead(nn.Module):
    """The grade of one eye from the features of both: the eye in question first."""

    def __init__(self, width: int) -> None:
        """`width` is that of one eye's features; a multiple of 8."""
        super().__init__()
        self.first = nn.Linear(2 * width, width)
        self.second = nn.Linear(width // 2, width // 4)
        self.last = nn.Linear(width // 8, 1, bias=False)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Return grades (B, 1) of features (B, D) of the eye in question and of the other eye."""
        hidden = F.relu(F.max_pool1d(self.first(torch.cat([own, other], dim=1)), 2))
        return self.last(F.relu(F.max_pool1d(self.second(hidden), 2)))


def pairs(patients: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the eyes in question and of their other eyes: both orders of each patient with two images."""
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    own = [row for both in rows.values() if len(both) == 2 for row in both]
    other = [row for both in rows.values() if len(both) == 2 for row in both[::-1]]
    return np.array(own, dtype=np.int64), np.array(other, dtype=np.int64)


def fit_pair(own: Tensor, other: Tensor, grades: Tensor, epochs: int = 50, seed: int = 0) -> PairHead:
    """Train a PairHead on frozen features (N, D) of both eyes and grades (N,): SGD 0.02, batch 64, squared error."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    head = PairHead(own.shape[1])
    optimizer = torch.optim.SGD(head.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(own), generator=generator).split(64):
            value = F.mse_loss(head(own[chosen], other[chosen])[:, 0], grades[chosen].float())
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return head.eval()
