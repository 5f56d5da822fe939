"""Boxes as text, one codec a model family; it draws nothing and asks no model.

All codecs take and give `Box` in pixels of the original image; `size` is (width, height). Decoding is
tolerant: what cannot be read is skipped, corners are ordered and clipped to the image, and boxes without area
are left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from specialists.core.findings import Box

Size = tuple[int, int]
Corners = tuple[float, float, float, float]
NUMBER = r"(-?\d+(?:\.\d+)?)"


class BoxCodec(Protocol):
    """How a model family writes boxes."""

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return the boxes as the family writes them."""
        ...

    def region(self, box: Box, size: Size) -> str:
        """Return the place of a box without its label, as a question names it."""
        ...

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return the boxes that stand in a reply, in their order; [] when there is none."""
        ...


@dataclass(frozen=True)
class JsonThousandths:
    """Qwen3-VL: a JSON list of {"bbox_2d": [x1, y1, x2, y2], "label": ...}, 0..1000 of the image."""

    step: int = 1
    """Corners are written in multiples of it; a net that sees little writes no finer than it sees."""

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return the JSON list."""
        return _json_list(boxes, [tuple(self.step * round(v / self.step) for v in _binned(b, size, (1000, 1000)))
                                  for b in boxes])

    def region(self, box: Box, size: Size) -> str:
        """Return [x1, y1, x2, y2]."""
        return str(list(_binned(box, size, (1000, 1000))))

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return the boxes of every JSON object that has one."""
        return _kept(((label, _scaled(c, size, (1000, 1000))) for label, c in _json_boxes(text)), size)


@dataclass(frozen=True)
class JsonPixels:
    """Qwen2.5-VL: as Qwen3-VL, but in whole pixels of the image as its processor resizes it."""

    factor: int = 28
    """Pixels of a merged patch (14 x 2)."""
    min_pixels: int = 56 * 56
    max_pixels: int = 28 * 28 * 1280

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return the JSON list."""
        seen = self.resized(size)
        return _json_list(boxes, [_binned(b, size, seen) for b in boxes])

    def region(self, box: Box, size: Size) -> str:
        """Return [x1, y1, x2, y2]."""
        return str(list(_binned(box, size, self.resized(size))))

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return the boxes of every JSON object that has one."""
        seen = self.resized(size)
        return _kept(((label, _scaled(c, size, seen)) for label, c in _json_boxes(text)), size)

    def resized(self, size: Size) -> Size:
        """Return (width, height) after the processor's resize: multiples of `factor`."""
        width, height = size
        wide, high = (max(self.factor, round(side / self.factor) * self.factor) for side in size)
        if wide * high > self.max_pixels:
            shrink = math.sqrt(width * height / self.max_pixels)
            wide, high = (
                max(self.factor, math.floor(side / shrink / self.factor) * self.factor) for side in size
            )
        elif wide * high < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            wide, high = (math.ceil(side * grow / self.factor) * self.factor for side in size)
        return wide, high


@dataclass(frozen=True)
class RefBox:
    """Qwen-VL: <ref>label</ref><box>(x1,y1),(x2,y2)</box>, 0..1000 of the image."""

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return the tags one after the other."""
        grid = [(b, _binned(b, size, (1000, 1000))) for b in boxes]
        return "".join(
            f"<ref>{_word(b.label)}</ref><box>({x1},{y1}),({x2},{y2})</box>" for b, (x1, y1, x2, y2) in grid
        )

    def region(self, box: Box, size: Size) -> str:
        """Return the <box> tag alone."""
        x1, y1, x2, y2 = _binned(box, size, (1000, 1000))
        return f"<box>({x1},{y1}),({x2},{y2})</box>"

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return every <box>, labelled by the <ref> before it."""
        pattern = rf"<ref>([^<]*)</ref>|<box>\s*\({NUMBER},\s*{NUMBER}\),\s*\({NUMBER},\s*{NUMBER}\)\s*</box>"
        return _kept(((label, _scaled(c, size, (1000, 1000))) for label, c in _tagged(pattern, text)), size)


@dataclass(frozen=True)
class RefLists:
    """InternVL: <ref>label</ref><box>[[x1, y1, x2, y2], ...]</box>, 0..1000 of the image."""

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return the tags one after the other; a tag a box."""
        return "".join(
            f"<ref>{_word(b.label)}</ref><box>[[{', '.join(map(str, _binned(b, size, (1000, 1000))))}]]</box>"
            for b in boxes
        )

    def region(self, box: Box, size: Size) -> str:
        """Return the <box> tag alone."""
        return f"<box>[{list(_binned(box, size, (1000, 1000)))}]</box>"

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return every quadruple in brackets, labelled by the <ref> before it."""
        pattern = rf"<ref>([^<]*)</ref>|\[\s*{NUMBER},\s*{NUMBER},\s*{NUMBER},\s*{NUMBER}\s*\]"
        return _kept(((label, _scaled(c, size, (1000, 1000))) for label, c in _tagged(pattern, text)), size)


@dataclass(frozen=True)
class LocTokens:
    """Gemma (PaliGemma): <locYYYY><locXXXX><locYYYY><locXXXX> label ; ..., 0..1023 of the image, y first."""

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return location tokens and label, parted by " ; "."""
        grid = [(b, _binned(b, size, (1023, 1023))) for b in boxes]
        return " ; ".join(
            f"<loc{y1:04d}><loc{x1:04d}><loc{y2:04d}><loc{x2:04d}> {_word(b.label)}"
            for b, (x1, y1, x2, y2) in grid
        )

    def region(self, box: Box, size: Size) -> str:
        """Return the four location tokens."""
        x1, y1, x2, y2 = _binned(box, size, (1023, 1023))
        return f"<loc{y1:04d}><loc{x1:04d}><loc{y2:04d}><loc{x2:04d}>"

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return a box for every four location tokens in a row."""
        found = re.findall(r"<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>([^;<]*)", text)
        return _kept(
            (
                (label.strip(), _scaled(_numbers((x1, y1, x2, y2)), size, (1023, 1023)))
                for y1, x1, y2, x2, label in found
            ),
            size,
        )


@dataclass(frozen=True)
class UnitFloats:
    """Models that write shares of the image: label [0.123, 0.456, 0.789, 0.900]; ..."""

    def encode(self, boxes: Sequence[Box], size: Size) -> str:
        """Return label and corners, parted by "; "."""
        return "; ".join(
            f"{_word(b.label)} [{', '.join(f'{v / 1000:.3f}' for v in _binned(b, size, (1000, 1000)))}]"
            for b in boxes
        )

    def region(self, box: Box, size: Size) -> str:
        """Return [x1, y1, x2, y2] as shares."""
        return f"[{', '.join(f'{v / 1000:.3f}' for v in _binned(box, size, (1000, 1000)))}]"

    def decode(self, text: str, size: Size) -> list[Box]:
        """Return every quadruple of shares in brackets; the words before it are its label."""
        found = re.findall(rf"([^\[\];\n]*)\[\s*{NUMBER},\s*{NUMBER},\s*{NUMBER},\s*{NUMBER}\s*\]", text)
        return _kept(((label.strip(" ,:"), _scaled(_numbers(c), size, (1, 1))) for label, *c in found), size)


UNIT_1000 = JsonThousandths()
FAMILIES: dict[str, BoxCodec] = {
    "qwen3": UNIT_1000,
    "qwen2_5_vl": JsonPixels(),
    "qwen2_vl": RefBox(),
    "qwen_vl": RefBox(),
    "internvl": RefLists(),
    "paligemma": LocTokens(),
    "gemma": LocTokens(),
    "llava": UnitFloats(),
}
"""Codec by the beginning of a model type, or anywhere in a model's name."""


def codec_for(name: str) -> BoxCodec:
    """Return the codec of a model's type ("qwen3_vl") or name ("Qwen/Qwen3-VL-8B"); Qwen3-VL's if unknown."""
    plain = re.sub(r"[-. ]", "_", name.lower())
    return next((codec for family, codec in FAMILIES.items() if family in plain), UNIT_1000)


def read_back(codec: BoxCodec, text: str, size: Size, shown: Size) -> list[Box]:
    """Return the boxes of a reply about an image of `size` that the model got as `shown`, in pixels of the former."""
    across, down = size[0] / shown[0], size[1] / shown[1]
    return [
        replace(b, xyxy=(b.xyxy[0] * across, b.xyxy[1] * down, b.xyxy[2] * across, b.xyxy[3] * down))
        for b in codec.decode(text, shown)
    ]


def told(codec: BoxCodec, box: Box, size: Size, shown: Size) -> str:
    """Return the place of a box in pixels of an image of `size` as a model reads it that gets the image as `shown`."""
    across, down = shown[0] / size[0], shown[1] / size[1]
    x1, y1, x2, y2 = box.xyxy
    return codec.region(replace(box, xyxy=(x1 * across, y1 * down, x2 * across, y2 * down)), shown)


LISTS = re.compile(r"\[\s*\{.*?\}\s*\]", re.DOTALL)
BROKEN = re.compile(r"(:?\s*)\[\s*\{\s*\"bbox(?:(?!\}\s*\]).)*\Z", re.DOTALL)
"""A list in JSON that was begun and not ended."""


def corrected(codec: BoxCodec, text: str, located: Mapping[str, Sequence[Box]], size: Size, shown: Size) -> str:
    """Return a reply whose lists of boxes hold those that were `located`, by label, where they name such a label.

    `located` is in pixels of an image of `size` that the model got as `shown`. Lists in JSON alone are corrected; one
    that breaks off gets the boxes of what the text names.
    """
    across, down = shown[0] / size[0], shown[1] / size[1]

    def written(names: Iterable[str], otherwise: str) -> str:
        moved = [replace(b, xyxy=(b.xyxy[0] * across, b.xyxy[1] * down, b.xyxy[2] * across, b.xyxy[3] * down))
                 for name in names for b in located.get(name, ())]
        return codec.encode(moved, shown) if moved else otherwise

    def whole(found: re.Match[str]) -> str:
        return written(dict.fromkeys(label.lower() for label, _ in _json_boxes(found[0])), found[0])

    def ended(found: re.Match[str]) -> str:
        boxes = written([name for name in located if name in text.lower()], "")
        return found[1] + boxes if boxes else "." if ":" in found[1] else ""

    return BROKEN.sub(ended, LISTS.sub(whole, text))


SAID = re.compile(rf"[^.!?\[\]]*(?:{LISTS.pattern}|\[\s*\{{\s*\"bbox.*\Z)\s*[.!?]?\s*", re.DOTALL)
"""A sentence up to and with its list of boxes in JSON."""


def without_places(text: str, located: Collection[str]) -> str:
    """Return a reply without the sentences that give a place to what is not `located` (labels in small letters)."""
    def backed(found: re.Match[str]) -> str:
        named = {label.lower() for label, _ in _json_boxes(found[0])}
        return found[0] if named & set(located) or (not named and located) else ""
    return SAID.sub(backed, text).strip()


def _binned(box: Box, size: Size, bins: Size) -> tuple[int, int, int, int]:
    """Return x1, y1, x2, y2 in whole bins, each side at least one bin long."""
    x1, x2 = _side(box.xyxy[0], box.xyxy[2], size[0], bins[0])
    y1, y2 = _side(box.xyxy[1], box.xyxy[3], size[1], bins[1])
    return x1, y1, x2, y2


def _side(a: float, b: float, length: int, bins: int) -> tuple[int, int]:
    low, high = sorted(min(bins, max(0, round(v / length * bins))) for v in (a, b))
    if low == high:
        low, high = (low - 1, high) if high == bins else (low, high + 1)
    return low, high


def _scaled(corners: Corners, size: Size, bins: Size) -> Corners:
    x1, y1, x2, y2 = corners
    across, down = size[0] / bins[0], size[1] / bins[1]
    return x1 * across, y1 * down, x2 * across, y2 * down


def _kept(found: Iterator[tuple[str, Corners]], size: Size) -> list[Box]:
    width, height = size
    boxes = []
    for label, (a, b, c, d) in found:
        if not all(math.isfinite(v) for v in (a, b, c, d)):
            continue
        x1, x2 = sorted((min(width, max(0.0, a)), min(width, max(0.0, c))))
        y1, y2 = sorted((min(height, max(0.0, b)), min(height, max(0.0, d))))
        if x2 > x1 and y2 > y1:
            boxes.append(Box(label, (x1, y1, x2, y2)))
    return boxes


def _json_list(boxes: Sequence[Box], corners: Sequence[tuple[int, ...]]) -> str:
    rows = [{"bbox_2d": list(c), "label": b.label} for b, c in zip(boxes, corners, strict=True)]
    return json.dumps(rows, ensure_ascii=False)


def _json_boxes(text: str) -> Iterator[tuple[str, Corners]]:
    """Yield label and corners of each JSON object with a box; a list cut off loses only its last one."""
    reader, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            row, end = reader.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            row, end = None, at + 1
        corners = _corners(row)
        if corners is None or row is None:
            end = at + 1
        else:
            yield str(row.get("label", "")), corners
        at = text.find("{", end)


def _corners(row: Any) -> Corners | None:
    value = (
        next((row[k] for k in ("bbox_2d", "box_2d", "bbox", "box") if k in row), None)
        if isinstance(row, dict)
        else None
    )
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return None
    return _numbers(value)


def _tagged(pattern: str, text: str) -> Iterator[tuple[str, Corners]]:
    label = ""
    for match in re.finditer(pattern, text):
        if match[1] is not None:
            label = match[1].strip()
        else:
            yield label, _numbers(match.groups()[1:])


def _numbers(values: Sequence[Any]) -> Corners:
    a, b, c, d = (float(v) for v in values)
    return a, b, c, d


def _word(label: str) -> str:
    return re.sub(r"[<>\[\];\n]+", " ", label).strip()
