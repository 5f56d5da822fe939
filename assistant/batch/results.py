"""The file that a batch writes: parts while it runs, one Parquet file at the end, and what is already done.

It answers nothing. A part is written whole or not at all, so that a batch can be cut off anywhere and go on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assistant.batch.sources import Item, writable
from assistant.errors import BadQuestion, ConsiliumError
from assistant.steps import Answer
from specialists.core.errors import SpecialistsError

SCHEMA = pa.schema([
    ("id", pa.string()), ("image", pa.string()), ("question", pa.string()), ("kind", pa.string()),
    ("label", pa.string()), ("confidence", pa.float64()), ("refer", pa.bool_()), ("refer_reason", pa.string()),
    ("text", pa.string()), ("options", pa.string()), ("findings", pa.string()), ("boxes", pa.string()),
    ("evidence", pa.string()), ("trace_id", pa.string()), ("seconds", pa.float64()),
    ("error", pa.string()), ("error_type", pa.string())])
"""A row an image; options, findings (masks as COCO run lengths), boxes and evidence as JSON; or an error."""
NESTED = ("options", "findings", "boxes", "evidence")
SETTINGS = b"consilium"
"""Key of the file's metadata that holds how was asked."""

Row = dict[str, Any]


def answered(item: Item, question: str, answer: Answer) -> Row:
    """Return the row of an answer."""
    told = answer.json()
    whole = {name: told[name] for name in SCHEMA.names if name in told and name not in NESTED}
    return {"id": item.id, "image": str(item.path), "question": question, **whole,
            **{name: json.dumps(told[name]) for name in NESTED}}


def failed(item: Item, question: str, fault: Exception) -> Row:
    """Return the row of an image that could not be answered; a library's message may quote a header and is left out."""
    kind = type(fault).__name__
    said = str(fault) if isinstance(fault, ConsiliumError | SpecialistsError) else f"failed with {kind}"
    return {"id": item.id, "image": str(item.path), "question": question, "error": said, "error_type": kind}


class Results:
    """A Parquet file in the making; `done` holds the ids that have an answer.

    An image whose row is an error is asked again, and its new row takes the place of the error.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        """Look for what is there; raises BadQuestion where it was asked otherwise, or nothing can be written there."""
        if out.is_dir():
            raise BadQuestion(f"{out} is a folder; wanted a file to write, such as {out / 'results.parquet'}.")
        if out.suffix not in ("", ".parquet"):
            raise BadQuestion(f"{out.name!r}: results are written as Parquet; wanted a name such as "
                              f"{out.with_suffix('.parquet').name!r}.")
        self.out, self.parts = out, out.with_name(out.name + ".parts")
        self._schema = SCHEMA.with_metadata({SETTINGS: json.dumps(settings, sort_keys=True).encode()})
        self.done: set[str] = set()
        self._errors: Counter[str] = Counter()
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadQuestion(f"{self.parts} cannot be made ({error.strerror}); name another file to write.") from error
        for file in self._files():
            self._look(file)

    def add(self, rows: Sequence[Row]) -> None:
        """Write a part of the file."""
        plain = [{name: writable(value) if isinstance(value, str) else value for name, value in row.items()}
                 for row in rows]
        table = pa.Table.from_pylist(plain, schema=self._schema)
        number = 1 + max((int(path.stem) for path in self.parts.glob("*.parquet")), default=0)
        whole = self.parts / f"{number:08d}.parquet"
        pq.write_table(table, whole.with_suffix(".tmp"))
        os.replace(whole.with_suffix(".tmp"), whole)
        self._count((row["id"], row.get("error")) for row in rows)

    def finish(self) -> tuple[int, int]:
        """Join what was there and all parts to the one file; return its rows, and how many of them failed.

        Of each image stands its answer, or else its last error.
        """
        left, errors = set(self.done), self._errors.copy()

        def stands(name: str, error: str | None) -> bool:
            if error is None:
                first = name in left
                left.discard(name)
                return first
            errors[name] -= 1
            return name not in self.done and not errors[name]

        whole = self.parts / "whole.tmp"
        rows = faults = 0
        with pq.ParquetWriter(whole, self._schema) as writer:
            for path in self._files():
                with pq.ParquetFile(path) as file:
                    for read in file.iter_batches(batch_size=1024):
                        batch = read.filter(pa.array([stands(*row) for row in _ends(read)], pa.bool_()))
                        writer.write_batch(batch)
                        rows += batch.num_rows
                        faults += batch.num_rows - batch.column("error").null_count
        os.replace(whole, self.out)
        shutil.rmtree(self.parts)
        return rows, faults

    def _count(self, rows: Iterable[tuple[str, str | None]]) -> None:
        for name, error in rows:
            if error is None:
                self.done.add(name)
            else:
                self._errors[name] += 1

    def _files(self) -> list[Path]:
        return [*([self.out] if self.out.is_file() else []), *sorted(self.parts.glob("*.parquet"))]

    def _look(self, path: Path) -> None:
        try:
            with pq.ParquetFile(path) as file:
                told = (file.schema_arrow.metadata or {}).get(SETTINGS)
                if told != (self._schema.metadata or {})[SETTINGS]:
                    raise BadQuestion(f"{path} holds answers to another question, about another source, or of other "
                                      f"settings: {(told or b'not told').decode()}. Name another file, or take it "
                                      "away.")
                for batch in file.iter_batches(batch_size=4096, columns=["id", "error"]):
                    self._count(_ends(batch))
        except pa.ArrowInvalid as error:
            raise BadQuestion(f"{path} is no Parquet file ({error}): take it away.") from error


def _ends(batch: pa.RecordBatch) -> Iterable[tuple[str, str | None]]:
    """Return ids with what went wrong, None where nothing did."""
    return zip(batch.column("id").to_pylist(), batch.column("error").to_pylist(), strict=True)
