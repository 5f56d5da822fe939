"""What a specialist answers: one type a task, each able to say itself in words, as JSON and as an overlay.

Decides nothing: whether a finding is trusted is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from specialists.core import rle

COLORS = ((230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 155, 127), (132, 145, 180), (126, 97, 72))
SMALLEST_PART = 0.01
"""A connected part under this fraction of its label's area gets no box."""


@dataclass(frozen=True)
class Box:
    """A labelled rectangle: left, top, right, bottom (the last two exclusive) in pixels of the original."""

    label: str
    xyxy: tuple[float, float, float, float]
    score: float | None = None

    def json(self) -> dict[str, Any]:
        """Return label, corners and, if known, the score."""
        out: dict[str, Any] = {"label": self.label, "xyxy": [float(v) for v in self.xyxy]}
        return out if self.score is None else {**out, "score": float(self.score)}


@dataclass(frozen=True)
class Classification:
    """Probabilities (they sum to 1) over the labels of a specialist's card, in the card's order."""

    specialist: str
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable label; the first of equals."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Probability of `label`."""
        return self.probabilities[self.label]

    def words(self, most: int = 3) -> str:
        """Say the most probable labels."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])[:most]
        return f"{self.specialist}: " + ", ".join(f"{label} {percent(p)}" for label, p in ranked)

    def json(self) -> dict[str, Any]:
        """Return label, its probability and all probabilities."""
        return {"type": "classification", "specialist": self.specialist, "label": self.label,
                "probability": self.probability, "probabilities": dict(self.probabilities)}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image as it is: there is nothing to draw."""
        return image.convert("RGB")


@dataclass(frozen=True, eq=False)
class Masks:
    """Boolean masks (H, W) in pixels of the original image, by label."""

    specialist: str
    masks: dict[str, np.ndarray]
    spacing_mm: tuple[float, float] | None = None
    """Row and column spacing of the image, None when the file does not tell."""
    absent: tuple[str, ...] = ()
    """Labels that were looked for and not found."""

    def boxes(self) -> tuple[Box, ...]:
        """Return a box for each connected part, largest first within a label."""
        return tuple(box for label, mask in self.masks.items() for box in _parts(label, mask))

    def area_mm2(self, label: str) -> float | None:
        """Return the area of a label in square millimetres, None without spacing."""
        if self.spacing_mm is None:
            return None
        return float(self.masks[label].sum()) * self.spacing_mm[-2] * self.spacing_mm[-1]

    def words(self) -> str:
        """Say where each label is and how large; and what was not found."""
        said = []
        for label, mask in self.masks.items():
            places = " and ".join(_corners(box) for box in _parts(label, mask)[:3])
            area = self.area_mm2(label)
            size = "size in mm unknown" if area is None else f"{area:.0f} mm²"
            said.append(f"{label} at {places} (pixels), {percent(float(mask.mean()))} of the image, {size}")
        if self.absent:
            said.append("not found: " + ", ".join(self.absent))
        return f"{self.specialist}: " + ("; ".join(said) or "nothing found")

    def json(self) -> dict[str, Any]:
        """Return the masks as COCO run lengths with their area in mm² or "unknown", and the boxes."""
        masks = []
        for label, mask in self.masks.items():
            area = self.area_mm2(label)
            masks.append({"label": label, "rle": rle.encode(mask), "area_fraction": float(mask.mean()),
                          "area_mm2": "unknown" if area is None else area})
        return {"type": "masks", "specialist": self.specialist, "masks": masks, "absent": list(self.absent),
                "boxes": [box.json() for box in self.boxes()]}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image with every mask tinted in a color of its own."""
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32).copy()
        for place, mask in enumerate(self.masks.values()):
            color = np.asarray(COLORS[place % len(COLORS)], dtype=np.float32)
            pixels[mask] = 0.55 * pixels[mask] + 0.45 * color
            edge = mask & ~ndimage.binary_erosion(mask)
            pixels[edge] = color
        return Image.fromarray(pixels.round().astype(np.uint8))


@dataclass(frozen=True)
class Boxes:
    """Labelled rectangles of a detector."""

    specialist: str
    boxes: tuple[Box, ...]

    def words(self) -> str:
        """Say each box with its label and score."""
        if not self.boxes:
            return f"{self.specialist}: nothing found"
        said = []
        for box in self.boxes:
            score = "" if box.score is None else f", {percent(box.score)}"
            said.append(f"{box.label} at {_corners(box)} (pixels){score}")
        return f"{self.specialist}: " + "; ".join(said)

    def json(self) -> dict[str, Any]:
        """Return the boxes in pixels."""
        return {"type": "boxes", "specialist": self.specialist, "boxes": [box.json() for box in self.boxes]}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image with the boxes drawn, a color a label."""
        return draw_boxes(image, self.boxes)


@dataclass(frozen=True)
class Score:
    """One number on a stated scale from `low` to `high`."""

    specialist: str
    name: str
    value: float
    low: float = 0.0
    high: float = 1.0

    def words(self) -> str:
        """Say the number with its scale."""
        scale = f"on a scale from {self.low:g} to {self.high:g}"
        return f"{self.specialist}: {self.name} {self.value:.2f} {scale}"

    def json(self) -> dict[str, Any]:
        """Return name, value and scale."""
        return {"type": "score", "specialist": self.specialist, "name": self.name, "value": float(self.value),
                "low": float(self.low), "high": float(self.high)}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image as it is: there is nothing to draw."""
        return image.convert("RGB")


@dataclass(frozen=True)
class Text:
    """Free text of a specialist."""

    specialist: str
    text: str

    def words(self) -> str:
        """Say the text."""
        return f"{self.specialist}: {self.text}"

    def json(self) -> dict[str, Any]:
        """Return the text."""
        return {"type": "text", "specialist": self.specialist, "text": self.text}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image as it is: there is nothing to draw."""
        return image.convert("RGB")


@dataclass(frozen=True)
class Refusal:
    """A specialist declines a study that is out of its scope; the reason is one for people."""

    specialist: str
    reason: str
    details: Mapping[str, float] = field(default_factory=dict)
    """Numbers behind the reason, e.g. distance and threshold."""

    def words(self) -> str:
        """Say who declined and why."""
        return f"{self.specialist} declined: {self.reason}"

    def json(self) -> dict[str, Any]:
        """Return the reason and the numbers behind it."""
        return {"type": "refusal", "specialist": self.specialist, "reason": self.reason,
                "details": dict(self.details)}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image as it is: there is nothing to draw."""
        return image.convert("RGB")


Finding = Classification | Masks | Boxes | Score | Text | Refusal


def percent(value: float) -> str:
    """Write a fraction as a percentage, without claiming 0 % or 100 % where it is neither."""
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 <= value < 1:
        return ">99 %"
    return f"{100 * value:.0f} %"


def draw_boxes(image: Image.Image, boxes: tuple[Box, ...]) -> Image.Image:
    """Return a copy of the image with the boxes and their labels drawn."""
    drawn = image.convert("RGB")
    drawn = drawn.copy() if drawn is image else drawn
    pen = ImageDraw.Draw(drawn)
    labels = list(dict.fromkeys(box.label for box in boxes))
    width = max(1, round(min(drawn.size) / 150))
    for box in boxes:
        color = COLORS[labels.index(box.label) % len(COLORS)]
        left, top = (max(0.0, v) for v in box.xyxy[:2])
        right, bottom = (min(size - 1.0, v) for size, v in zip(drawn.size, box.xyxy[2:], strict=True))
        if right < left or bottom < top:
            continue
        pen.rectangle((left, top, right, bottom), outline=color, width=width)
        pen.text((left + width + 1, max(0.0, top - 12)), box.label, fill=color)
    return drawn


def _parts(label: str, mask: np.ndarray) -> tuple[Box, ...]:
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))  # type: ignore[misc]
    areas = np.bincount(parts.ravel())
    found = []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        if areas[number] >= SMALLEST_PART * areas[1:].sum():
            rows, columns = place
            xyxy = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
            found.append((areas[number], Box(label, xyxy)))
    return tuple(box for _, box in sorted(found, key=lambda part: -part[0]))


def _corners(box: Box) -> str:
    return "[" + ", ".join(f"{v:.0f}" for v in box.xyxy) + "]"
