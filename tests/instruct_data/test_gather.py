"""Gathering: the layout is found by content, splits and exclusions hold, evidence reaches its image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instruct_data.gather import LAYOUTS, gather, layout_of
from instruct_data.items import Item
from instruct_data.records import OUT_OF_DOMAIN
from specialists.core.errors import BadData
from tests.drawn import data_folder, evidence_folder, masks_folder


def record_set(root: Path, name: str, rows: list[dict[str, object]]) -> None:
    """Write a set in the record layout, without its images."""
    (root / name).mkdir(parents=True)
    whole = [{"id": f"{name}/{i}", "image": f"images/{i}.png", "dataset": name, "split": "train", "tier": "A",
              "licence": "CC0", "group": i, **row} for i, row in enumerate(rows)]
    (root / name / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in whole))


def one(root: Path, name: str, **row: object) -> Item:
    """Return the item of a set of one record."""
    record_set(root, name, [row])
    return gather(root).items[0]


def test_splits(tmp_path: Path) -> None:
    data = data_folder(tmp_path)
    assert {i.sample.split for i in gather(data).items} == {"train"}
    assert {i.sample.split for i in gather(data, split="val").items} == {"val"}
    assert len(gather(data, split="all").items) == 16
    with pytest.raises(BadData, match="'test'"):
        gather(data, split="test")
    with pytest.raises(BadData, match="train, val, test, all"):
        gather(data, split="dev")


def test_a_split_that_nobody_named_is_told_how_to_name(tmp_path: Path) -> None:
    for name in ("mine/round/1.png", "mine/long/1.png", "mine/info.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"kind": "white cell"}')
    with pytest.raises(BadData, match="It names no split.*folders named train, val and test"):
        gather(tmp_path / "mine", split="val")
    for label in ("round", "long"):
        (tmp_path / "split" / "val").mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / label).rename(tmp_path / "split" / "val" / label)
    (tmp_path / "mine" / "info.json").rename(tmp_path / "split" / "info.json")
    found = gather(tmp_path / "split", split="val").items
    assert {(item.label, item.kind) for item in found} == {("round", "white cell"), ("long", "white cell")}


def test_without_splits_all_is_for_training(tmp_path: Path) -> None:
    data = masks_folder(tmp_path / "own", 4)
    assert len(gather(data).items) == 4
    with pytest.raises(BadData, match="another split"):
        gather(data, split="val")


def test_excluded_sets_are_left_out_by_name(tmp_path: Path) -> None:
    data = data_folder(tmp_path)
    record_set(data, "head_ct_hemorrhage", [{"label": "no haemorrhage"}])
    library = gather(data, exclude=OUT_OF_DOMAIN | {"busi_breast_ultrasound"})
    assert set(library.by_set) == {"brain_tumor_mri"}
    assert library.left_out == {"busi_breast_ultrasound": "excluded", "head_ct_hemorrhage": "excluded"}
    with pytest.raises(BadData, match="head_ct_hemorrhage: excluded"):
        gather(data / "head_ct_hemorrhage")


@pytest.mark.parametrize(("name", "row"), [
    ("foot_ulcer_wound", {}), ("found_elsewhere", {"tier": "C"}), ("some_set", {"licence": "CC BY-NC-ND 4.0"})])
def test_terms_hold_images_out_unless_asked(tmp_path: Path, name: str, row: dict[str, object]) -> None:
    data = data_folder(tmp_path)
    record_set(data, name, [row])
    library = gather(data)
    assert name not in library.by_set
    assert any(key.startswith(name) for key in library.left_out)
    assert name in gather(data, restricted=True).by_set


def test_evidence_of_an_equal_id_in_another_set_is_not_taken(tmp_path: Path) -> None:
    for name in ("site_a", "site_b"):
        record_set(tmp_path / "data", name, [{"id": "1", "label": "benign"}])
    row = {"id": "1", "dataset": "site_a", "cases": [],
           "opinions": [{"specialist": "s", "label": "benign", "probabilities": {"benign": 1.0}}]}
    (tmp_path / "oof").mkdir()
    (tmp_path / "oof" / "lumps.jsonl").write_text(json.dumps(row) + "\n")
    heard = {item.sample.dataset: len(item.opinions) for item in gather(tmp_path / "data", tmp_path / "oof").items}
    assert heard == {"site_a": 1, "site_b": 0}


def test_a_text_with_a_line_separator_is_one_record(tmp_path: Path) -> None:
    record_set(tmp_path, "site_a", [{"label": "benign"}])
    file = tmp_path / "site_a" / "records.jsonl"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"text": "one\u2028two\u0085"}, ensure_ascii=False),
                    encoding="utf-8")
    assert len(gather(tmp_path).items) == 1


def test_evidence_reaches_its_image_and_broken_lines_are_named(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data")
    folder = evidence_folder(tmp_path / "evidence", data)
    library = gather(data, folder)
    assert set(library.with_evidence) == {"brain_tumor_mri"}
    assert all(i.opinions[0].label == i.label and len(i.cases) == 5
               for i in library.with_evidence["brain_tumor_mri"])
    (folder / "brain_mri.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(BadData, match="line 1"):
        gather(data, folder)
    with pytest.raises(BadData, match="no folder"):
        gather(data, tmp_path / "nowhere")


def test_unknown_layouts_are_told_which_are_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(BadData, match="coco") as caught:
        gather(tmp_path)
    assert all(name in str(caught.value) for name in LAYOUTS)
    with pytest.raises(BadData, match="labelled"):
        gather(tmp_path, layout="poems")
    with pytest.raises(BadData, match="There is no"):
        layout_of(tmp_path / "nowhere")


def test_a_knee_has_a_grade_and_a_side(tmp_path: Path) -> None:
    item = one(tmp_path, "knee_oa_xray", label="KL2", kl_grade=2, side="L", patient="9", age="61", sex="F")
    assert item.kind == "knee X-ray"
    assert item.grade is not None
    assert item.grade.levels[item.grade.value] == "KL2"
    assert item.attributes == {"side": "left"}, "age and sex are no facts about an image"
    assert item.sample.patient == "9"


def test_several_labels_and_key_words(tmp_path: Path) -> None:
    record_set(tmp_path, "odir_fundus", [
        {"label": "DR mild", "labels": ["DR mild", "drusen"], "dr_grade": 1, "keywords": "drusen, mild"},
        {"label": "glaucoma", "labels": ["glaucoma"], "dr_grade": None}])
    first, second = gather(tmp_path).items
    assert (first.present, first.several, first.note) == (("DR mild", "drusen"), True, "drusen, mild")
    assert first.labels == ("DR mild", "drusen", "glaucoma")
    assert first.grade is not None
    assert first.grade.levels[1] == "mild"
    assert second.grade is None


def test_cells_are_counted_and_none_that_must_be_there_is_absent(tmp_path: Path) -> None:
    item = one(tmp_path, "bccd_blood_cells", label="blood smear", counts={"white blood cell": 1},
               boxes=[{"name": "white blood cell", "box": [0.1, 0.2, 0.4, 1.2]},
                      {"name": "platelet", "box": [0.5, 0.5, 0.5, 0.6]}])
    assert item.counts == {"white blood cell": 1}
    assert [r.box for r in item.regions] == [(0.1, 0.2, 0.4, 1.0)], "clipped, and nothing without a width"
    assert item.absent == ("platelet",)
    assert item.labels == ()


def test_questions_keep_their_type_and_lose_empty_answers(tmp_path: Path) -> None:
    item = one(tmp_path, "vqa_rad", label="chest", modality="X-ray (chest)", qa=[
        {"q": "Is the heart large?", "a": "No", "type": "SIZE", "answer_type": "CLOSED "}, {"q": "Why?", "a": " "}])
    assert [(a.question, a.closed) for a in item.asked] == [("Is the heart large?", True)]
    assert item.kind == "chest X-ray"
    assert item.labels == item.present == ()


@pytest.mark.parametrize(("modality", "kind"), [
    ("CT (abdomen)", "abdominal CT"), ("CT or MRI (head)", ""), ("radiology (CT, MRI, X-ray)", ""),
    ("capsule endoscopy", "capsule endoscopy"), ("", "")])
def test_kinds_of_unknown_sets_are_their_modality_or_nothing(tmp_path: Path, modality: str, kind: str) -> None:
    assert one(tmp_path, "some_set", modality=modality).kind == kind


def test_lungs_tell_how_a_chest_is_shown(tmp_path: Path) -> None:
    lungs = [{"name": "right lung", "box": [0.1, 0.1, 0.4, 0.9]}, {"name": "left lung", "box": [0.6, 0.1, 0.9, 0.9]}]
    turned = [{**lungs[0], "name": "left lung"}, {**lungs[1], "name": "right lung"}]
    record_set(tmp_path, "cohen_covid_cxr", [
        {"view": "AP Supine", "boxes": lungs, "report": "An elderly man, day 4."}, {"view": "PA", "boxes": turned}, {}])
    usual, mirrored, unknown = gather(tmp_path).items
    assert usual.attributes == {"view": "AP", "position": "supine"}
    assert (usual.radiological, mirrored.radiological, unknown.radiological) == (True, False, False)
    assert usual.report is None, "a case's course is no report of one image"
    assert usual.marked == ("left lung", "right lung"), "findings that nobody drew are not absent"


@pytest.mark.data
def test_the_real_folder_gives_its_train_images_without_those_held_out(data_dir: Path) -> None:
    library = gather(data_dir)
    assert len(library.items) > 8000
    assert {i.sample.split for i in library.items} == {"train"}
    assert not set(library.by_set) & (OUT_OF_DOMAIN | {"dental_caries_panoramic", "foot_ulcer_wound"})
    assert sum(len(i.asked) for i in library.by_set["vqa_rad"]) > 2000
