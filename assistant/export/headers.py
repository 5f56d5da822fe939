"""The header of a DICOM file, for a list shown on demand and for objects of the same study.

It holds what identifies a patient: it is kept in memory alone, never stored, logged or sent. No pixel is read.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.dataelem import DataElement

from specialists.core.study import DAMAGE

OPAQUE = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "SQ"})
"""Kinds of value that no person reads."""
CHARACTERS = 120
ROWS = 200
UNREADABLE = "(damaged)"
"""Stands for a value that cannot be read."""


def read_header(source: str | os.PathLike | bytes) -> Dataset | None:
    """Return the header of a DICOM file without its pixels; None for every other file."""
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        if data[128:132] != b"DICM":
            return None
        with warnings.catch_warnings():  # they would print values
            warnings.simplefilter("ignore")
            return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    except DAMAGE:
        return None


def rows(header: Dataset) -> list[tuple[str, str, str]]:
    """Return tag, name and value of each element that a person can read, at most `ROWS`, cut to `CHARACTERS`."""
    return [row for row, _ in zip(_rows(header), range(ROWS), strict=False)]


def _rows(header: Dataset) -> Iterator[tuple[str, str, str]]:
    for tag in sorted(header.keys()):
        try:
            with warnings.catch_warnings():  # they would print the value
                warnings.simplefilter("ignore")
                element = header[tag]
                value = _value(element)
        except DAMAGE:
            yield str(tag), "", UNREADABLE
            continue
        if element.VR not in OPAQUE and not element.tag.is_private:
            yield str(element.tag), element.name, value


def _value(element: DataElement) -> str:
    words = " ".join(str(element.value if element.value is not None else "").split())
    return words if len(words) <= CHARACTERS else f"{words[:CHARACTERS]}..."
