"""One annotated case is enough: its lesions, pasted into normal images, teach what is abnormal.

Huang et al., AugPaste, LNCS 13576, 2022, https://arxiv.org/abs/2203.06354
Idea: the lesions of one image are cut out, altered and blended into normal images at random places, mostly the mildest
kind; a plain classifier of normal against pasted then finds true lesions. Each pasted image comes with kind, count,
place and mask, so that it teaches where as well.
Differs from the paper: a small net with a global maximum from scratch in place of VGG-16; several pastes of each normal
image; places lie in what is not black; half of the negatives carry normal tissue pasted the same way, so that the
edge of a paste tells nothing. Differs from the official code: it blends at 0.9, where the code pastes hard.
Numbers: results/lesion-paste.json        Reproduce: python -m benchmarks.methods.lesion_paste
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.core.fit import FitConfig
from specialists.core.method import Classifier, Method

METHOD = Method(task="anomaly", title="lesions of one case pasted into normal images",
                paper="https://arxiv.org/abs/2203.06354")
JOINS = (80, 90, 95)
"""The second, third and fourth kind of lesion are pasted too where a draw of 0..100 is above these."""
SOLID = 180
"""What a turned or resized mask (0..255) must reach to stay, so that no blurred border is pasted."""
BLACK = 12
"""What is not brighter than this (of 256) in any color lies outside the field of view."""
MARGIN = 0.04
"""Centers keep this part of the side away from the border of the field."""


@dataclass(frozen=True)
class Config(FitConfig):
    """How lesions are pasted, and the net that tells pasted from normal."""

    labels: int = 1
    """One: how abnormal."""
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Channels of each stage."""
    donor: str = ""
    """Id of the one annotated image; empty for the first training image that has a mask."""
    canvas: int = 256
    """Side of the images while lesions are pasted; they shrink to `size` after it."""
    copies: int = 4
    """Pasted images made of each normal image, and as many negatives."""
    blend: float = 0.9
    """Share of the lesion in what is seen inside its mask; 1 pastes hard."""
    negatives: float = 0.5
    """Share of the negatives that carry pasted normal tissue."""
    content: str = "lesion"
    """"lesion", or "normal" to paste random normal tissue as the positives: the control."""

    def __post_init__(self) -> None:
        """Refuse what cannot be pasted."""
        super().__post_init__()
        if not 0 <= self.blend <= 1 or not 0 <= self.negatives <= 1 or self.content not in ("lesion", "normal"):
            raise ValueError(f"Got blend {self.blend}, negatives {self.negatives}, content {self.content!r}; wanted "
                             "shares of 0..1 and \"lesion\" or \"normal\".")


def tiny(labels: int = 1) -> Config:
    """Return a configuration that trains in seconds."""
    return Config(size=32, epochs=2, batch=8, labels=labels, widths=(8, 16, 24), canvas=64, copies=1)


def build(config: Config) -> Classifier:
    """Return the untrained net; the global maximum lets one small lesion decide."""
    layers: list[nn.Module] = []
    before = 3
    for width in config.widths:
        layers += [nn.Conv2d(before, width, 3, 1 if before == 3 else 2, 1, bias=False), nn.BatchNorm2d(width),
                   nn.ReLU()]
        before = width
    return Classifier(nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()), before, config.labels,
                      config.dropout)


def loss(config: Config) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Return a loss for `fit`: cross-entropy of normal (0) against abnormal (1), targets (B,)."""
    def measure(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.reshape(-1, 1).float()
        soft = wanted * (1 - config.label_smoothing) + config.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(model(images).float(), soft)
    return measure


def augment(images: Tensor, targets: Tensor, config: FitConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip and relight; nothing is turned or scaled, because that would smear lesions of a pixel or two."""
    def drawn() -> Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=generator)
    for wanted, axis in ((config.mirror, -1), (config.flip_vertical, -2)):
        if wanted:
            images = torch.where(drawn() < 0.5, images.flip(axis), images)
    contrast, light = 0.9 + 0.2 * drawn(), 0.1 * drawn() - 0.05
    return ((images - 0.5) * contrast + 0.5 + light).clamp(0, 1), targets


@dataclass(frozen=True, eq=False)
class Patch:
    """One lesion, cut out: its pixels uint8 (h, w, 3) and its mask, boolean (h, w)."""

    pixels: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Pasted:
    """A synthetic image with what was pasted into it."""

    pixels: np.ndarray
    """uint8 (H, W, 3)."""
    masks: dict[str, np.ndarray]
    """Boolean (H, W) of each kind."""
    places: dict[str, list[tuple[int, int]]]
    """Row and column of the center of each lesion, by kind; their number is the count."""


@dataclass(frozen=True, eq=False)
class Field:
    """What of an image is not black, and where the middle of a lesion may lie."""

    mask: np.ndarray
    """Boolean (H, W)."""
    rows: np.ndarray
    columns: np.ndarray

    def place(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return a random row and column well within."""
        chosen = int(rng.integers(len(self.rows)))
        return int(self.rows[chosen]), int(self.columns[chosen])


Bank = Mapping[str, Sequence[Patch]]
"""Patches by kind of lesion, the mildest kind first."""


def lesion_bank(image: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, list[Patch]]:
    """Cut the connected parts of the masks (H, W) out of an image uint8 (H, W, 3); raises ValueError without any."""
    bank: dict[str, list[Patch]] = {}
    for name, mask in masks.items():
        parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))  # type: ignore[misc]
        for number, place in enumerate(ndimage.find_objects(parts), start=1):
            bank.setdefault(name, []).append(Patch(image[place].copy(), parts[place] == number))
    if not bank:
        raise ValueError("Got a donor without any lesion in its masks; wanted one annotated image.")
    return bank


def normal_bank(image: np.ndarray, bank: Bank, field: Field, rng: np.random.Generator) -> dict[str, list[Patch]]:
    """Return a bank of the same shapes with tissue from random places of a normal image (H, W, 3)."""
    def cut(shape: np.ndarray) -> Patch:
        height, width = (min(a, b) for a, b in zip(shape.shape, image.shape, strict=False))
        row, column = field.place(rng)
        top = int(np.clip(row - height // 2, 0, image.shape[0] - height))
        left = int(np.clip(column - width // 2, 0, image.shape[1] - width))
        return Patch(image[top:top + height, left:left + width].copy(), shape[:height, :width])
    return {name: [cut(patch.mask) for patch in patches] for name, patches in bank.items()}


def severity(kinds: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw which kinds are pasted: the first always, the others in one of five images."""
    draw = int(rng.integers(0, 101))
    return [name for name, join in zip(kinds, (-1, *JOINS), strict=False) if draw > join]


def paste(image: np.ndarray, bank: Bank, field: Field, blend: float, rng: np.random.Generator) -> Pasted:
    """Blend lesions of a bank into an image uint8 (H, W, 3): as many as up to 1.5 times those of the donor."""
    canvas, free = image.astype(np.float32), field.mask
    masks: dict[str, np.ndarray] = {}
    places: dict[str, list[tuple[int, int]]] = {}
    for rank, name in enumerate(severity(list(bank), rng)):
        most = max(1, int(1.5 * len(bank[name])))
        for _ in range(int(rng.integers(min(most, 1 if rank else 3), most + 1))):
            patch = altered(bank[name][int(rng.integers(len(bank[name])))], rng)
            center = field.place(rng)
            where, inside = _fitted(patch.mask, center, free)
            shown = patch.mask[inside] & free[where]
            canvas[where][shown] = blend * patch.pixels[inside][shown] + (1 - blend) * canvas[where][shown]
            masks.setdefault(name, np.zeros_like(free))[where] |= shown
            places.setdefault(name, []).append(center)
    return Pasted(canvas.round().astype(np.uint8), masks, places)


def altered(patch: Patch, rng: np.random.Generator) -> Patch:
    """Return the patch scaled to 0.5..1 a side, flipped, turned by up to 45 degrees and with other colors."""
    size = tuple(max(1, round(side * rng.uniform(0.5, 1))) for side in patch.mask.shape[::-1])
    flips = [flip for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM) if rng.random() < 0.5]
    angle = rng.uniform(-45, 45)

    def moved(picture: Image.Image) -> Image.Image:
        picture = picture.resize(size, Image.Resampling.BILINEAR)  # type: ignore[arg-type]
        for flip in flips:
            picture = picture.transpose(flip)
        return picture
    pixels, mask = moved(Image.fromarray(patch.pixels)), moved(Image.fromarray(patch.mask.astype(np.uint8) * 255))
    turned = mask.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    if np.asarray(turned).max() >= SOLID:  # a spot of a pixel or two is lost by turning: it stays as it is
        mask, pixels = turned, pixels.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    solid = np.asarray(mask)
    return Patch(_recolored(pixels, rng), solid >= min(SOLID, int(solid.max())))


def synthesize(normals: np.ndarray, bank: Bank, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make the training table of normals uint8 (N, canvas, canvas, 3) and a lesion bank.

    Returns pixels uint8 (M, size, size, 3), targets int64 (M,), 1 where a lesion was pasted, and the row of the
    normal image behind each, (M,). The same seed gives the same table.
    """
    pixels, targets, rows = [], [], []
    for row, image in enumerate(normals):
        field = field_of(image)
        for copy in range(config.copies):
            rng = np.random.default_rng((config.seed, row, copy))
            own = normal_bank(image, bank, field, rng)
            positive = paste(image, bank if config.content == "lesion" else own, field, config.blend, rng).pixels
            pasted = rng.random() < config.negatives
            negative = paste(image, own, field, config.blend, rng).pixels if pasted else image
            pixels += [_shrunk(positive, config.size), _shrunk(negative, config.size)]
            targets += [1, 0]
            rows += [row, row]
    return np.stack(pixels), np.array(targets), np.array(rows)


def field_of(image: np.ndarray) -> Field:
    """Return the field of view of an image (H, W, 3); all of an image without anything brighter than black."""
    bright = image.max(axis=2) > BLACK
    mask = np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(bright, np.ones((3, 3)))))
    mask = mask if mask.any() else np.ones(image.shape[:2], dtype=bool)
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    inner = depth > MARGIN * len(mask)
    return Field(mask, *np.nonzero(inner if inner.any() else mask))


def _fitted(mask: np.ndarray, center: tuple[int, int],
            field: np.ndarray) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a patch lies in the image, and which part of it lies within."""
    where, inside = [], []
    for middle, length, side in zip(center, mask.shape, field.shape, strict=True):
        start = middle - length // 2
        first, last = max(0, start), min(side, start + length)
        where.append(slice(first, last))
        inside.append(slice(first - start, last - start))
    return (where[0], where[1]), (inside[0], inside[1])


def _recolored(picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (h, w, 3) with another gamma a channel, brightness, hue and saturation."""
    hsv = np.asarray(picture.convert("HSV"), dtype=np.int16)
    hue, saturation = rng.integers(-10, 11, 2)
    hsv = np.stack([(hsv[..., 0] + hue) % 256, (hsv[..., 1] + saturation * (hsv[..., 1] > 0)).clip(0, 255),
                    hsv[..., 2]], axis=2)
    rgb = np.asarray(Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB"), dtype=np.float32)
    gamma = 255 * (rgb / 255) ** rng.uniform(0.9, 1.1, 3)
    return (gamma * rng.uniform(0.9, 1.1) + rng.uniform(-10, 10)).clip(0, 255).astype(np.uint8)


def _shrunk(pixels: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
