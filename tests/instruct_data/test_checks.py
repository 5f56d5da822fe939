"""`consilium data check`: each fault is found, sound data pass, and the exit status says which it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from instruct_data import duplicates
from instruct_data.checks import Check, CheckReport, check, run_check
from instruct_data.faults import CHECKS
from instruct_data.records import Marked, Record, read, write
from specialists.core.errors import BadData
from tests.instruct_data.made_records import POLYP, STENT, made

GOOD = made("Where is the polyp?", "Here is the polyp: {boxes:0}", facts=["box: polyp 100 200 400 600"])
TOOL = {"type": "function", "function": {"name": "expert", "parameters": {}}}


def built(folder: Path, records: Sequence[Record], **manifest: Any) -> Path:
    """Write records and a manifest as a build does."""
    write(records, folder / "records-00000.jsonl")
    (folder / "manifest.json").write_text(json.dumps({"split": "train", "excluded": ["wbc"], **manifest}))
    return folder


def counts(report: CheckReport) -> dict[str, int]:
    return {r.check: r.count for r in report.rows if r.count}


def again(record: Record, number: int, **changes: Any) -> Record:
    """Return the record with another id and image."""
    return replace(record, id=f"{record.id}-{number}", images=(f"colon/images/{number}.png",), group=f"g{number}",
                   **changes)


def calling(name: str, arguments: Any, answers: str = "c1") -> Record:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    messages = [*GOOD.messages[:2], {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": answers, "name": name, "content": "glioma 80"},
                {"role": "assistant", "content": "Most likely glioma."}]
    return replace(GOOD, messages=tuple(messages), tools=(TOOL,))


def turned(*roles: str) -> Record:
    messages = [{"role": r, "content": f"{r} {i}"} for i, r in enumerate(roles)]
    return replace(GOOD, messages=tuple(messages), images=(), sizes=(), boxes=())


def box(*corners: float, image: int = 0) -> Record:
    return replace(GOOD, boxes=(Marked("polyp", corners, image),))  # type: ignore[arg-type]


def test_sound_records_pass(tmp_path: Path) -> None:
    records = [GOOD, again(GOOD, 2), calling("expert", {}), again(calling("expert", '{"a": 1}'), 3),
               replace(GOOD, id="ends", messages=calling("expert", {}).messages[:3], tools=(TOOL,))]
    report = check(built(tmp_path, records))
    assert (counts(report), report.code, report.records, report.images) == ({}, 0, 5, 3)
    assert len(report.rows) == len(CHECKS)


@pytest.mark.parametrize(("record", "name"), [
    (box(-0.1, 0.2, 0.4, 0.6), "box out of range"), (box(0.4, 0.2, 0.1, 0.6), "box out of range"),
    (box(float("nan"), 0.2, 0.4, 0.6), "box out of range"), (box(0.4, 0.2, 0.4004, 0.6), "box without area"),
    (box(0.1, 0.2, 0.4, 0.6, image=1), "placeholder to nowhere"), (replace(GOOD, boxes=()), "placeholder to nowhere"),
    (made("Where is the {name}?", "Here."), "slot left open"), (made("Where?", "{boxes:}"), "slot left open"),
    (made("Where?", "[100, 200, 400, 600]"), "coordinates written out"),
    (made("Where?", " "), "empty turn"), (made("Where?"), "missing answer"),
    (turned("user", "assistant", "assistant"), "roles out of order"),
    (turned("assistant", "user", "assistant"), "roles out of order"),
    (turned("user", "tool", "assistant"), "roles out of order"),
    (replace(GOOD, images=("a.png", "b.png")), "images miscounted"), (replace(GOOD, sizes=()), ""),
    (made("Where?", "Here.", "Where?", "There."), "question asked twice"),
    (calling("other", {}), "tool not offered"), (calling("expert", "{"), "broken tool call"),
    (calling("expert", [1]), "broken tool call"), (calling("expert", {}, answers="c2"), "broken tool call"),
    (replace(GOOD, dataset="nih_chestxray8_subset"), "excluded set"), (replace(GOOD, dataset="wbc"), "excluded set"),
    (replace(GOOD, split="val"), "wrong split"),
    (made("Where is the glioma?", "It is a glioma.", kind="findings", facts=["diagnosis: glioma"]),
     "answer in the question"),
    (made("Image: colonoscopy.\nWhat kind of image?", "A colonoscopy.", kind="image_kind",
          facts=["kind: colonoscopy"]), "answer in the question"),
    (made("Is it glioma?", "Yes, glioma.", kind="presence", facts=["diagnosis: glioma"]), ""),
    (made("Is it glioma or not?", "It is glioma.", kind="findings", facts=["diagnosis: glioma"]), ""),
    (made("What?", "A glioma.", "Where is the glioma?", "The glioma is here.", kind="findings",
          facts=["diagnosis: glioma"]), ""),
])
def test_faults_of_one_record(record: Record, name: str, tmp_path: Path) -> None:
    report = check(built(tmp_path, [record]))
    found = counts(report)
    assert (name in found) if name else not found, found
    assert report.code == int(any(CHECKS[n][0] == "error" for n in found))
    if name:
        assert next(r for r in report.rows if r.check == name).example == record.id


MANY = [replace(made(f"Q{'x' * n}?", f"There is a polyp, wording {'y' * n}."), id=f"r{n}", facts=("present: polyp",))
        for n in range(9)]
MIRROR = replace(GOOD, id="m", messages=made("Locate it.", "{boxes:0}").messages,
                 boxes=(Marked("polyp", (0.6, 0.2, 0.9, 0.6)),))
LONG = "The image shows a polyp with a smooth surface in the upper part of the bowel and nothing else of note there, " \
       "which was looked for in every part of it from one end to the other by two people"


@pytest.mark.parametrize(("records", "name", "times"), [
    ([GOOD, replace(GOOD, id="r2")], "the same conversation twice", 1),
    ([GOOD, replace(GOOD, id="r2", boxes=(replace(POLYP, box=(0.1, 0.2, 0.4, 0.7)),))], "", 0),
    ([made("What?", LONG + "."), made("What?", LONG + " today.", name="r2")], "nearly the same words", 1),
    (MANY, "too many forms of a fact", 1), (MANY[:8], "", 0),
    ([again(r, n) for n, r in enumerate(MANY)], "", 0),
    ([GOOD, MIRROR], "box mirrored", 2), ([GOOD, again(MIRROR, 7)], "", 0),
    ([replace(GOOD, boxes=(*GOOD.boxes, *MIRROR.boxes))], "", 0),
    ([MANY[0], replace(MANY[1], facts=("absent: polyp",))], "contradiction", 1),
    ([GOOD, replace(MANY[1], facts=("absent: polyp",))], "contradiction", 1),
    ([replace(MANY[0], facts=("diagnosis: a",)), replace(MANY[1], facts=("diagnosis: b",))], "contradiction", 1),
    ([replace(MANY[0], facts=("diagnosis: a", "diagnosis: b")), replace(MANY[1], facts=("diagnosis: b",))], "", 0),
    ([replace(MANY[0], facts=("count: cell 3",)), replace(MANY[1], facts=("count: cell 4",))], "contradiction", 1),
    ([GOOD, replace(MANY[0], split="val")], "image on two sides", 1),
    ([GOOD, replace(again(GOOD, 9), split="val", group=GOOD.group)],
     "group on two sides", 1),
    ([again(made("Which?", "B", kind="diagnosis"), n) for n in range(40)], "one answer prevails", 1),
    ([again(made("Which?", "ABCD"[n % 4], kind="diagnosis"), n) for n in range(40)], "", 0),
])
def test_faults_between_records(records: list[Record], name: str, times: int, tmp_path: Path) -> None:
    found = counts(check(built(tmp_path, records, split="all")))
    assert found.get(name, 0) == times
    assert name or not found


def test_other_folders_are_the_other_side(tmp_path: Path) -> None:
    train = built(tmp_path / "train", [GOOD, again(GOOD, 2)])
    other = built(tmp_path / "val", [replace(again(GOOD, 3), split="val", group=GOOD.group),
                                     replace(again(GOOD, 2), split="val", group="new")], split="val")
    assert counts(check(train, against=[other])) == {"group on two sides": 1, "image on two sides": 1}
    assert not counts(check(train, against=[built(tmp_path / "b", [replace(again(GOOD, 8), split="val")])]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write a set of three images: two alike but for a dot, one cut off; the first with its boxes."""
    folder = tmp_path / "data/colon"
    (folder / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "images/1.png")
    noise[:2, :2] = 0
    Image.fromarray(noise).save(folder / "images/2.png")
    (folder / "images/3.png").write_bytes((folder / "images/1.png").read_bytes()[:200])
    rows = [{"id": "1", "image": "images/1.png", "split": "train", "boxes": [{"name": "polyp", "box": POLYP.box}]}]
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path / "data"


def test_images_are_opened_where_the_data_are_given(data: Path, tmp_path: Path) -> None:
    records = [GOOD, replace(again(GOOD, 2), split="val"), again(GOOD, 3), again(GOOD, 4),
               replace(GOOD, id="made", images=("made/9.png",), group="g")]
    folder = built(tmp_path / "out", records, split="all")
    assert counts(check(folder)) == {"image missing": 1}
    assert counts(check(folder, data)) == {"image missing": 2, "image unreadable": 1,
                                           "nearly the same image on two sides": 1}
    other = built(tmp_path / "val", [records[1]], split="val")
    report = check(built(tmp_path / "one", [GOOD]), data, against=[other])
    assert counts(report) == {"nearly the same image on two sides": 1}


def test_boxes_are_compared_with_the_source(data: Path, tmp_path: Path) -> None:
    def of(name: str, marked: Marked) -> dict[str, int]:
        return counts(check(built(tmp_path / name, [replace(GOOD, boxes=(marked,))]), data))
    assert of("a", POLYP) == of("b", STENT) == {}
    assert of("c", MIRROR.boxes[0]) == {"box mirrored": 1}
    assert of("d", replace(POLYP, box=(0.1, 0.2, 0.5, 0.9))) == {"box not in the source": 1}


def test_the_same_meaning_by_an_encoder(tmp_path: Path) -> None:
    class TwoMeanings:
        name = "two"

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[3.0, 0.0] if "polyp" in t else [0.0, 1.0] for t in texts])

    folder = built(tmp_path, [GOOD, replace(MANY[0], facts=()), made("What?", "A stent.", name="s", boxes=())])
    assert counts(check(folder, semantic=True, encoder=TwoMeanings())) == {"the same meaning": 1}
    assert not counts(check(folder, encoder=TwoMeanings()))


def test_minhash_and_image_hashes() -> None:
    words = [f"word{n}" for n in range(60)]
    texts = [" ".join(words), " ".join([*words, "end"]), " ".join(reversed(words)), ""]
    assert list(duplicates.alike(texts)) == [(0, 1)]
    near = [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, bytes(32)]
    assert list(duplicates.near_images(near, ["train", "val", "val", "train"])) == [(0, 1), (1, 3)]


def test_the_command_prints_a_table_and_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_check(Check(built(tmp_path / "good", [GOOD]))) == 0
    assert run_check(Check(built(tmp_path / "bad", [box(-1, 0, 0.5, 0.5)]))) == 1
    out = capsys.readouterr().out
    assert "box out of range" in out
    assert "1 conversations, 1 images" in out
    with pytest.raises(BadData, match="consilium data build"):
        check(tmp_path / "nothing")


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    folder = built(tmp_path, [GOOD])
    with (folder / "records-00000.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(BadData, match="line 2"):
        check(folder)




@pytest.mark.parametrize("text", ['[{"from": "human", "value": "?"}]', '[\n {"id": 1}\n]', "7",
                                  '{"id": "1", "kind": "x", "images": "a.png", "messages": []}',
                                  '{"id": "1", "kind": "x", "images": [], "messages": ["?"]}'])
def test_what_is_no_record_is_told_where_it_belongs(tmp_path: Path, text: str) -> None:
    """Lists of conversations, as other programs have them, are what a layout reads."""
    (tmp_path / "records.jsonl").write_text(text + "\n")
    with pytest.raises(BadData, match=r"records\.jsonl line 1 is no record .*data build --layout conversations"):
        check(tmp_path)
    with pytest.raises(BadData, match=r"records\.jsonl line 1 is no record"):
        list(read(tmp_path))
