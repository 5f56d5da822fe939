"""Images of every kind for triage, and drawn or broken ones that are of none.

What counts as "unknown" is made here, from random shapes and from spoiled images of the sets; the sets whose
licenses keep them out of what ships are never read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from specialists.core.inputs import to_square
from specialists.core.scope import UNKNOWN
from specialists.core.study import read_study
from specialists.datasets.kinds import KIND_OF, KINDS, WHITE_CELL
from specialists.datasets.layout import COPY_OF, Sample, copied, read_set

CAP = 300
"""Images of one set at most, and a kind gets about so many by varied copies if its sets have fewer."""
LABELS = (*KINDS, UNKNOWN)
KEPT = 0.992
"""Part of the validation images of known kinds within the scope."""
LAYOUT = ("X-ray", "CT", "MRI", "ultrasound", "fundus")
"""Kinds named with one of these have a layout: shuffled or enlarged they are no longer of the kind."""


def read(root: Path, size: int, split: str, seed: int = 0) -> tuple[list[Sample], np.ndarray]:
    """Return samples, labelled by kind, and pixels uint8 (N, size, size, 3) of one split."""
    random = np.random.default_rng([seed, len(split)])
    samples: list[Sample] = []
    pixels: list[np.ndarray] = []
    for name, kind in KIND_OF.items():
        chosen = read_set(root / name, (split,))
        chosen = [chosen[i] for i in random.permutation(len(chosen))[:CAP]]
        for sample in chosen:
            for place, image in enumerate(_images(sample, split)):
                samples.append(_as(sample, kind, place))
                pixels.append(to_square(image, size))
            for place, cell in enumerate(_cells(sample, split, random)):
                samples.append(_as(sample, WHITE_CELL, place))
                pixels.append(to_square(cell, size))
    if split == "train":
        _fill_up(samples, pixels, random)
    spoiled = list(_unknown(samples, pixels, len(samples) // 5, size, random))
    for place, image in enumerate(spoiled):
        samples.append(_drawn(place, split))
        pixels.append(image)
    return samples, np.stack(pixels)


def _images(sample: Sample, split: str) -> Iterator[Image.Image]:
    """Yield the picture, or several slices of a volume."""
    study = read_study(sample.path)
    if not study.volume:
        yield study.image()
        return
    for part in (0.5, 0.3, 0.4, 0.6, 0.7) if split == "train" else (0.5,):
        yield study.image(int(part * study.frames))


def _cells(sample: Sample, split: str, random: np.random.Generator) -> Iterator[Image.Image]:
    """Yield square cuts around the white blood cells of a smear, with a margin that varies; some stand alone."""
    boxes = [b["box"] for b in sample.record.get("boxes") or () if b["name"] == "white blood cell"]
    if not boxes or KIND_OF[sample.dataset] != "blood smear":
        return
    image = np.asarray(read_study(sample.path).image())
    edge = min(image.shape[:2]) // 2
    around = np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    for left, top, right, bottom in boxes:
        center = np.array([(left + right) / 2 * width, (top + bottom) / 2 * height])
        side = max((right - left) * width, (bottom - top) * height)
        for number in range(4 if split == "train" else 1):
            alone = number > 1
            half = side * random.uniform(1.2, 2.2 if alone else 1.7) / 2
            x, y = center + random.uniform(-0.1, 0.1, 2) * side + edge
            cut = around[max(0, int(y - half)):int(y + half), max(0, int(x - half)):int(x + half)]
            yield Image.fromarray(_alone(cut, side / (2 * half), random) if alone else cut)


def _alone(cut: np.ndarray, part: float, random: np.random.Generator) -> np.ndarray:
    """Return a cut with plain plasma around the cell, which fills `part` of its side, in a stain of its own.

    Stains are varied as Beer and Lambert say: what a channel lets pass is the light to the power of the dye.
    """
    pixels = cut.astype(np.float32) + 1
    by_light = pixels.reshape(-1, 3)[np.argsort(pixels.sum(axis=-1), axis=None)]
    passed = np.clip(pixels / np.median(by_light[-max(1, len(by_light) // 10):], axis=0), 0, 1.1)
    passed = passed ** random.uniform((0.6, 0.8, 0.8), (2.5, 3.0, 7.0))
    y, x = np.mgrid[-1:1:1j * cut.shape[0], -1:1:1j * cut.shape[1]]
    near = np.clip((1.08 * part - np.hypot(x, y)) / 0.1 + 0.5, 0, 1)[..., None]
    inside = near if random.random() < 0.7 else np.ones_like(near)
    light = np.array([255, 250, random.choice([110, 180, 245])]) * random.uniform(0.9, 1, 3)
    light = light * random.uniform(0.75, 1.05)
    mixed = light * (passed * inside + 1 - inside) + random.normal(0, 3, cut.shape)
    picture = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.012) * len(cut))))


def _fill_up(samples: list[Sample], pixels: list[np.ndarray], random: np.random.Generator) -> None:
    """Add copies of each kind in another window, gamma and stain, more of the rarer ones."""
    for kind in KINDS:
        own = [i for i, s in enumerate(samples) if s.label == kind]
        for number in range(max(len(own) // 3, CAP - len(own)) if own else 0):
            source = own[number % len(own)]
            samples.append(_as(samples[source], kind, 100 + number))
            pixels.append(relit(pixels[source], random))


def relit(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the image through another window, gamma and balance of colors."""
    low, high = random.uniform(0, 0.15), random.uniform(0.75, 1.1)
    values = np.clip((pixels / 255 - low) / (high - low), 0, 1) ** random.uniform(0.6, 1.6)
    gray = np.ptp(pixels.astype(int), axis=-1).max() < 12
    gain = 1.0 if gray else random.uniform(0.8, 1.1, 3)
    return (np.clip(values * gain, 0, 1) * 255).round().astype(np.uint8)


def _unknown(samples: list[Sample], pixels: list[np.ndarray], count: int, size: int,
             random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield drawn pictures, noise, mixtures, and shuffled or enlarged images whose kind has a layout."""
    laid_out = [i for i, s in enumerate(samples) if any(word in str(s.label) for word in LAYOUT)]
    bright = [i for i, image in enumerate(pixels) if image.mean() > 60]
    for number in range(count):
        way = number % 10
        first, second = random.choice(bright, 2)
        if way == 7:
            yield noise(size, random)
        elif way == 8 and samples[first].label != samples[second].label:
            yield (pixels[first] * 0.5 + pixels[second] * 0.5).astype(np.uint8)
        elif way == 9:
            spoil = _shuffled if random.random() < 0.5 else _enlarged
            yield spoil(pixels[random.choice(laid_out)], random)
        else:
            yield leaves(size, random)


def leaves(size: int, random: np.random.Generator) -> np.ndarray:
    """Return a picture of overlapping textured shapes, whose statistics are those of photographs.

    Textured dead leaves: Baradad et al., NeurIPS 2021, https://arxiv.org/abs/2106.05963
    """
    canvas = clouds(size, random)
    for _ in range(int(random.choice([1, 2, 4, 8, 16]))):
        stencil = Image.new("L", (size, size))
        pen = ImageDraw.Draw(stencil)
        middle, radius = random.uniform(0, size, 2), size * min(0.5, 0.02 / random.uniform(0.02, 1))
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 12))))
        reach = radius * random.uniform(0.5, 1.5, len(angles))
        corners = middle + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
        if random.random() < 0.5:
            pen.polygon([tuple(corner) for corner in corners], fill=255)
        else:
            pen.ellipse([*(middle - radius), *(middle + radius * random.uniform(0.3, 1.2, 2))], fill=255)
        edge = np.asarray(stencil.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.5))))[..., None] / 255
        canvas = canvas * (1 - edge) + clouds(size, random) * edge
    if random.random() < 0.35:
        canvas = np.repeat(canvas.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def clouds(size: int, random: np.random.Generator) -> np.ndarray:
    """Return a texture float (size, size, 3) of about 0..255 with a spectrum that falls as in photographs."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) + 1 / size
    spectrum = np.fft.rfft2(random.normal(size=(2, size, size))) / frequency ** random.uniform(0.5, 2.2)
    spectrum[:, 0, 0] = 0
    waves = np.fft.irfft2(spectrum, (size, size))
    waves /= waves.std(axis=(1, 2), keepdims=True)
    vivid, pale = random.uniform(0, 255, 3), random.uniform(20, 235) * random.uniform(0.6, 1, 3)
    color = vivid if random.random() < 0.5 else pale
    depth = random.uniform(0, 50)
    return color + depth * waves[0][..., None] + 0.3 * depth * waves[1][..., None] * random.normal(size=3)


def noise(size: int, random: np.random.Generator) -> np.ndarray:
    """Return noise of a random coarseness, gray or in colors, or one even color."""
    side = int(random.choice([1, 4, 8, 16, 48, size]))
    channels = int(random.choice([1, 3]))
    values = random.normal(random.uniform(60, 190), random.uniform(5, 80), (side, side, channels))
    coarse = Image.fromarray(np.broadcast_to(np.clip(values, 0, 255), (side, side, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling(int(random.choice([0, 2, 3])))))


def _shuffled(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    parts = int(random.integers(2, 5))
    side = len(pixels) // parts
    starts = range(0, parts * side, side)
    blocks = np.stack([pixels[y:y + side, x:x + side] for y in starts for x in starts])
    mixed = blocks[random.permutation(len(blocks))].reshape(parts, parts, side, side, 3)
    joined = np.ascontiguousarray(mixed.swapaxes(1, 2)).reshape(parts * side, parts * side, 3)
    return to_square(Image.fromarray(joined), len(pixels))


def _enlarged(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    side = int(len(pixels) * random.uniform(0.15, 0.3))
    y, x = random.integers(0, len(pixels) - side, 2)
    return to_square(Image.fromarray(pixels[y:y + side, x:x + side]), len(pixels))


def _as(sample: Sample, kind: str, place: int) -> Sample:
    base = copied(sample)
    return dataclasses.replace(sample, id=f"{base}#{kind}{place}", label=kind,
                               record={**sample.record, COPY_OF: base})


def _drawn(place: int, split: str) -> Sample:
    name = f"drawn/{split}{place}"
    return Sample(id=name, path=Path(), dataset="drawn", split=split, label=UNKNOWN, patient=None, group=name,
                  source="drawn by this project", license="Apache-2.0", tier="A")


def named(root: Path, ids: Iterable[str]) -> list[Sample]:
    """Return the samples that `read` gave, by their ids, without opening an image."""
    of = {s.id: s for name in KIND_OF for s in read_set(root / name, ("train", "val"))}
    found = []
    for name in ids:
        base, _, kind = name.rpartition("#")
        if base:
            found.append(dataclasses.replace(of[base], id=name, label=kind.rstrip("0123456789"),
                                             record={**of[base].record, COPY_OF: base}))
        else:
            place = name.removeprefix("drawn/")
            split = place.rstrip("0123456789")
            found.append(_drawn(int(place.removeprefix(split)), split))
    return found
