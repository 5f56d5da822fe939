"""A small picture of a similar case, where the data that its index was made of are at hand; it searches for no case.

CONSILIUM_DATA names the data folder (docs/data.md): a case "SET/NAME" is the record of that id in SET/records.jsonl. No
header value goes along: what comes back is pixels alone.
"""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path, PurePosixPath

from PIL import Image

from assistant.settings import data
from specialists.core.errors import SpecialistsError
from specialists.core.study import Limits, read_study

log = logging.getLogger(__name__)

SIDE = 96
"""Longest side of a thumbnail, in pixels."""
LIMITS = Limits(max_bytes=64 * 2**20, max_pixels=40_000_000, max_values=120_000_000)
"""A larger file gets no thumbnail."""


def thumbnail(case_id: str, folder: Path | None = None) -> Image.Image | None:
    """Return the key frame of a case, at most `SIDE` on a side; None where its image is not at hand or cannot be read.

    `folder` is the data folder, else the one that CONSILIUM_DATA names.
    """
    folder = folder or data()
    path = _file(folder.resolve(), case_id) if folder else None
    return None if path is None else _small(path, path.stat().st_mtime_ns)


def _file(folder: Path, case_id: str) -> Path | None:
    """Return the image's file; None for an id or a record that leads out of the set's folder."""
    name = case_id.partition("/")[0]
    if PurePosixPath(name).name != name or "\\" in name or "\0" in case_id:
        return None
    home = folder / name
    table = home / "records.jsonl"
    if not table.is_file():
        return None
    image = _images(table, table.stat().st_mtime_ns).get(case_id)
    if not image or "\0" in image:
        return None
    path = (home / image).resolve()
    return path if path.is_relative_to(home.resolve()) and path.is_file() else None


@functools.lru_cache(maxsize=32)
def _images(table: Path, changed: int) -> dict[str, str]:
    """Return the relative paths of a set's images by the ids of their cases; lines that are no records are skipped."""
    found = {}
    with table.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
                found[str(record["id"])] = str(record["image"])
            except (ValueError, KeyError, TypeError):
                continue
    return found


@functools.lru_cache(maxsize=256)
def _small(path: Path, changed: int) -> Image.Image | None:
    try:
        picture = read_study(path, limits=LIMITS).image()
    except SpecialistsError as error:
        log.warning("a similar case has no thumbnail: %s", type(error).__name__)
        return None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return picture
