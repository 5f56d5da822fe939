"""Which images a batch finds."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assistant.batch.sources import Item, check, items
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


def test_what_is_no_file_is_left_out_and_what_cannot_be_read_is_not(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "IM1").symlink_to("nowhere")
    os.mkfifo(tmp_path / "IM2")
    for name in ("IM3", "IM4"):
        (tmp_path / name).write_bytes(DICOM)
    plain = Path.open

    def closed(path: Path, *how: Any) -> Any:
        if path.name == "IM3":
            raise PermissionError(13, "Permission denied")
        return plain(path, *how)
    monkeypatch.setattr(Path, "open", closed)
    assert [item.id for item in items(tmp_path)] == ["IM3", "IM4"]


def test_a_name_that_is_no_utf8_has_an_id_that_is(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(b"")
    item, = items(tmp_path)
    assert (item.id, item.path) == ("caf\\xe9.png", path)


def test_a_row_inserted_later_does_not_take_the_id_of_another(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,question\na.png,One?\nb.png,\na.png,Two?\n")
    assert [item.id for item in items(table)] == ["a.png", "b.png", "a.png#2"]
    table.write_text("image,question\nc.png,\na.png,One?\nb.png,\na.png,Two?\n")
    assert [item.id for item in items(table)] == ["c.png", "a.png", "b.png", "a.png#2"]
    (tmp_path / "t.jsonl").write_text('{"image": "a.png", "id": 0}\n{"image": "b.png", "id": ""}\n')
    assert [item.id for item in items(tmp_path / "t.jsonl")] == ["0", "b.png"]


@pytest.mark.parametrize(("name", "content", "says"), [
    ("t.csv", b"image,question\na.png,x\nb.png,Gef\xe4\xdf?\n", r"Row 2 of t.csv is not UTF-8 \(byte 0xe4\)"),
    ("t.tsv", b"image\tpr\xfcfung\na.png\tx\n", "The head of t.tsv is not UTF-8"),
    ("t.csv", "image\na.png\n".encode("utf-16"), "The head of t.csv is not UTF-8"),
    ("t.csv", b"image\na.png\n" + b"b" * 140_000, "Row 2 of t.csv cannot be read"),
    ("t.jsonl", b'{"image": "a.png"}\n\n{"image": \n', "Row 2 of t.jsonl is no JSON"),
    ("t.jsonl", b"[" * 100_000, "Row 1 of t.jsonl is no JSON"),
    ("t.jsonl", b'{"image": "a.png"}\n["b.png"]\n', "Row 2 of t.jsonl is .*b.png.*; wanted an object"),
    ("t.jsonl", b'{"image": "a.png", "options": 5}\n', "Row 1 of t.jsonl has the options '5'"),
    ("t.jsonl", b'{"image": "a\xff.png"}\n', "Row 1 of t.jsonl is not UTF-8"),
    ("t.parquet", b"no parquet", "t.parquet is no Parquet file")])
def test_a_table_that_cannot_be_read_names_the_row(
        tmp_path: Path, request: pytest.FixtureRequest, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    before = csv.field_size_limit(131_072)      # others of this process may have raised it
    request.addfinalizer(lambda: csv.field_size_limit(before))
    with pytest.raises(BadQuestion, match=says):
        check(tmp_path / name)


ROWS = [{"image": "a.png", "id": "one", "options": "yes | no", "patient": "p1"},
        {"image": "b.png", "question": "Q?", "kind": "brain MRI"}]
ITEMS = ("one", None, ("yes", "no"), "p1", None), ("b.png", "Q?", None, None, "brain MRI")


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


@pytest.mark.parametrize("ending", [".CSV", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["patient_id", "Patient ID", "Subject-ID", " patient"])
def test_a_patient_is_known_under_the_names_of_training_and_without_blanks(
        tmp_path: Path, ending: str, column: str) -> None:
    table = tmp_path / f"T4{ending}"
    rows = [{"Image": "a.png", column: " Pm04 "}, {"Image": "b.png", column: " "}]
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    elif ending == ".jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        table.write_text(f"Image,{column}\na.png, Pm04 \nb.png, \n")
    assert [(item.id, item.patient) for item in items(table)] == [("a.png", "Pm04"), ("b.png", None)]


@pytest.mark.parametrize(("name", "says"), [("t.csv", "it has no row"), ("notes.txt", "wanted files that end in")])
def test_a_source_without_an_image_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).write_text("image,id\n")
    with pytest.raises(BadQuestion, match=f"No image in .*{says}"):
        check(tmp_path / name if name.endswith("csv") else tmp_path)


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
