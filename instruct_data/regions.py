"""From shapes on an image to named regions: connected parts, without crumbs, slivers and nets that span all.

It reads no file. A structure of which nothing is left here is not absent: `examine` no longer vouches for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from instruct_data.items import Region

LEAST_PIXELS = 6
LEAST_OF_IMAGE = 0.0003
"""Parts smaller than this share of the image are crumbs of the drawing."""
LEAST_OF_STRUCTURE = 0.02
"""Parts smaller than this share of the largest part are crumbs too."""
SLIVER = 0.1
"""A part cut by the image's edge counts from this share of the largest part on."""
CORNER = 0.01
"""A part in a corner, cut on two sides, counts from this share of the image on."""
MOST = 60
"""More parts than these are a texture, not things to point at."""
SPREAD, THIN = 0.5, 0.2
"""A part whose box has this share of the image and which fills less than that of its box is a net, as vessels are."""
WHOLE = 0.97
"""A part from edge to edge in both directions has no place."""
PAIRED = ("adrenal gland", "breast", "eye", "femur", "hip", "kidney", "lung", "ovary")
"""Structures that people have on both sides, one each."""
AROUND = np.ones((3, 3), dtype=bool)


def parts(mask: np.ndarray, name: str) -> tuple[Region, ...]:
    """Return the connected parts of a mask, bool (H, W), as regions from largest to smallest.

    () where nothing of it can be pointed at: empty, crumbs alone, a net over the image, or a texture.
    """
    numbers: np.ndarray = ndimage.label(mask, AROUND)[0]  # type: ignore[index]
    return _regions(numbers, int(numbers.max(initial=0)), name, crumbs=True)


def things(numbers: np.ndarray, name: str) -> tuple[Region, ...]:
    """Return the numbered things of a map, int (H, W), 0 for none, as regions from largest to smallest."""
    known, places = np.unique(numbers, return_inverse=True)
    places = places.reshape(numbers.shape) + (0 if known[0] == 0 else 1)
    return _regions(places, int(places.max()), name, crumbs=False)


def sided(regions: Sequence[Region]) -> tuple[Region, ...]:
    """Return the regions with the two parts of a paired structure named by the patient's side.

    Only where the patient's left is on the image's right, and only for two parts, one in each half.
    """
    out = list(regions)
    for name in PAIRED:
        both = sorted((r for r in regions if r.name == name), key=lambda r: r.box[0] + r.box[2])
        if len(both) == 2 and both[0].box[0] + both[0].box[2] < 1 < both[1].box[0] + both[1].box[2]:
            for region, side in zip(both, ("right", "left"), strict=True):
                out[out.index(region)] = Region(f"{side} {name}", region.box, region.area)
    return tuple(out)


def _regions(numbers: np.ndarray, count: int, name: str, crumbs: bool) -> tuple[Region, ...]:
    height, width = numbers.shape
    pixels = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    found = []
    for number, place in enumerate(ndimage.find_objects(numbers)):
        if place is None:
            continue
        rows, columns = place
        box = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
        region = Region(name, box, float(pixels[number]) / numbers.size)
        if crumbs and _net(region):
            return ()
        if pixels[number] >= LEAST_PIXELS and _spans(box) < 2 and not (
                crumbs and _crumb(region, pixels.max() / numbers.size)):
            found.append(region)
    if len(found) > MOST:
        return ()
    return tuple(sorted(found, key=lambda r: (-(r.area or 0), r.box)))


def _net(region: Region) -> bool:
    x1, y1, x2, y2 = region.box
    around = (x2 - x1) * (y2 - y1)
    return around > SPREAD and (region.area or 0) < THIN * around


def _spans(box: Sequence[float]) -> int:
    """Return in how many directions a box goes from edge to edge."""
    return sum(box[place + 2] - box[place] >= WHOLE for place in (0, 1))


def _crumb(region: Region, largest: float) -> bool:
    """Tell whether a part is too small to be a thing, or a small piece that the edge cuts off."""
    area = region.area or 0
    cut = sum(v <= 0 for v in region.box[:2]) + sum(v >= 1 for v in region.box[2:])
    return (area < max(LEAST_OF_IMAGE, LEAST_OF_STRUCTURE * largest) or (cut > 0 and area < SLIVER * largest)
            or (cut > 1 and area < CORNER))
