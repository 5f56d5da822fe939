"""Official files off a disk: JSON, tables and archives read with errors that name the place, and their hashes.

It knows no benchmark, fetches nothing and runs nothing that a file holds (a pickle may hold plain data alone).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from specialists.core.errors import BadData

LONGEST_FIELD = 1 << 28
"""Characters of one field of a table: pictures stand in some as base64."""


def found(folder: Path, *names: str) -> Path:
    """Return the first of these files that is there; raises BadData naming all of them."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadData(f"No {' or '.join(names)} in {folder.name!r}; get the official files and put them there as "
                  "docs/benchmarks.md says.")


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted; raises BadData where there is none."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise BadData(f"No {pattern} in {folder.name!r}; get the official files and put them there as "
                      "docs/benchmarks.md says.")
    return files


def json_rows(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON list."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadData(f"{file.name} is not JSON ({error}).") from error
    return _objects(rows, file)


def json_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise BadData(f"{file.name} line {number} is not JSON ({error}).") from error
    return _objects(rows, file)


def table_rows(file: Path, wanted: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a table with a head; raises BadData where a column of `wanted` is missing."""
    csv.field_size_limit(LONGEST_FIELD)
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = csv.DictReader(opened, delimiter=delimiter)
        lacking = [name for name in wanted if name not in (rows.fieldnames or ())]
        if lacking:
            raise BadData(f"{file.name} has no column {', '.join(lacking)}; it has {', '.join(rows.fieldnames or ())}.")
        for row in rows:
            yield {name: value or "" for name, value in row.items() if name}


class _Plain(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers; a pickle that names any class or function is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")


def pickle_rows(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a pickled list of plain data; code in the file is never run."""
    try:
        rows = _Plain(io.BytesIO(file.read_bytes()), encoding="utf-8").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError) as error:
        raise BadData(f"{file.name} is no pickle of plain data ({error}); nothing of it was run.") from error
    return _objects(rows, file)


def text(row: Mapping[str, Any], name: str, file: Path) -> str:
    """Return a field as text without space around it; raises BadData where the row lacks it."""
    if name not in row:
        raise BadData(f"{file.name} has a row without {name!r}; it has {', '.join(map(str, row))}.")
    return str(row[name]).strip()


def inside(folder: Path, name: str) -> Path:
    """Return a file under a folder by the name that a row gives; raises BadData for one that leads out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise BadData(f"The image name {name!r} leads out of the benchmark's folder.")
    return folder / path


def hash_of(file: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file as "sha256:..."."""
    with file.open("rb") as opened:
        return f"{algorithm}:{hashlib.file_digest(opened, algorithm).hexdigest()}"


def checked(files: Iterable[Path], published: Mapping[str, str], ledger: Path) -> dict[str, dict[str, str]]:
    """Return hash and standing of each file; raises BadData where one is not what it was.

    A file with a published hash must have it. The hash of any other is unknown: it is recorded in `ledger` at the
    first read and must stay so; to measure a new version on purpose, remove the ledger.
    """
    known: dict[str, str] = json.loads(ledger.read_text()) if ledger.is_file() else {}
    told, first = {}, dict(known)
    for file in files:
        wanted = published.get(file.name) or known.get(file.name)
        got = hash_of(file, wanted.partition(":")[0] if wanted else "sha256")
        if wanted and got != wanted:
            said = "published" if file.name in published else f"recorded at the first read ({ledger.name})"
            raise BadData(f"{file.name} has {got}; wanted {wanted}, as {said}. Get the file again; to measure another "
                          f"version of a file whose hash is not published, remove {ledger.name}.")
        first_time = "as at the first read" if wanted else "unknown, recorded"
        told[file.name] = {"hash": got, "standing": "as published" if file.name in published else first_time}
        if file.name not in published:
            first[file.name] = got
    if first != known:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger.write_text(json.dumps(first, indent=1, sort_keys=True) + "\n")
    return told


def _objects(rows: Any, file: Path) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadData(f"{file.name} is no list of objects.")
    return rows
