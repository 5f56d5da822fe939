"""Reads labelled images of one's own: record layout, a folder a class, or a CSV; it opens no image.

It judges nothing: what is wrong with the images or their labels is the affair of `checks`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.core.errors import BadData
from specialists.datasets.layout import Sample, stated

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz", ".bmp", ".gif",
           ".jp2")
"""What is taken for an image by its name; whether it can be read is told by its content."""
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
    left_out: dict[str, str] = {}
    layout, base, rows = _rows(data)
    said = {"license": license or NOT_STATED, "source": source or name}
    samples: dict[str, Sample] = {}
    for place, row in rows:
        found = _sample(row, base, name, said)
        if isinstance(found, str):
            left_out[place] = found
        elif found.id in samples:
            left_out[f"{found.id} ({place})"] = "named twice: the first one counts"
        else:
            samples[found.id] = found
    if not samples:
        why = f" ({next(iter(left_out.items()))[1]})" if left_out else ""
        raise BadData(f"No labelled image in {data.name!r}{why}; {WANTED}.")
    return Source(layout, tuple(samples.values()), left_out)


def _rows(data: Path) -> tuple[str, Path, list[tuple[str, Mapping[str, Any]]]]:
    """Return the layout, the folder that paths start from, and rows with where each stands."""
    if data.is_file() or (data / "records.jsonl").is_file():
        file = data if data.is_file() else data / "records.jsonl"
        if file.suffix == ".jsonl":
            return "records", file.parent, list(_json_rows(file))
        if file.suffix.lower() not in (".csv", ".tsv"):
            raise BadData(f"Got the file {file.name!r}; {WANTED}.")
        return "csv", file.parent, list(_csv_rows(file))
    folders = list(_folder_rows(data))
    if folders:
        return "folders", data, folders
    tables = sorted([*data.glob("*.csv"), *data.glob("*.tsv")])
    if len(tables) != 1:
        several = f"{len(tables)} CSV files in {data.name!r}: name the one to read" if tables else ""
        raise BadData(f"{several or f'No labelled image in {data.name!r}'}; {WANTED}.")
    return "csv", data, list(_csv_rows(tables[0]))


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


def _csv_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = file.read_text(encoding="cp1252", errors="replace")  # as older spreadsheets export
    first = text.partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadData(f"{file.name} line {reader.line_num} is no row of a table ({error}); wanted CSV.") from None
    for line, row in rows:
        plain = {_plain(key): (value or "").strip() for key, value in row.items()
                 if key is not None and isinstance(value, str | None)}
        found = {role: next((plain[key] for key in keys if plain.get(key)), "") for role, keys in COLUMNS.items()}
        for role in ("image", "label"):
            if not set(COLUMNS[role]) & set(plain):
                raise BadData(f"{file.name} has the columns {', '.join(plain)} and none for the {role}; wanted one of "
                              f"{', '.join(COLUMNS[role])}. Rename the column.")
        yield f"{file.name} line {line}", {key: value for key, value in found.items() if value}


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _folder_rows(data: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the images under FOLDER/LABEL or FOLDER/SPLIT/LABEL, those in folders below too."""
    folders = _folders(data)
    split = bool(folders) and all(folder.name.lower() in SPLITS for folder in folders)
    for folder in folders:
        for labelled in _folders(folder) if split else [folder]:
            for file in sorted(labelled.rglob("*")):
                if file.is_file() and file.name.lower().endswith(ENDINGS) and not _hidden(file.relative_to(data)):
                    row = {"image": str(file.relative_to(data)), "label": labelled.name}
                    yield row["image"], {**row, "split": folder.name} if split else row


def _folders(data: Path) -> list[Path]:
    return sorted(p for p in data.iterdir() if p.is_dir() and not _hidden(p.relative_to(data)))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _sample(row: Mapping[str, Any], base: Path, name: str, said: Mapping[str, str]) -> Sample | str:
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
    path = _path(base, str(image))
    return Sample(id=key, path=path, dataset=name, split=SPLITS.get(split, ""), label=str(label).strip(),
                  patient=patient, group=f"{name}/{group}", source=str(row.get("source") or said["source"]),
                  license=str(row.get("license") or row.get("licence") or said["license"]),
                  tier=str(row.get("tier") or ""), record=dict(row))


def _path(base: Path, image: str) -> Path:
    """Return the file of an image; a name without its ending (as some tables have it) is completed."""
    path = base / image
    if path.suffix or path.is_file():
        return path
    found: Sequence[Path] = [path.with_name(path.name + ending) for ending in ENDINGS]
    return next((candidate for candidate in found if candidate.is_file()), path)


def grouped(sample: Sample) -> bool:
    """Tell whether the data say which images belong together with this one."""
    return sample.patient is not None or stated(sample.record, "group") is not None
