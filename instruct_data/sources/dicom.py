"""Folders of DICOM files: an item of each series, shown by its middle slice. Nothing of a header is taken over but
what a study lets through by its allow-list.

Series and patients are told apart by their numbers in the files and then counted: neither those numbers nor the
names of the files are written anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom

from instruct_data.items import Item
from instruct_data.sources.options import Found, Options, made_name, sample_of
from specialists.core.errors import BadData
from specialists.core.study import DAMAGE

TAGS = ["SeriesInstanceUID", "PatientID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "Rows"]
Slice = tuple[str, str, float | None, float, Path]
"""Series, patient, place along the body (None where not told), number, file."""


def fits(data: Path) -> bool:
    """Tell whether it holds DICOM files flat, or folders of several files of one series."""
    if not data.is_dir():
        return False
    for folder in [data, *sorted(p for p in data.rglob("*") if p.is_dir())]:
        files = [p for p in sorted(folder.iterdir()) if p.is_file() and _is_dicom(p)][:2]
        if files:
            told = [_slice(p) for p in files]
            alike = len(told) == 2 and all(told) and told[0][0] == told[1][0]  # type: ignore[index]
            return folder == data or alike
    return False


def read(data: Path, options: Options) -> Found:
    """Return an item a series, in the order of the files' names; raises BadData."""
    series: dict[str, list[Slice]] = defaultdict(list)
    left_out: dict[str, str] = {}
    for number, file in enumerate((p for p in sorted(data.rglob("*")) if p.is_file() and _is_dicom(p)), 1):
        one = _slice(file)
        if one is None:
            left_out[f"DICOM file {number}"] = "no readable image"
        else:
            series[one[0]].append(one)
    if not series:
        raise BadData(f"No DICOM image in {data.name!r}; wanted folders of .dcm files.")
    patients: dict[str, str] = {}
    items = []
    for number, slices in enumerate(series.values(), 1):
        known = slices[0][1]
        patient = patients.setdefault(known, f"patient-{len(patients) + 1:04d}") if known else None
        middle = sorted(slices, key=_place)[len(slices) // 2]
        key = f"series-{number:04d}"
        sample = sample_of(data, middle[4].relative_to(data).as_posix(), options, id=f"{options.name}/{key}",
                           patient=patient, group=patient or key)
        items.append(Item(sample, made_name(sample.id), options.kind, radiological=options.radiological))
    return Found(tuple(items), data, left_out)


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _slice(file: Path) -> Slice | None:
    """Return what orders a file among its series; None for what is no image."""
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        if "Rows" not in header or "SeriesInstanceUID" not in header:
            return None
        number = float(header.get("InstanceNumber") or 0)
        along = None
        where, how = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
        if where and how:
            across = np.cross(np.array(how[:3], dtype=float), np.array(how[3:], dtype=float))
            along = float(across @ np.array(where, dtype=float))
        return str(header.SeriesInstanceUID), str(header.get("PatientID") or ""), along, number, file
    except DAMAGE:
        return None


def _place(one: Slice) -> tuple[float, float, str]:
    return (one[2] if one[2] is not None else one[3], one[3], one[4].name)
