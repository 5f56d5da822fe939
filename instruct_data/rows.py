"""Images that lie in the rows of a file: arrays of a .npz, encoded pictures in a .parquet; no pickled objects, ever."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from specialists.core.errors import BadData
from specialists.core.study import DAMAGE, Study, read_study


def study_of(path: Path, row: Mapping[str, Any]) -> Study:
    """Return the image of {"array": name, "number": n} of a .npz, or of {"column": name, "number": n} of a .parquet.

    Raises BadStudy or BadData.
    """
    if "array" in row:
        return read_study(np.asarray(arrays(path)[row["array"]][row["number"]]))
    cell = table(path).column(row["column"])[row["number"]].as_py()
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return read_study(data if isinstance(data, bytes) else b"")


def arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Return the arrays of a .npz file, kept while it stays the same; raises BadData."""
    return _arrays(path, _stamp(path))


def table(path: Path) -> pa.Table:
    """Return the rows of a .parquet file, kept while it stays the same; raises BadData."""
    return _table(path, _stamp(path))


@lru_cache(maxsize=1)
def _arrays(path: Path, stamp: int) -> Mapping[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGE:
        raise BadData(f"{path.name} is no .npz file of plain arrays; wanted e.g. train_images and train_labels. "
                      "Save it again with numpy.savez.") from None


@lru_cache(maxsize=1)
def _table(path: Path, stamp: int) -> pa.Table:
    try:
        return parquet.read_table(path, memory_map=True)
    except (OSError, pa.ArrowException):
        raise BadData(f"{path.name} is no Parquet file; wanted rows of image, question and answer. "
                      "Export it again.") from None


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        raise BadData(f"There is no file {path.name!r}; check the path.") from None
