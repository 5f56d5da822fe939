"""Which images a batch finds."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assistant.batch.sources import Item, items
from assistant.errors import BadQuestion

DICOM = bytes(128) + b"DICM"


def test_a_tree_in_order_and_only_its_images(tmp_path: Path) -> None:
    for name, content in {"b/2.PNG": b"", "a/1.jpg": b"", "a/notes.txt": b"", "a/.hidden.png": b"", ".git/x.png": b"",
                          "c/IM0001": DICOM, "c/1.2.840.7": DICOM, "c/README": b"words", "DICOMDIR": DICOM,
                          "z.nii.gz": b"", "c/d.md": DICOM}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = list(items(tmp_path))
    assert [item.id for item in found] == ["z.nii.gz", "a/1.jpg", "b/2.PNG", "c/1.2.840.7", "c/IM0001"]
    assert found[1].path == tmp_path / "a/1.jpg"


ROWS = [{"image": "a.png", "id": "one", "options": "yes | no", "patient": "p1"},
        {"image": "b.png", "question": "Q?", "kind": "brain MRI"}]
ITEMS = ("one", None, ("yes", "no"), "p1", None), ("2", "Q?", None, None, "brain MRI")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_of_any_kind(tmp_path: Path, ending: str) -> None:
    table = tmp_path / f"table{ending}"
    columns = ["image", "id", "question", "options", "patient", "kind"]
    if ending == ".jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif ending == ".parquet":
        pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in ROWS]), table)
    else:
        comma = "," if ending == ".csv" else "\t"
        table.write_text("\n".join(comma.join(row.get(name, "") for name in columns)
                                   for row in ({name: name for name in columns}, *ROWS)))
    found = list(items(table))
    assert [(i.id, i.question, i.options, i.patient, i.kind) for i in found] == list(ITEMS)
    assert found[0].path == tmp_path / "a.png"


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadQuestion, match="wanted a folder"):
        items(tmp_path / "none")
    table = tmp_path / "t.csv"
    table.write_text("image,id\na.png,1\nb.png,1\n")
    with pytest.raises(BadQuestion, match="stands there twice"):
        list(items(table))
    table.write_text("file\na.png\n")
    with pytest.raises(BadQuestion, match="Row 1 of t.csv names no image"):
        list(items(table))
    assert Item("x", tmp_path).question is None
