"""Which images a batch is about: those of a folder and its folders (DICOM trees too), or the rows of a table.

It opens no image: a file is told by its name, one without an ending by the mark of DICOM.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assistant.errors import BadQuestion
from specialists.own import sources as own

log = logging.getLogger(__name__)

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
COLUMNS = ("id", "image", "question", "options", "patient", "kind")
"""Columns of a table that are read; only `image` must be there. Capitals, spaces and dashes do not matter."""
NAMES = {**{name: (name,) for name in COLUMNS}, "patient": own.COLUMNS["patient"]}
"""Under which names each may stand: a patient's as in training, lest its own cases are retrieved."""
LONE = re.compile("[\ud800-\udfff]")
"""What stands in a text for a byte of a file name that is no UTF-8, or for half a letter."""
WANTED = 'wanted an object in each line, such as {"image": "a.png"}.'
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One image to ask about."""

    id: str
    """What tells it from the others of its source: the path within the folder, or a table's id.

    A row without an id has its image's path as written, and "PATH#2" where the same image stands in a row before.
    """
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
    if _is_table(source):
        return _of_table(source)
    raise BadQuestion(f"No source at {str(source)!r}: wanted a folder of images, or a table ({', '.join(TABLES)}) with "
                      "a column `image`.")


def check(source: Path) -> None:
    """Raise BadQuestion for what is no source, without any image, and for any row of a table that cannot be read."""
    found = items(source)
    if next(found, None) is None:
        what = "it has no row" if source.is_file() else f"wanted files that end in {', '.join(IMAGES)}, or DICOM"
        raise BadQuestion(f"No image in {str(source)!r}: {what}. Check the path.")
    if source.is_file():
        for _ in found:
            continue


def _is_table(source: Path) -> bool:
    return source.is_file() and source.name.lower().endswith(TABLES)


def named_by_image(source: Path) -> bool:
    """Tell whether the rows of a table have no ids of their own; raises BadQuestion."""
    if not _is_table(source):
        return False
    first = next(_rows(source), None)
    return first is not None and _text(first, "id") is None


def writable(text: str) -> str:
    """Return a text as UTF-8 holds it: a byte of a file name that is none becomes \\xff, half a letter U+FFFD."""
    if text.isascii():
        return text
    return LONE.sub(
        lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}" if "\udc80" <= found[0] <= "\udcff" else "\ufffd", text)


def _of_folder(root: Path) -> Iterator[Item]:
    for folder, folders, files in os.walk(root, onerror=_unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and (name.lower().endswith(IMAGES) or _bare_dicom(path)):
                yield Item(writable(path.relative_to(root).as_posix()), path)


def _unlisted(fault: OSError) -> None:
    log.warning("A folder is left out, it cannot be listed: %s", fault)


def _bare_dicom(path: Path) -> bool:
    """Tell whether a file without an ending is of DICOM, as archives name them; the index of a tree is none.

    One that cannot be read may be: its row will tell.
    """
    if path.suffix.strip(".0123456789") or path.name == "DICOMDIR":     # the end of a UID looks like an ending
        return False
    try:
        if not path.is_file():      # a link to nowhere, a socket
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True


def _of_table(table: Path) -> Iterator[Item]:
    seen: set[str] = set()
    times: Counter[str] = Counter()
    for number, row in enumerate(_rows(table), start=1):
        image = str(row.get("image") or "")
        if not image:
            raise BadQuestion(f"Row {number} of {table.name} names no image: wanted a column `image` with a path, and "
                              f"perhaps {', '.join(name for name in COLUMNS if name != 'image')}.")
        identifier = _text(row, "id")
        if identifier is None:
            times[image] += 1
            identifier = image if times[image] == 1 else f"{image}#{times[image]}"
        options = _options(row.get("options"), f"Row {number} of {table.name}")
        item = Item(writable(identifier), table.parent / image, _text(row, "question"), options,
                    _text(row, "patient"), _text(row, "kind"))
        if item.id in seen:
            raise BadQuestion(f"Row {number} of {table.name}: the id {item.id!r} stands there twice; wanted each once.")
        seen.add(item.id)
        yield item


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if value is None else str(value).strip() or None


def _told(row: Row) -> Row:
    """Return what a row says in the columns that are read, each under its first name."""
    said: dict[str, Any] = {}
    for column, value in row.items():
        if column is not None and value not in (None, ""):
            said.setdefault(_plain(column), value)
    return {name: next((said[known] for known in NAMES[name] if known in said), None) for name in COLUMNS}


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _rows(table: Path) -> Iterator[Row]:
    ending = table.suffix.lower()
    if ending == ".parquet":
        yield from _of_parquet(table)
        return
    # Bytes that are no UTF-8 pass here, so that the row they stand in can be named.
    with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        if ending == ".jsonl":
            yield from _of_lines(file, table.name)
        else:
            yield from _of_columns(file, "\t" if ending == ".tsv" else ",", table.name)


def _of_parquet(table: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(table) as file:
            read = {known for names in NAMES.values() for known in names}
            known = [name for name in file.schema_arrow.names if _plain(name) in read]
            for batch in file.iter_batches(batch_size=1024, columns=known):
                yield from map(_told, batch.to_pylist())
    except (pa.ArrowException, OSError) as fault:
        raise BadQuestion(f"{table.name} is no Parquet file that can be read ({fault}).") from fault


def _of_lines(lines: Iterable[str], table: str) -> Iterator[Row]:
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        _check_letters([line], f"Row {number} of {table}")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as fault:
            why = getattr(fault, "msg", "nested too deeply")
            raise BadQuestion(f"Row {number} of {table} is no JSON ({why}); {WANTED}") from fault
        if not isinstance(row, dict):
            raise BadQuestion(f"Row {number} of {table} is {line.strip()[:40]!r}; {WANTED}")
        yield _told(row)


def _of_columns(lines: Iterable[str], between: str, table: str) -> Iterator[Row]:
    number = 0
    try:
        reader = csv.DictReader(lines, delimiter=between)
        _check_letters(reader.fieldnames or (), f"The head of {table}")
        for number, row in enumerate(reader, 1):
            told = _told(row)
            _check_letters(told.values(), f"Row {number} of {table}")
            yield told
    except csv.Error as fault:
        raise BadQuestion(f"Row {number + 1} of {table} cannot be read: {fault}.") from fault


def _check_letters(texts: Iterable[str | None], where: str) -> None:
    """Raise BadQuestion for a byte that is no UTF-8."""
    for text in texts:
        if text and (lone := LONE.search(text)):
            raise BadQuestion(f"{where} is not UTF-8 (byte 0x{ord(lone[0]) - 0xDC00:02x}); save the table as UTF-8.")


def _options(told: Any, where: str) -> tuple[str, ...] | None:
    """Return a row's options: a list, or one text with bars between them; raises BadQuestion."""
    if not told:
        return None
    if isinstance(told, str):
        return tuple(part.strip() for part in told.split("|"))
    if not isinstance(told, list):
        raise BadQuestion(f"{where} has the options {str(told)[:40]!r}; wanted a list, or a text with | between them.")
    return tuple(map(str, told))
