"""What is wrong with images is named; only what cannot be read is left out; nothing stands on two sides."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from specialists.core.errors import BadData
from specialists.own.checks import examine
from specialists.own.sources import read_source
from specialists.own.splits import SHARES, draw, split
from tests.specialists.own.drawing import class_folders, picture


def kinds(notes):
    return {note.kind: note for note in notes}


def test_a_corrupt_image_is_named_and_nothing_else_is_lost(tmp_path):
    root = class_folders(tmp_path / "set", 8)
    (root / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (root / "blue" / "empty.jpg").write_bytes(b"")
    found = examine(read_source(root, "dots"), [16, 24])
    assert len(found.samples) == 24
    said = [note.words() for note in found.notes if note.kind == "unreadable"]
    assert any("red/broken.png" in words for words in said)
    assert any("blue/empty.jpg" in words for words in said)
    assert {size: pixels.shape for size, pixels in found.pixels.items()} == {16: (24, 16, 16, 3), 24: (24, 24, 24, 3)}
    assert len(found.dhashes) == 24
    assert "no patients" in kinds(found.notes)


def test_copies_share_a_group_and_contradictions_are_named(tmp_path):
    root = class_folders(tmp_path / "set", 8)
    shutil.copy(root / "red" / "00.png", root / "red" / "copy.png")
    shutil.copy(root / "red" / "01.png", root / "blue" / "torn.png")
    picture("green", 2).save(root / "green" / "near.jpg", quality=90)
    found = examine(read_source(root, "dots"), [16])
    group = {s.id: s.group for s in found.samples}
    assert group["red/00.png"] == group["red/copy.png"]
    assert group["red/01.png"] == group["blue/torn.png"]
    assert group["green/02.png"] == group["green/near.jpg"]
    assert len(set(group.values())) == 24
    notes = kinds(found.notes)
    assert "red/00.png = red/copy.png" in notes["copies"].about
    assert notes["copies with different labels"].about == ("blue/torn.png (blue) = red/01.png (red)",)
    assert "green/02.png = green/near.jpg" in notes["near-duplicates"].about


def test_imbalance_tiny_classes_and_telltales(tmp_path):
    root = class_folders(tmp_path / "set", 22)
    for number in range(4, 22):
        (root / "red" / f"{number:02}.png").unlink()
    for number in range(22, 48):
        picture("blue", number).save(root / "blue" / f"{number}.png")
    notes = kinds(examine(read_source(root, "dots"), [16]).notes)
    assert notes["tiny classes"].about == ("red 4",)
    assert "blue has 48 images, red 4" in notes["imbalance"].text
    assert "telltale" not in notes
    for path in (root / "green").iterdir():
        Image.open(path).resize((60, 40)).save(path)
    for path in (root / "red").iterdir():
        Image.open(path).resize((30, 30)).save(path)
    assert "size of the picture alone" in kinds(examine(read_source(root, "dots"), [16]).notes)["telltale"].text


def test_labels_that_only_look_alike_are_named(tmp_path):
    root = class_folders(tmp_path / "set", 8)
    (root / "red").rename(root / "\uff42lue")  # a wide b
    assert kinds(examine(read_source(root, "dots"), [16]).notes)["spelling"].about == ("blue", "\uff42lue")


def test_too_little_says_what_to_do(tmp_path):
    with pytest.raises(BadData, match="wanted at least 20"):
        examine(read_source(class_folders(tmp_path / "few", 3), "dots"), [16])
    root = class_folders(tmp_path / "two", 10)
    for number in range(2, 10):
        (root / "red" / f"{number:02}.png").unlink()
    with pytest.raises(BadData, match="red: 2 images in 2 groups"):
        examine(read_source(root, "dots"), [16])
    shutil.rmtree(root / "red")
    shutil.rmtree(root / "blue")
    with pytest.raises(BadData, match="at least two labels"):
        examine(read_source(root, "dots"), [16])


def samples_of(tmp_path, each=40):
    return read_source(class_folders(tmp_path, each), "dots").samples


def test_a_drawn_split_keeps_groups_and_shares(tmp_path):
    samples = [replace(s, group=f"dots/{s.label}{int(s.path.stem) // 2}") for s in samples_of(tmp_path)]
    sides = draw(samples, {}, seed=0)
    counts = Counter((s.label, side) for s, side in zip(samples, sides, strict=True))
    for label in ("blue", "green", "red"):
        assert [counts[label, side] for side in SHARES] == pytest.approx([28, 4, 8], abs=1)
    of_group = {}
    for sample, side in zip(samples, sides, strict=True):
        assert of_group.setdefault(sample.group, side) == side
    assert draw(samples, {}, seed=0) == sides
    assert draw(samples, {}, seed=1) != sides
    known = {s.id: side for s, side in zip(samples, sides, strict=True)}
    again = dict(zip((s.id for s in samples[5:]), draw(samples[5:], known, seed=3), strict=True))
    assert all(again[s.id] == known[s.id] for s in samples[5:])


def test_a_class_of_four_stands_on_every_side(tmp_path):
    sides = draw(samples_of(tmp_path, 4), {}, seed=0)
    assert Counter(sides) == {"train": 6, "val": 3, "test": 3}


def test_a_given_split_that_leaks_is_mended_loudly(tmp_path):
    given = ["train"] * 26 + ["val"] * 5 + ["test"] * 9
    samples = [replace(s, split=given[int(s.path.stem)]) for s in samples_of(tmp_path)]
    shared = {"blue/00.png": "p1", "blue/35.png": "p1", "red/00.png": "p2", "red/27.png": "p2"}
    samples = [replace(s, patient=shared.get(s.id), group=f"dots/{shared.get(s.id, s.id)}") for s in samples]
    found = split(samples)
    sides = {s.id: s.split for s in found.samples}
    assert "blue/00.png" not in sides
    assert sides["blue/35.png"] == "test"
    assert sides["red/00.png"] == sides["red/27.png"] == "val"
    assert len(sides) == 119
    assert [note.text[:22] for note in found.notes] == ["THE GIVEN SPLIT LEAKS:"] * 2
    with pytest.raises(BadData, match="have no split"):
        split([replace(samples[0], split=""), *samples[1:]])
    without = split([replace(s, split="train") if s.split == "val" else s for s in samples])
    assert {s.split for s in without.samples} == {"train", "val", "test"}
    assert any("has no val" in note.text for note in without.notes)
