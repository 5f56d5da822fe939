"""Instruction data: same seed same records, answers that the records bear out, nothing that may not be taught."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant import template
from assistant.generalist.boxes import JsonThousandths
from instruct_data.__main__ import main
from instruct_data.items import Library, gather
from instruct_data.mix import KINDS as SHARES
from instruct_data.mix import build
from instruct_data.records import KINDS, OUT_OF_DOMAIN, read
from specialists.core.errors import BadData
from tests.drawn import data_folder, evidence_folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("drawn")
    data = data_folder(root / "data")
    return gather(data, evidence_folder(root / "evidence", data))


def test_same_seed_gives_the_same_records(library: Library) -> None:
    assert list(build(library, 60, 3)) == list(build(library, 60, 3))
    assert list(build(library, 60, 3)) != list(build(library, 60, 4))


def test_every_kind_is_made_and_ends_with_an_answer(library: Library) -> None:
    records = list(build(library, 400, 0))
    assert {r.kind for r in records} == set(SHARES) == set(KINDS)
    for record in records:
        last = record.messages[-1]
        assert last["role"] == "assistant"
        assert last["content"] or last["tool_calls"]
        parts = [p for m in record.messages if isinstance(m["content"], list) for p in m["content"]]
        assert len(record.images) == sum(p["type"] == "image" for p in parts)


def test_a_letter_names_the_label_of_the_record(library: Library) -> None:
    labels = {i.image: i.label for i in library.items}
    seen = 0
    for record in build(library, 200, 1, ["diagnosis"]):
        text = record.messages[0]["content"][-1]["text"]
        if "Options:\n" not in text:
            continue
        option = next(line[2:] for line in text.splitlines() if line[:2] == f"{record.messages[-1]['content']} ")
        assert option == labels[record.images[0]]
        seen += 1
    assert seen > 50


def test_boxes_are_those_of_the_record(library: Library) -> None:
    boxes = {i.image: i.boxes for i in library.items}
    for record in build(library, 100, 1, ["grounding"]):
        for box in JsonThousandths().decode(str(record.messages[-1]["content"]), (1000, 1000)):
            assert any(max(abs(a - b) for a, b in zip(box.xyxy, own.xyxy, strict=True)) <= 1
                       for own in boxes[record.images[0]])


def test_only_training_images_are_taught(library: Library) -> None:
    assert {i.sample.split for i in library.items} == {"train"}
    assert not {i.sample.dataset for i in library.items} & OUT_OF_DOMAIN


def test_evidence_kinds_need_evidence(tmp_path: Path) -> None:
    plain = gather(data_folder(tmp_path / "data"))
    with pytest.raises(BadData, match="--evidence"):
        list(build(plain, 1, 0, ["evidence"]))
    with pytest.raises(BadData, match="Known: diagnosis"):
        list(build(plain, 1, 0, ["poems"]))


def test_the_command_writes_readable_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_folder(tmp_path / "data")
    out = tmp_path / "out"
    assert main(["build", "--data", str(data), "--out", str(out), "--count", "20"]) == 0
    assert len(list(read(out / "records.jsonl"))) == 20
    assert "diagnosis" in capsys.readouterr().out
    assert main(["paint"]) == 2


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("{}\n")
    with pytest.raises(BadData, match="line 1"):
        list(read(tmp_path / "records.jsonl"))


def test_decision_prompts_shuffle_and_letter_the_options() -> None:
    options = ["a", "b", "c", "d"]
    assert sorted(template.shuffled(options, "seed")) == options
    assert template.shuffled(options, "seed") == template.shuffled(options[::-1], "seed")
    assert len({tuple(template.shuffled(options, str(i))) for i in range(50)}) > 10
