"""Looks at the image of an item: its size, its shapes as regions, and a picture of it where it is none yet.

It judges no content and words nothing. Pictures that any program reads stay where they are; slices of volumes, DICOM
files, rows of arrays and pictures of other formats are written as PNG. Same file, same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from instruct_data.items import Item, Library, Region
from instruct_data.regions import PAIRED, parts, sided, things
from instruct_data.rows import study_of
from instruct_data.sources.naming import kind_named
from instruct_data.sources.options import made_name
from specialists.core.errors import BadData, BadStudy, ImageTooLarge, UnreadableImage
from specialists.core.study import DAMAGE, Limits, Study, read_study

VOLUMES = (".nii", ".nii.gz")
PLAIN = ("JPEG", "PNG", "WEBP")
PLANES = ("axial", "coronal", "sagittal")
"""Planes across the axes of a study's voxels (feet to head, front to back, right to left)."""
LEAST_SIDE = 24
"""A slice with fewer pixels on a side, once its pixels are square, shows nothing."""
UNEVEN = 3.0
"""Slices through voxels that are longer than this many times their width are not cut."""
LIMITS = Limits()
TURN = 274
"""EXIF's tag of how a camera was held: not all programs heed it."""


def examine(item: Item, library: Library, made: Path | None) -> list[Item]:
    """Return the item with what its image shows of itself; of a volume an item each chosen slice.

    Pictures are written to `made`, the folder "made" of what is built; nothing is written where it is None. Raises
    BadStudy or BadData where the image or its shapes cannot be read.
    """
    if item.sample.path.name.lower().endswith(VOLUMES):
        return _slices(item, library, made)
    row = item.sample.record.get("row")
    if row is not None:
        return [_written(item, study_of(item.sample.path, row).image(), library, made)]
    size = plain_size(item.sample.path)
    if size is not None:
        return [_with_shapes(replace(item, size=size), library)]
    study = read_study(item.sample.path)
    frame = _fullest(study.pixels) if study.volume else study.key_frame
    return [_written(_by_header(item, study), study.image(frame), library, made)]


def plain_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) of a picture that any program shows alike; None for all others. Raises BadStudy."""
    if not path.is_file():
        raise UnreadableImage(f"There is no file {path.name!r}; wanted an image. Check the path.")
    try:
        with Image.open(path) as picture:
            if picture.format not in PLAIN or picture.mode not in ("L", "RGB"):
                return None
            if max(picture.size) > LIMITS.max_side or picture.width * picture.height > LIMITS.max_pixels:
                raise ImageTooLarge(f"{path.name!r} has {picture.width:,} x {picture.height:,} pixels; wanted at most "
                                    f"{LIMITS.max_side:,} a side. Reduce its size.")
            if getattr(picture, "n_frames", 1) > 1:
                return None
            picture.verify()
        with Image.open(path) as picture:
            picture.load()
            turned = picture.getexif().get(TURN, 1) != 1
            return None if turned else picture.size
    except Image.UnidentifiedImageError:
        return None  # DICOM, or nothing: the study tells
    except BadStudy:
        raise
    except DAMAGE:
        raise UnreadableImage(f"{path.name!r} is cut off or damaged: its pixels cannot be decoded; wanted a whole "
                              "image. Copy it again.") from None


def _written(item: Item, picture: Image.Image, library: Library, made: Path | None, part: str = "") -> Item:
    """Return the item of a picture that is no plain file, with the picture written."""
    name = made_name(item.sample.id, part)
    if made is not None:
        made.mkdir(parents=True, exist_ok=True)
        waiting = made / f".{os.getpid()}-{Path(name).name}"
        picture.save(waiting, format="PNG")
        os.replace(waiting, made / Path(name).name)
    seen = replace(item, image=name, size=picture.size)
    return seen if part else _with_shapes(seen, library)


# --- shapes


def _with_shapes(item: Item, library: Library) -> Item:
    """Return the item with the parts of its masks as regions; boxes of names without a mask stay."""
    maps = item.sample.record.get("maps") or ()
    if not maps:
        return item
    found: list[Region] = []
    drawn: set[str] = set()
    for one in maps:
        shapes = _flat(library.data / one["file"], item.size)
        if "each" in one:
            drawn |= {one["each"]} if shapes.any() else set()
            found += things(shapes.max(axis=2), one["each"])
            continue
        for value, name in sorted(one["names"].items()):
            mask = _inside(shapes, value)
            if mask.any():
                drawn.add(name)
                found += parts(mask, name)
    return _settled(item, found, drawn)


def _settled(item: Item, found: Iterable[Region], drawn: set[str]) -> Item:
    """Return the item with the found regions; what is drawn and not among them is no longer vouched for."""
    regions = tuple(found)
    if item.radiological:
        regions = sided(regions)
    kept = tuple(r for r in item.regions if r.name not in drawn)
    seen = {r.name for r in (*kept, *regions)}
    pairs = {name for name in PAIRED if f"left {name}" in seen and name not in seen}
    lost = {name for name in drawn if name not in seen}
    marked = [name for name in item.marked if name not in lost | pairs]
    marked += [f"{side} {name}" for name in sorted(pairs & set(item.marked)) for side in ("left", "right")]
    return replace(item, regions=(*kept, *regions), marked=tuple(dict.fromkeys(marked)))


def _flat(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return a map of shapes as integers (H, W, channels); raises BadData where it is none of this image."""
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (*DAMAGE, Image.UnidentifiedImageError):
        raise BadData(f"The mask {path.name!r} is missing or damaged; wanted a PNG of the image's size.") from None
    height, width = values.shape[:2]
    if abs(width / height - size[0] / size[1]) > 0.02 * size[0] / size[1]:
        raise BadData(f"The mask {path.name!r} has {width} x {height} pixels, its image {size[0]} x {size[1]}; wanted "
                      "masks of the image's shape.")
    return values.reshape(height, width, -1)[:, :, :3]


def _inside(shapes: np.ndarray, value: str) -> np.ndarray:
    """Return where a map (H, W, channels) has a value; "*" is whatever is not 0, or bright where it goes to 255."""
    if value == "*":
        top = shapes.max(axis=2)
        return top > (127 if top.max() > 127 else 0)
    wanted = [int(v) for v in value.split(",")]
    if len(wanted) not in (1, shapes.shape[2]):
        raise BadData(f"A label map names the value {value!r} of masks with {shapes.shape[2]} channels; wanted one "
                      "number, or \"red,green,blue\" for masks in color.")
    return (shapes == np.array(wanted)).all(axis=2)


# --- volumes


def _slices(item: Item, library: Library, made: Path | None) -> list[Item]:
    """Return items of the slices that show most: of each label across each axis, else the fullest axial one."""
    study = read_study(item.sample.path)
    labels = _labels(item, study, library)
    oriented = _oriented(item.sample.path)
    found = []
    for axis, number in _chosen(study, labels):
        picture = _across(study.pixels[..., 0], axis, number)
        width, height = _square(picture.shape, study.spacing_mm, axis)
        if axis and min(width, height) < LEAST_SIDE:
            continue
        gray = Image.fromarray((picture * 255).round().astype(np.uint8))
        seen = gray.resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
        known = {**item.attributes, "plane": PLANES[axis]} if oriented else dict(item.attributes)
        one = replace(item, attributes=known, counts={}, radiological=oriented and axis < 2)
        one = _written(one, seen, library, made, f"{PLANES[axis]}_{number:03d}")
        cuts = {name: _across(mask, axis, number) for name, mask in labels.items()}
        shapes = [region for name, cut in cuts.items() if cut.any() for region in parts(cut, name)]
        found.append(_settled(one, shapes, {name for name, cut in cuts.items() if cut.any()}))
    return found


def _chosen(study: Study, labels: Mapping[str, np.ndarray]) -> list[tuple[int, int]]:
    """Return (axis, number) of the slices to show, each once."""
    if not any(mask.any() for mask in labels.values()):
        return [(0, _fullest(study.pixels))]
    found: dict[tuple[int, int], None] = {}
    for axis in range(3):
        if axis and not _even(study.spacing_mm):
            continue
        for mask in labels.values():
            areas = mask.sum(axis=tuple(a for a in range(3) if a != axis))
            if areas.max():
                found[axis, int(areas.argmax())] = None
    return list(found)


def _labels(item: Item, study: Study, library: Library) -> dict[str, np.ndarray]:
    """Return the labelled voxels, bool (frames, H, W), by name; raises BadData where the grids differ."""
    found: dict[str, np.ndarray] = {}
    for one in item.sample.record.get("maps") or ():
        drawn = read_study(library.data / one["file"])
        values = (drawn.pixels if drawn.values is None else drawn.values)[..., 0].round().astype(np.int64)
        if values.shape != study.pixels.shape[:3]:
            raise BadData(f"The labels {Path(one['file']).name!r} have {values.shape} voxels, their image "
                          f"{study.pixels.shape[:3]}; wanted the same grid.")
        for value, name in sorted(one.get("names", {}).items()):
            mask = values > 0 if value == "*" else values == int(value)
            found[name] = found.get(name, np.zeros_like(mask)) | mask
    return found


def _across(voxels: np.ndarray, axis: int, number: int) -> np.ndarray:
    """Return a slice as it is shown: head or front up, the patient's right (or front) on the left."""
    cut = voxels.take(number, axis)
    return cut if axis == 0 else cut[::-1]


def _fullest(pixels: np.ndarray) -> int:
    """Return the frame of (frames, H, W, C) with the most that is not background; the one nearest the middle."""
    full = (pixels > 0.1).mean(axis=(1, 2, 3))
    best = np.flatnonzero(full >= full.max() - 0.01)
    return int(best[np.abs(best - len(pixels) / 2).argmin()])


def _even(spacing: tuple[float | None, float, float] | None) -> bool:
    if spacing is None or spacing[0] is None:
        return False
    return spacing[0] <= UNEVEN * min(spacing[1:])


def _square(shape: tuple[int, ...], spacing: tuple[float | None, float, float] | None, axis: int) -> tuple[int, int]:
    """Return (width, height) at which the pixels of a slice are square."""
    if spacing is None:
        return shape[1], shape[0]
    along = [s or 1.0 for place, s in enumerate(spacing) if place != axis]
    finest = min(along)
    return max(1, round(shape[1] * along[1] / finest)), max(1, round(shape[0] * along[0] / finest))


def _oriented(path: Path) -> bool:
    """Tell whether a NIfTI file says where the patient's axes are."""
    try:
        header: Any = nib.load(path).header  # type: ignore[attr-defined]
        return bool(int(header["sform_code"]) or int(header["qform_code"]))
    except DAMAGE:
        return False


# --- DICOM


def _by_header(item: Item, study: Study) -> Item:
    """Return the item with kind, view and side by the coded elements that a study lets through."""
    header = study.header
    view, side = header.get("ViewPosition"), header.get("ImageLaterality") or header.get("Laterality")
    known = dict(item.attributes)
    if view:
        known.setdefault("view", view)
    if side in ("L", "R"):
        known.setdefault("side", {"L": "left", "R": "right"}[side])
    kind = item.kind or kind_named(study.modality or "", header.get("BodyPartExamined") or "")
    frontal = kind.endswith("chest X-ray") and known.get("view") in ("AP", "PA")
    return replace(item, kind=kind, attributes=known, radiological=item.radiological or frontal)
