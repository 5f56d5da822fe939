"""What a specialist answers: one type a task, each able to say itself in words, as JSON and as an overlay.

Decides nothing: whether a finding is trusted is the caller's affair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from specialists.core import rle
from specialists.core.pictures import Enhanced, HeatMap

COLORS = ((230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 155, 127), (132, 145, 180), (126, 97, 72))
TOLD = 6
"""Of more boxes than this the words give the counts alone."""
SINGULAR = {"nuclei": "nucleus"}
"""The one of labels that stand in the plural and do not end in "s"."""
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

    def shown(self, frame: int) -> Masks:
        """Return itself: it is about the frame that was judged."""
        return self

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
            edge = mask & ~np.asarray(ndimage.binary_erosion(mask), dtype=bool)
            pixels[edge] = color
        return Image.fromarray(pixels.round().astype(np.uint8))


@dataclass(frozen=True, eq=False)
class Instances:
    """Things of one label each by itself: numbers (H, W) from 1 in pixels of the original image, 0 for none."""

    specialist: str
    label: str
    instances: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    """Row and column spacing of the image, None when the file does not tell."""

    @property
    def areas(self) -> np.ndarray:
        """Area of each thing in pixels (count,), in the order of their numbers."""
        sizes = np.bincount(self.instances.ravel())[1:]
        return sizes[sizes > 0]

    @property
    def count(self) -> int:
        """How many things there are."""
        return len(self.areas)

    @property
    def median_area_mm2(self) -> float | None:
        """Median area in square millimetres, None without spacing or things."""
        if self.spacing_mm is None or not self.count:
            return None
        return float(np.median(self.areas)) * self.spacing_mm[0] * self.spacing_mm[1]

    @property
    def mask(self) -> np.ndarray:
        """All things together as a boolean mask (H, W)."""
        return self.instances > 0

    def shown(self, frame: int) -> Masks:
        """Return all things together, whatever the frame: they are about the one that was judged."""
        found = self.mask.any()
        return Masks(self.specialist, {self.label: self.mask} if found else {}, self.spacing_mm,
                     () if found else (self.label,))

    def boxes(self) -> tuple[Box, ...]:
        """Return a box a thing, in the order of their numbers."""
        return tuple(Box(self.label, _box_of(place)) for place in ndimage.find_objects(self.instances) if place)

    def words(self) -> str:
        """Say how many there are and how large the middle one of them is."""
        said = f"{self.specialist}: {counted(self.count, self.label)}"
        if not self.count:
            return said
        area = self.median_area_mm2
        size = "size in mm unknown" if area is None else f"{area:.3g} mm²"
        return f"{said}, median area {np.median(self.areas):.0f} px, {size}"

    def json(self) -> dict[str, Any]:
        """Return the count, the median area in mm² or "unknown", and each thing: COCO run lengths within its box."""
        area = self.median_area_mm2
        things = []
        for number, place in enumerate(ndimage.find_objects(self.instances), start=1):
            if place:
                own = self.instances[place] == number
                things.append({"xyxy": list(_box_of(place)), "area_px": int(own.sum()), "rle": rle.encode(own)})
        return {"type": "instances", "specialist": self.specialist, "label": self.label, "count": self.count,
                "median_area_mm2": "unknown" if area is None else area, "instances": things}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image with every thing tinted; neighbors differ in color."""
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32).copy()
        colors = np.asarray(COLORS, dtype=np.float32)[(self.instances - 1) % len(COLORS)]
        inside, rim = self.mask, self.rim()
        pixels[inside] = 0.6 * pixels[inside] + 0.4 * colors[inside]
        pixels[rim] = colors[rim]
        return Image.fromarray(pixels.round().astype(np.uint8))

    def rim(self) -> np.ndarray:
        """Return the border pixels of every thing (H, W), also where two touch."""
        own = self.instances
        return self.mask & ((ndimage.maximum_filter(own, 3) != own) | (ndimage.minimum_filter(own, 3) != own))


@dataclass(frozen=True, eq=False)
class Volumes:
    """Boolean masks (frames, H, W) of structures in a volume, by label."""

    specialist: str
    masks: dict[str, np.ndarray]
    spacing_mm: tuple[float | None, float, float] | None = None
    """Spacing between frames, rows and columns; None where the file does not tell."""
    absent: tuple[str, ...] = ()
    """Labels that were looked for and not found."""

    @property
    def frame(self) -> int | None:
        """The frame that shows most of all structures, None without any."""
        if not self.masks:
            return None
        return int(np.sum([mask.sum(axis=(1, 2)) for mask in self.masks.values()], axis=0).argmax())

    def volume_mm3(self, label: str) -> float | None:
        """Return the volume of a label in cubic millimetres, None without spacing."""
        between, rows, columns = self.spacing_mm or (None, 0.0, 0.0)
        if between is None:
            return None
        return float(self.masks[label].sum()) * between * rows * columns

    def shown(self, frame: int) -> Masks:
        """Return what a frame shows."""
        spacing = self.spacing_mm and (self.spacing_mm[1], self.spacing_mm[2])
        shown = {label: mask[frame] for label, mask in self.masks.items() if mask[frame].any()}
        return Masks(self.specialist, shown, spacing, self.absent)

    def boxes(self) -> tuple[Box, ...]:
        """Return the boxes on the frame that shows most."""
        return () if self.frame is None else self.shown(self.frame).boxes()

    def words(self) -> str:
        """Say how large each structure is; and what was not found."""
        said = []
        for label in self.masks:
            volume = self.volume_mm3(label)
            said.append(f"{label} " + ("of a size in mm unknown" if volume is None else f"{volume:,.0f} mm³"))
        if self.frame is not None:
            said.append(f"most of it on frame {self.frame + 1} of {len(next(iter(self.masks.values())))}")
        if self.absent:
            said.append("not found: " + ", ".join(self.absent))
        return f"{self.specialist}: " + ("; ".join(said) or "nothing found")

    def json(self) -> dict[str, Any]:
        """Return each structure with its volume in mm³ or "unknown", and COCO run lengths a frame that shows it."""
        volumes = []
        for label, mask in self.masks.items():
            volume = self.volume_mm3(label)
            frames = {str(i): rle.encode(mask[i]) for i in np.flatnonzero(mask.any(axis=(1, 2))).tolist()}
            volumes.append({"label": label, "volume_mm3": "unknown" if volume is None else volume,
                            "voxels": int(mask.sum()), "rle": frames})
        return {"type": "volumes", "specialist": self.specialist, "volumes": volumes, "absent": list(self.absent),
                "frame": self.frame, "boxes": [box.json() for box in self.boxes()]}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return a picture of `frame` with every structure tinted; without any, the image as it is."""
        return image.convert("RGB") if self.frame is None else self.shown(self.frame).overlay(image)


@dataclass(frozen=True)
class Boxes:
    """Labelled rectangles of a detector."""

    specialist: str
    boxes: tuple[Box, ...]
    labels: tuple[str, ...] = ()
    """What was looked for, so that a count of none is told; empty where it is not known."""

    @property
    def counts(self) -> dict[str, int]:
        """How many boxes of each label there are, also of those looked for in vain."""
        found = Counter(box.label for box in self.boxes)
        return {label: found[label] for label in dict.fromkeys((*self.labels, *found))}

    def words(self) -> str:
        """Say how many of each label there are, and where while they are few."""
        if not self.boxes and not self.labels:
            return f"{self.specialist}: nothing found"
        said = [", ".join(counted(number, label) for label, number in self.counts.items())] if self.labels else []
        if not self.labels or len(self.boxes) <= TOLD:
            for box in self.boxes:
                score = "" if box.score is None else f", {percent(box.score)}"
                said.append(f"{box.label} at {_corners(box)} (pixels){score}")
        return f"{self.specialist}: " + "; ".join(said)

    def json(self) -> dict[str, Any]:
        """Return the boxes in pixels, and how many of each label there are."""
        return {"type": "boxes", "specialist": self.specialist, "boxes": [box.json() for box in self.boxes],
                "counts": self.counts}

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image with the boxes drawn, a color a label."""
        return draw_boxes(image, self.boxes)


@dataclass(frozen=True)
class Score:
    """One number on a stated scale from `low` to `high`; of a graded scale also how far the truth may lie off."""

    specialist: str
    name: str
    value: float
    low: float = 0.0
    high: float = 1.0
    interval: tuple[float, float] | None = None
    """Of a graded scale: within it the true grade lies as often as the card's `coverage` says."""
    meaning: str = ""
    """What the grade is called, e.g. "moderate"."""

    @property
    def grade(self) -> int:
        """The step of a graded scale that is nearest; halves count up."""
        return math.floor(self.value + 0.5)

    @property
    def grades(self) -> tuple[int, int]:
        """The lowest and the highest step within the interval; the nearest one where none lies within."""
        low, high = self.interval or (self.value, self.value)
        first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        return (first, last) if first <= last else (self.grade, self.grade)

    def words(self) -> str:
        """Say the number with its scale, a grade with its range and its name."""
        if self.interval is None:
            scale = f"on a scale from {self.low:g} to {self.high:g}"
            return f"{self.specialist}: {self.name} {self.value:.2f} {scale}"
        first, last = self.grades
        span = f", between {first} and {last}" if first < last else ""
        named = f" ({self.meaning})" if self.meaning else ""
        return f"{self.specialist}: {self.name} {self.value:.1f} of {self.high:g}{span}{named}"

    def json(self) -> dict[str, Any]:
        """Return name, value and scale, of a grade also the step, its name and the interval."""
        said = {"type": "score", "specialist": self.specialist, "name": self.name, "value": float(self.value),
                "low": float(self.low), "high": float(self.high)}
        if self.interval is None:
            return said
        return {**said, "grade": self.grade, "meaning": self.meaning, "interval": [float(v) for v in self.interval]}

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


Finding = Classification | Masks | Instances | Volumes | Boxes | Score | Text | HeatMap | Enhanced | Refusal


def percent(value: float) -> str:
    """Write a fraction as a percentage, without claiming 0 % or 100 % where it is neither."""
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 <= value < 1:
        return ">99 %"
    return f"{100 * value:.0f} %"


def counted(number: int, label: str) -> str:
    """Say how many: "1 white blood cell", "2 platelets", "no caries"."""
    many = label if label.endswith("s") or label in SINGULAR else f"{label}s"
    return f"1 {SINGULAR.get(label, label)}" if number == 1 else f"{number or 'no'} {many}"


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
            found.append((areas[number], Box(label, _box_of(place))))
    return tuple(box for _, box in sorted(found, key=lambda part: -part[0]))


def _box_of(place: tuple[slice, slice]) -> tuple[float, float, float, float]:
    rows, columns = place
    return float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)


def _corners(box: Box) -> str:
    return "[" + ", ".join(f"{v:.0f}" for v in box.xyxy) + "]"
