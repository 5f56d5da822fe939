"""Labelled images in three layouts come out as the same samples."""

from __future__ import annotations

import json

import pytest

from specialists.core.errors import BadData
from specialists.own.sources import NOT_STATED, grouped, read_source
from tests.specialists.own.drawing import class_folders, picture


def test_a_folder_a_class_with_and_without_splits(tmp_path):
    plain = read_source(class_folders(tmp_path / "plain", 3), "dots")
    assert (plain.layout, len(plain.samples)) == ("folders", 9)
    first = plain.samples[0]
    assert (first.id, first.label, first.split, first.patient) == ("blue/00.png", "blue", "", None)
    assert (first.dataset, first.license, first.source) == ("dots", NOT_STATED, "dots")
    assert not grouped(first)
    split = read_source(class_folders(tmp_path / "split", splits={"train": 2, "valid": 1, "test": 1}), "dots")
    assert {s.split for s in split.samples} == {"train", "val", "test"}
    assert {s.label for s in split.samples} == {"blue", "green", "red"}
    assert len({s.id for s in split.samples}) == 12


@pytest.mark.parametrize(("head", "separator"), [
    ("image,label,patient,split", ","), ("File Name;Class;Patient-ID;Split", ";"),
    ("\ufeffpath\tdiagnosis\tsubject\tpartition", "\t")])
def test_a_table_may_name_its_columns_in_several_ways(tmp_path, head, separator):
    rows = [["a.png", "cyst", "p1", "Training"], ["b.png", "none", "", "test"], ["", "none", "p2", "test"],
            ["c.png", "", "p3", "val"], ["d.png", "cyst", "p4", "later"], ["a.png", "cyst", "p1", "train"]]
    (tmp_path / "rows.csv").write_text("\n".join([head, *(separator.join(row) for row in rows)]))
    found = read_source(tmp_path, "cysts", license="CC0", source="ward")
    assert found.layout == "csv"
    assert [(s.id, s.label, s.patient, s.split) for s in found.samples] == [
        ("a.png", "cyst", "p1", "train"), ("b.png", "none", None, "test")]
    assert found.samples[0].group == "cysts/p1"
    assert found.samples[0].license == "CC0"
    assert sorted(found.left_out.values()) == ["it has no label", "it names no image", "its split is 'later'; wanted "
                                               "train, val or test", "named twice: the first one counts"]


def test_a_split_is_read_beside_other_folders_which_are_named(tmp_path):
    root = class_folders(tmp_path, splits={"training_set": 2, "test_set": 1})
    (root / "unlabelled").mkdir()
    picture("red", 50).save(root / "unlabelled" / "a.png")
    picture("red", 51).save(root / "test_set" / "b.png")
    found = read_source(root, "dots")
    assert {s.label for s in found.samples} == {"blue", "green", "red"}
    assert {s.split for s in found.samples} == {"train", "test"}
    assert found.read == "folders test_set, training_set"
    assert found.left_out == {"unlabelled/": "it stands beside a train folder and is no part of a split",
                              "test_set/b.png": "it stands in no folder of a label"}


def test_a_label_may_be_called_train(tmp_path):
    for label in ("train", "car"):
        (tmp_path / label).mkdir()
        picture("red", len(label)).save(tmp_path / label / "a.png")
    assert [s.label for s in read_source(tmp_path, "toys").samples] == ["car", "train"]


def test_the_one_table_of_labels_is_read_and_not_the_folders(tmp_path):
    for folder, name in (("train_images", "1.2.840.0.png"), ("test_images", "1.2.840.1.png")):
        (tmp_path / folder).mkdir()
        picture("red", len(folder)).save(tmp_path / folder / name)
    with pytest.raises(BadData, match="test_images, train_images of .* look like parts of a split"):
        read_source(tmp_path, "x")
    (tmp_path / "sizes.csv").write_text("image,width\na,3\n")
    (tmp_path / "train.csv").write_text("image_id,label\n1.2.840.0,cyst\n")
    found = read_source(tmp_path, "x")
    assert [(s.id, s.label, s.path) for s in found.samples] == [
        ("1.2.840.0", "cyst", tmp_path / "train_images" / "1.2.840.0.png")]
    assert found.read == "train.csv, not the names of the folders test_images, train_images"
    (tmp_path / "test.csv").write_text("image_id,label\n1.2.840.1,cyst\n")
    with pytest.raises(BadData, match=r"2 CSV files in .* \(test.csv, train.csv\): name the one to read"):
        read_source(tmp_path, "x")


def test_a_letter_composed_or_not_is_the_same_label(tmp_path):
    (tmp_path / "a.csv").write_text("image,label\na.png,\u00e9osinophile\nb.png,e\u0301osinophile\n")
    assert {s.label for s in read_source(tmp_path, "x").samples} == {"\u00e9osinophile"}


def test_the_record_layout(tmp_path):
    rows = [{"id": "x/1", "image": "images/1.png", "label": "cyst", "group": 7, "split": "val",
             "licence": "CC0", "tier": "B"},
            {"id": "x/2", "image": "images/2.png", "label": None, "split": "train"}]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_source(tmp_path, "cysts")
    assert found.layout == "records"
    (sample,) = found.samples
    assert (sample.id, sample.group, sample.split, sample.license, sample.tier) == ("x/1", "cysts/7", "val", "CC0", "B")
    assert sample.path == tmp_path / "images/1.png"
    assert grouped(sample)


def test_what_cannot_be_read_says_what_is_wanted(tmp_path):
    with pytest.raises(BadData, match="There is no 'absent'"):
        read_source(tmp_path / "absent", "x")
    with pytest.raises(BadData, match="FOLDER/LABEL"):
        read_source(tmp_path, "x")
    (tmp_path / "a.csv").write_text("image,age\na.png,3\n")
    with pytest.raises(BadData, match="none for the label"):
        read_source(tmp_path, "x")
    (tmp_path / "a.csv").write_text("image,label\n")
    (tmp_path / "b.csv").write_text("image,label\n")
    with pytest.raises(BadData, match="2 CSV files"):
        read_source(tmp_path, "x")
