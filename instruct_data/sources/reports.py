"""Chest X-ray reports as the Indiana collection has them: a CSV of reports (uid, findings, impression) and a CSV of
their images (uid, filename, projection).

Its license (CC BY-NC-ND 4.0) keeps it out of what is built unless it is asked for. Sentences in which a word was
blacked out (XXXX) are left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from instruct_data.items import Item, Report
from instruct_data.sources.options import Found, Options, located, sample_of, within
from specialists.core.errors import BadData
from specialists.own.sources import NOT_STATED

LICENSE = "CC BY-NC-ND 4.0"
FOLDERS = ("", "images", "images/images_normalized", "images_normalized", "png")
SENTENCE = re.compile(r"(?<=[.!?])\s+")
BLACKED_OUT = "XXXX"


def fits(data: Path) -> bool:
    """Tell whether it has both tables."""
    return _tables(data) is not None


def read(data: Path, options: Options) -> Found:
    """Return an item an image that is there; raises BadData without the two tables or without any image."""
    tables = _tables(data)
    if tables is None:
        raise BadData(f"{data.name!r} lacks the two tables; wanted one CSV with uid, findings and impression, and one "
                      "with uid, filename and projection.")
    reports = {item.sample.id.rpartition("/")[2]: item for item in texts(data, options)}
    folders = [data / f for f in FOLDERS]
    items, left_out = [], {}
    for row in _rows(tables[1]):
        known = reports.get(row["uid"])
        path = located(row["filename"], folders)
        if known is None or path is None:
            left_out[row["filename"]] = "no report" if known is None else "the file is missing"
            continue
        image = within(data, path)
        sample = replace(known.sample, path=path, id=f"{options.name}/{row['filename']}")
        view = row["projection"].strip().lower()
        items.append(replace(known, sample=sample, image=image, attributes={"view": view} if view else {}))
    if not items:
        raise BadData(f"None of the {len(left_out)} images of {data.name!r} is there; wanted them in images/. The "
                      "reports alone can be searched by text.")
    return Found(tuple(items), data, left_out)


def texts(data: Path, options: Options) -> list[Item]:
    """Return an item a report, without an image: for retrieval by text. Raises BadData."""
    tables = _tables(data)
    if tables is None:
        raise BadData(f"{data.name!r} lacks a CSV with uid, findings and impression, or the one of its images.")
    license = options.license if options.license != NOT_STATED else LICENSE
    found = []
    for row in _rows(tables[0]):
        report = Report(_whole(row["findings"]), _whole(row["impression"]))
        if not report.findings and not report.impression:
            continue
        sample = sample_of(data, "", options, id=f"{options.name}/{row['uid']}", group=row["uid"], license=license)
        problems = [p.strip() for p in (row.get("Problems") or "").split(";")]
        found.append(Item(sample, "", options.kind or "chest X-ray", report=report,
                          note=", ".join(p for p in problems if p and p != "normal")))
    return found


def _tables(data: Path) -> tuple[Path, Path] | None:
    if not data.is_dir():
        return None
    reports = images = None
    for file in sorted(data.glob("*.csv")):
        with file.open(encoding="utf-8-sig", newline="") as opened:
            columns = set(next(csv.reader(opened), []))
        if {"uid", "findings", "impression"} <= columns:
            reports = file
        elif {"uid", "filename", "projection"} <= columns:
            images = file
    return None if reports is None or images is None else (reports, images)


def _rows(file: Path) -> Iterator[Mapping[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        yield from csv.DictReader(opened)


def _whole(text: str | None) -> str:
    """Return a text without the sentences in which a word was blacked out."""
    return " ".join(s for s in SENTENCE.split((text or "").strip()) if s and BLACKED_OUT not in s)
