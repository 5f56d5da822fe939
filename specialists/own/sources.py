"""Reads labelled images of one's own: record layout, a folder a class, or a CSV; it opens no image.

It judges nothing: what is wrong with the images or their labels is the affair of `checks`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specialists.core.errors import BadData
from specialists.datasets.layout import Sample, stated

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz", ".bmp", ".gif",
           ".jp2")
"""What is taken for an image by its name; whether it can be read is told by its content."""
TABLES = (".csv", ".tsv")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "test": "test", "testing": "test"}
COLUMNS = {
    "image": ("image", "path", "file", "filename", "file_name", "image_path", "filepath", "image_id", "img"),
    "label": ("label", "class", "diagnosis", "dx", "category", "target", "disease", "finding"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "case_id"),
    "group": ("group", "group_id", "series", "study"),
    "split": ("split", "partition", "subset"),
    "source": ("source", "site", "hospital", "origin"),
    "license": ("license", "licence", "terms"),
    "id": ("id",),
}
"""Names under which a column may stand, the first that is there; capitals, spaces and dashes do not matter."""
NOT_STATED = "not stated"
WANTED = ("wanted FOLDER/records.jsonl, or FOLDER/LABEL/*.png (with or without train, val, test above LABEL), or a "
          "CSV with the columns image and label")


@dataclass(frozen=True)
class Source:
    """What a folder or file offers, and how it was read."""

    layout: str
    """"records", "folders" or "csv"."""
    read: str
    """What was read, in words: the name of a table, or of which folders."""
    samples: tuple[Sample, ...]
    left_out: Mapping[str, str]
    """Rows and files that are no labelled image, with the reason."""


def read_source(data: Path, name: str, license: str = "", source: str = "") -> Source:
    """Return all labelled images of `data`; `name` becomes their set. Raises BadData where there is none.

    `split` is "" where none is given; `group` is the patient's or the given one's, else the image's own.
    `license` and `source` are said of images that name none.
    """
    data = Path(data).expanduser().absolute()
    if not data.exists():
        raise BadData(f"There is no {data.name!r}; {WANTED}. Check the path.")
    found = _rows(data)
    left_out = dict(found.left_out)
    said = {"license": license or NOT_STATED, "source": source or name}
    samples: dict[str, Sample] = {}
    places = (found.base, *_folders(found.base))
    for place, row in found.rows:
        sample = _sample(row, places, name, said)
        if isinstance(sample, str):
            left_out[place] = sample
        elif sample.id in samples:
            left_out[f"{sample.id} ({place})"] = "named twice: the first one counts"
        else:
            samples[sample.id] = sample
    if not samples:
        why = f" ({next(iter(left_out.items()))[1]})" if left_out else ""
        raise BadData(f"No labelled image in {data.name!r}{why}; {WANTED}.")
    return Source(found.layout, found.read, tuple(samples.values()), left_out)


@dataclass(frozen=True)
class _Rows:
    """Rows with where each stands, the folder that their paths start from, and what was read."""

    layout: str
    read: str
    base: Path
    rows: Sequence[tuple[str, Mapping[str, Any]]]
    left_out: Mapping[str, str] = field(default_factory=dict)


def _rows(data: Path) -> _Rows:
    """Return the rows of a file, of the one table of a folder that names images and labels, or of its folders."""
    if data.is_file() or (data / "records.jsonl").is_file():
        file = data if data.is_file() else data / "records.jsonl"
        if file.suffix == ".jsonl":
            return _Rows("records", file.name, file.parent, list(_json_rows(file)))
        if file.suffix.lower() not in TABLES:
            raise BadData(f"Got the file {file.name!r}; {WANTED}.")
        return _table(file)
    tables = sorted(path for path in data.iterdir() if path.suffix.lower() in TABLES and not _hidden(Path(path.name)))
    labelled = [table for table in tables if not _absent(_header(table))]
    if len(labelled) == 1:
        beside = _folders(data)
        return _table(labelled[0], f", not the names of the folders {_named(beside)}" if beside else "")
    if not labelled:
        found = _folder_rows(data)
        if found.rows:
            return found
    if len(tables) == 1:
        return _table(tables[0])  # says which column is missing
    if tables:
        named = ", ".join(table.name for table in labelled or tables)
        raise BadData(f"{len(labelled or tables)} CSV files in {data.name!r} ({named}): name the one to read, or move "
                      f"them elsewhere to have the folders read; {WANTED}.")
    raise BadData(f"No labelled image in {data.name!r}; {WANTED}.")


def _table(file: Path, beside: str = "") -> _Rows:
    return _Rows("csv", f"{file.name}{beside}", file.parent, list(_csv_rows(file)))


def _json_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadData(f"{file.name} line {number} is no JSON ({error}); wanted one object an image.") from error
        if not isinstance(row, dict):
            raise BadData(f"{file.name} line {number} is no object; wanted one JSON object an image.")
        yield f"{file.name} line {number}", row


def _reader(file: Path) -> csv.DictReader[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = file.read_text(encoding="cp1252", errors="replace")  # as older spreadsheets export
    first = text.partition("\n")[0]
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=max("\t;,", key=first.count))


def _header(file: Path) -> list[str]:
    try:
        return [_plain(column) for column in _reader(file).fieldnames or ()]
    except csv.Error:
        return []


def _absent(columns: Collection[str]) -> list[str]:
    """Return for which of image and label there is no column."""
    return [role for role in ("image", "label") if not set(COLUMNS[role]) & set(columns)]


def _csv_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = _reader(file)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadData(f"{file.name} line {reader.line_num} is no row of a table ({error}); wanted CSV.") from None
    for line, row in rows:
        plain = {_plain(key): (value or "").strip() for key, value in row.items()
                 if key is not None and isinstance(value, str | None)}
        found = {role: next((plain[key] for key in keys if plain.get(key)), "") for role, keys in COLUMNS.items()}
        for role in _absent(plain):
            raise BadData(f"{file.name} has the columns {', '.join(plain)} and none for the {role}; wanted one of "
                          f"{', '.join(COLUMNS[role])}. Rename the column.")
        yield f"{file.name} line {line}", {key: value for key, value in found.items() if value}


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _folder_rows(data: Path) -> _Rows:
    """Return the images under FOLDER/LABEL and below; FOLDER/SPLIT/LABEL where a train folder has folders in it."""
    folders = _folders(data)
    sides = {folder: side for folder in folders if (side := _side(folder.name))}
    plain = all(folder.name.lower() in SPLITS for folder in folders)
    if not plain and not any(side == "train" and _folders(folder) for folder, side in sides.items()):
        if "train" in sides.values() and len(sides) == len(folders):
            raise BadData(f"The folders {_named(folders)} of {data.name!r} look like parts of a split and not like "
                          f"labels, and no folder in them names a label; {WANTED}.")
        rows = [row for folder in folders for row in _images(folder, data)]
        return _Rows("folders", f"folders {_named(folders)}", data, rows)
    left_out = {f"{folder.name}/": "it stands beside a train folder and is no part of a split"
                for folder in folders if folder not in sides}
    rows = []
    for folder, side in sides.items():
        for labelled in _folders(folder):
            rows += [(place, {**row, "split": side}) for place, row in _images(labelled, data)]
        left_out |= {str(file.relative_to(data)): "it stands in no folder of a label"
                     for file in sorted(folder.iterdir()) if _is_image(file, data)}
    return _Rows("folders", f"folders {_named(list(sides))}", data, rows, left_out)


def _images(labelled: Path, data: Path) -> list[tuple[str, Mapping[str, Any]]]:
    names = [str(file.relative_to(data)) for file in sorted(labelled.rglob("*")) if _is_image(file, data)]
    return [(name, {"image": name, "label": labelled.name}) for name in names]


def _is_image(file: Path, data: Path) -> bool:
    return file.name.lower().endswith(ENDINGS) and file.is_file() and not _hidden(file.relative_to(data))


def _side(folder: str) -> str:
    """Return the part of a split that a folder's name speaks of, e.g. of train or test_images; "" where of none."""
    return next((SPLITS[word] for word in re.split(r"[\W_]+", folder.lower()) if word in SPLITS), "")


def _named(folders: Sequence[Path]) -> str:
    """Name folders, the first of many."""
    names = [folder.name for folder in folders]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _folders(data: Path) -> list[Path]:
    return sorted(p for p in data.iterdir() if p.is_dir() and not _hidden(p.relative_to(data)))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _sample(row: Mapping[str, Any], places: Sequence[Path], name: str, said: Mapping[str, str]) -> Sample | str:
    """Return the sample of a row, or why it is none."""
    image, label = row.get("image"), row.get("label")
    if not image:
        return "it names no image"
    if label is None or not str(label).strip():
        return "it has no label"
    split = str(row.get("split") or "").strip().lower()
    if split and split not in SPLITS:
        return f"its split is {split!r}; wanted train, val or test"
    key = str(row.get("id") or image)
    patient = stated(row, "patient")
    group = patient or stated(row, "group") or key
    path = _path(places, str(image))
    plain = unicodedata.normalize("NFC", str(label).strip())  # macOS takes letters of folder names apart
    return Sample(id=key, path=path, dataset=name, split=SPLITS.get(split, ""), label=plain,
                  patient=patient, group=f"{name}/{group}", source=str(row.get("source") or said["source"]),
                  license=str(row.get("license") or row.get("licence") or said["license"]),
                  tier=str(row.get("tier") or ""), record=dict(row))


def _path(places: Sequence[Path], image: str) -> Path:
    """Return the file of an image, in the first place or in the only other one that has it.

    A name without its ending (as some tables have it) is completed.
    """
    named = places[0] / image
    if named.is_file():
        return named
    candidates = [[path for ending in ("", *ENDINGS) if (path := place / f"{image}{ending}").is_file()][:1]
                  for place in places]
    others = [found[0] for found in candidates[1:] if found]
    return next(iter(candidates[0]), others[0] if len(others) == 1 else named)


def grouped(sample: Sample) -> bool:
    """Tell whether the data say which images belong together with this one."""
    return sample.patient is not None or stated(sample.record, "group") is not None
