"""The build: same plan same bytes, wherever and however often it was stopped; nothing that may not be taught."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instruct_data import engine
from instruct_data.__main__ import Build, build, main
from instruct_data.build import finish, finished
from instruct_data.checks import check
from instruct_data.engine import MOST_FORMS, Plan, local, make_part, parts
from instruct_data.mix import KINDS
from instruct_data.records import OUT_OF_DOMAIN, read
from specialists.core.errors import BadData
from tests.drawn import data_folder, evidence_folder, masks_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_folder(tmp_path_factory.mktemp("drawn") / "data", 5)


@pytest.fixture(scope="module")
def evidence(data: Path) -> Path:
    return evidence_folder(data.parent / "evidence", data)


def plan_of(data: Path, evidence: Path, out: Path) -> Plan:
    return Plan(data, out, evidence, part=3)


def made(plan: Plan) -> dict:
    local(plan, lambda number: None)
    return finish(plan)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_same_bytes_and_another_seed_other_words(data: Path, evidence: Path, tmp_path: Path) -> None:
    first = made(plan_of(data, evidence, tmp_path / "a"))
    second = made(plan_of(data, evidence, tmp_path / "b"))
    assert first == second
    assert files(tmp_path / "a") == files(tmp_path / "b")
    third = made(replace(plan_of(data, evidence, tmp_path / "c"), seed=1))
    assert third["files"] != first["files"]
    assert third["facts"] == pytest.approx(first["facts"], rel=0.3)


def test_a_killed_build_goes_on_to_the_same_bytes(data: Path, evidence: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plan_of(data, evidence, tmp_path / "whole")
    made(whole)
    cut = plan_of(data, evidence, tmp_path / "cut")
    assert parts(cut) > 2
    make_part(cut, 0)
    (engine.part_file(cut, 1)).write_text("half a li")  # killed while writing: the line about it is missing
    again: list[int] = []
    of_item = engine.of_item
    monkeypatch.setattr(engine, "of_item", lambda item, *rest: again.append(1) or of_item(item, *rest))
    made(cut)
    assert len(again) < len(engine.library_of(cut).items)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_no_fact_is_told_more_often_than_allowed(data: Path, evidence: Path, tmp_path: Path) -> None:
    manifest = made(replace(plan_of(data, evidence, tmp_path / "many"), forms=MOST_FORMS))
    told = Counter((r.images, fact) for r in read(tmp_path / "many") if len(r.images) == 1 for fact in r.facts)
    assert max(told.values()) == MOST_FORMS
    assert manifest["lost"][f"a fact in more than {MOST_FORMS} forms"] > 0
    with pytest.raises(BadData, match="1 to 8"):
        replace(plan_of(data, evidence, tmp_path), forms=9)


def test_the_manifest_counts_what_is_there(data: Path, evidence: Path, tmp_path: Path) -> None:
    manifest = made(plan_of(data, evidence, tmp_path / "out"))
    records = list(read(tmp_path / "out"))
    assert manifest["records"] == len(records) == sum(row["records"] for row in manifest["kinds"].values())
    assert {r.kind for r in records} == set(manifest["kinds"]) <= set(KINDS)
    assert len({r.id for r in records}) == len(records)
    assert manifest["facts"] == sum(row["new_facts"] for row in manifest["kinds"].values())
    assert manifest["excluded"] == sorted(OUT_OF_DOMAIN)
    assert {r.split for r in records} == {"train"}
    hashed = [line.split("  ")[1] for line in (tmp_path / "out" / "images.sha256").read_text().splitlines()]
    assert {i for r in records for i in r.images} <= set(hashed)
    assert "Research use only" in (tmp_path / "out" / "README.md").read_text()


def test_conversations_have_their_images_and_end_with_an_answer(data: Path, evidence: Path, tmp_path: Path) -> None:
    made(plan_of(data, evidence, tmp_path / "out"))
    for record in read(tmp_path / "out"):
        last = record.messages[-1]
        assert last["role"] == "assistant"
        assert last["content"] or last["tool_calls"]
        parts_ = [p for m in record.messages if isinstance(m["content"], list) for p in m["content"]]
        assert len(record.images) == sum(p["type"] == "image" for p in parts_)


def test_a_corrupt_image_is_named_and_left_out(evidence: Path, tmp_path: Path) -> None:
    broken = data_folder(tmp_path / "data", 3)
    victim = broken / "brain_tumor_mri" / "images" / "glioma_1.png"
    victim.write_bytes(victim.read_bytes()[:200])
    huge = broken / "brain_tumor_mri" / "images" / "glioma_2.png"
    Image.new("L", (40_000, 8)).save(huge)
    manifest = made(Plan(broken, tmp_path / "out"))
    assert set(manifest["left_out"]) == {f"brain_tumor_mri/images/{file.name}" for file in (victim, huge)}
    assert "40,000" in manifest["left_out"]["brain_tumor_mri/images/glioma_2.png"]
    named = [i for r in read(tmp_path / "out") for i in r.images]
    assert named
    assert not any("glioma_1" in i or "glioma_2" in i for i in named), "as a second image neither"
    assert manifest["lost"]["another image that cannot be read"] > 0


def test_an_excluded_set_stays_out_and_may_be_allowed(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data", 3)
    (data / "brain_tumor_mri").rename(data / "head_ct_hemorrhage")
    file = data / "head_ct_hemorrhage" / "records.jsonl"
    file.write_text(file.read_text().replace("brain_tumor_mri", "head_ct_hemorrhage"))
    out = build(Build(data, tmp_path / "out"))
    assert set(out["sets"]) <= {"busi_breast_ultrasound", "imagined"}
    taken = build(Build(data, tmp_path / "all", allow=("head_ct_hemorrhage",)))
    assert "head_ct_hemorrhage" in taken["sets"]
    assert "head_ct_hemorrhage" not in taken["excluded"]


def test_another_build_is_not_overwritten(data: Path, evidence: Path, tmp_path: Path) -> None:
    plan = plan_of(data, evidence, tmp_path / "out")
    manifest = made(plan)
    assert finished(plan) == manifest
    with pytest.raises(BadData, match="another build"):
        finished(replace(plan, seed=5))


def test_parquet_holds_what_jsonl_holds(data: Path, evidence: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made(plan_of(data, evidence, tmp_path / "out"))
    table = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    records = list(read(tmp_path / "out"))
    assert table["id"] == [r.id for r in records]
    assert [json.loads(m) for m in table["messages"]] == [list(r.messages) for r in records]
    assert [[b["name"] for b in row] for row in table["boxes"]] == [[b.name for b in r.boxes] for r in records]


def test_ray_gives_the_same_bytes(data: Path, evidence: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    build(Build(data, tmp_path / "here", evidence))
    build(Build(data, tmp_path / "ray", evidence, engine="ray", workers=2))
    assert files(tmp_path / "here") == files(tmp_path / "ray")


def test_kinds_are_named_and_unknown_ones_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="Known: attributes"):
        build(Build(data, tmp_path / "out", kinds=("poems",)))
    with pytest.raises(BadData, match="--evidence"):
        build(Build(data, tmp_path / "out", kinds=("evidence",)))
    with pytest.raises(BadData, match="folder or file"):
        build(Build(tmp_path / "nothing", tmp_path / "out"))


def test_the_command_says_what_it_built(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["build", "--data", str(data), "--out", str(tmp_path / "out"), "--kinds", "diagnosis", "image_kind"]
    assert main(said) == 0
    assert "distinct facts" in capsys.readouterr().out
    assert {r.kind for r in read(tmp_path / "out")} == {"diagnosis", "image_kind"}
    assert main(["paint"]) == 2
    assert main([]) == 0


def test_twenty_images_with_masks_make_a_correct_small_set(tmp_path: Path) -> None:
    data = masks_folder(tmp_path / "polyps")
    manifest = build(Build(data, tmp_path / "out"))
    assert (manifest["images"], manifest["left_out"]) == (20, {})
    records = list(read(tmp_path / "out"))
    polyps, tools_ = 0, 0
    for record in (r for r in records if r.kind == "visual_grounding" and r.boxes):
        with Image.open(data / "masks" / Path(record.images[0]).name) as mask:
            values = np.array(mask)
        for box in record.boxes:
            x1, y1, x2, y2 = (round(v * side) for v, side in zip(box.box, (128, 96, 128, 96), strict=True))
            value = {"polyp": 1, "instrument": 2}[box.name]
            inside = (values == value)[y1:y2, x1:x2]
            assert inside.any(0).all()  # each column and row of the box holds some of the thing
            assert inside.any(1).all()
            polyps, tools_ = polyps + (value == 1), tools_ + (value == 2)
    assert (polyps, tools_) == (30, 10)
    absent = {r.images[0] for r in records if "absent: instrument" in r.facts}
    assert absent <= {f"images/case_{i:02d}.png" for i in range(20) if i % 4 >= 2}
    assert check(tmp_path / "out", data).errors == 0


def test_images_of_which_nothing_is_known_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 40), (60 * i, 90, 120)).save(tmp_path / "data" / "pictures" / f"{i}.png")
    with pytest.raises(BadData, match="Nothing is known of the 3 images"):
        build(Build(tmp_path / "data", tmp_path / "out"))
