"""Which images a batch is about: those of a folder and its folders (DICOM trees too), or the rows of a table.

It opens no image: a file is told by its name, one without an ending by the mark of DICOM.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from assistant.errors import BadQuestion

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
COLUMNS = ("id", "image", "question", "options", "patient", "kind")
"""Columns of a table that are read; only `image` must be there."""


@dataclass(frozen=True)
class Item:
    """One image to ask about."""

    id: str
    """What tells it from the others of its source: the path within the folder, or a table's id or row number."""
    path: Path
    question: str | None = None
    """Its own question, in place of the batch's."""
    options: tuple[str, ...] | None = None
    """Its own options, in place of the batch's."""
    patient: str | None = None
    """Whose cases must not be retrieved."""
    kind: str | None = None
    """What kind of image it is, where that is known."""


def items(source: Path) -> Iterator[Item]:
    """Yield the images of a folder (in order of names) or of a table; raises BadQuestion."""
    if source.is_dir():
        return _of_folder(source)
    if source.is_file() and source.name.endswith(TABLES):
        return _of_table(source)
    raise BadQuestion(f"No source at {str(source)!r}: wanted a folder of images, or a table ({', '.join(TABLES)}) with "
                      "a column `image`.")


def _of_folder(root: Path) -> Iterator[Item]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and (name.lower().endswith(IMAGES) or _bare_dicom(path)):
                yield Item(path.relative_to(root).as_posix(), path)


def _bare_dicom(path: Path) -> bool:
    """Tell whether a file without an ending is of DICOM, as archives name them; the index of a tree is none."""
    if path.suffix.strip(".0123456789") or path.name == "DICOMDIR":     # the end of a UID looks like an ending
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _of_table(table: Path) -> Iterator[Item]:
    seen: set[str] = set()
    for number, row in enumerate(_rows(table), start=1):
        image = str(row.get("image") or "")
        if not image:
            raise BadQuestion(f"Row {number} of {table.name} names no image: wanted a column `image` with a path, and "
                              f"perhaps {', '.join(name for name in COLUMNS if name != 'image')}.")
        item = Item(str(row.get("id") or number), table.parent / image, row.get("question") or None,
                    _options(row.get("options")), None if row.get("patient") is None else str(row["patient"]) or None,
                    row.get("kind") or None)
        if item.id in seen:
            raise BadQuestion(f"Row {number} of {table.name}: the id {item.id!r} stands there twice; wanted each once.")
        seen.add(item.id)
        yield item


def _rows(table: Path) -> Iterable[Mapping[str, Any]]:
    if table.suffix == ".parquet":
        with pq.ParquetFile(table) as file:
            known = [name for name in COLUMNS if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=1024, columns=known):
                yield from batch.to_pylist()
        return
    with table.open(newline="", encoding="utf-8-sig") as file:
        if table.suffix == ".jsonl":
            yield from (json.loads(line) for line in file if line.strip())
        else:
            yield from csv.DictReader(file, delimiter="\t" if table.suffix == ".tsv" else ",")


def _options(told: Any) -> tuple[str, ...] | None:
    """Return a row's options: a list, or one text with bars between them."""
    if not told:
        return None
    return tuple(part.strip() for part in told.split("|")) if isinstance(told, str) else tuple(map(str, told))
