"""LesionPaste: what is cut, altered and pasted, and that a specialist comes of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from specialists.anomaly import lesion_paste, task
from specialists.anomaly.lesion_paste import Config
from specialists.core.card import Card, Label
from specialists.core.errors import BadData
from specialists.core.findings import Score
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study
from specialists.datasets.drawn import fundus
from specialists.datasets.layout import read_set
from specialists.training import publish, runs
from specialists.zoo import Tool

CARD = Card("eyes", "lesion_paste", "anomaly", "eyes", "Eyes", ("eye",), "OP", "eye", (Label("lesion"),),
            input={"threshold": 0.4})


@pytest.fixture
def normal() -> np.ndarray:
    return fundus(np.random.default_rng(1), 64).pixels


@pytest.fixture
def bank() -> dict[str, list[lesion_paste.Patch]]:
    donor = fundus(np.random.default_rng(2), 64, 4)
    return lesion_paste.lesion_bank(donor.pixels, donor.masks)


def test_a_bank_has_a_patch_for_each_connected_part() -> None:
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    mask = np.zeros((16, 16), dtype=bool)
    mask[2:5, 3:5], mask[10:12, 10:14] = True, True
    patches = lesion_paste.lesion_bank(image, {"spot": mask})["spot"]
    assert [p.mask.shape for p in patches] == [(3, 2), (2, 4)]
    np.testing.assert_array_equal(patches[0].pixels, image[2:5, 3:5])
    with pytest.raises(ValueError, match="without any lesion"):
        lesion_paste.lesion_bank(image, {"spot": np.zeros((16, 16), dtype=bool)})


def test_pastes_lie_in_the_field_and_are_told_by_kind_count_and_mask(normal, bank) -> None:
    field = lesion_paste.field_of(normal)
    for seed in range(20):
        made = lesion_paste.paste(normal, bank, field, 0.9, np.random.default_rng(seed))
        changed = (made.pixels != normal).any(axis=2)
        everything = np.any(list(made.masks.values()), axis=0)
        assert everything.any()
        assert not (everything & ~field.mask).any()
        assert not (changed & ~everything).any()
        assert set(made.masks) == set(made.places)
        assert 3 <= len(made.places["microaneurysm"]) <= 1.5 * len(bank["microaneurysm"])


def test_a_blend_of_nothing_changes_nothing_and_a_hard_one_is_the_lesion(normal, bank) -> None:
    field = lesion_paste.field_of(normal)
    soft, hard = (lesion_paste.paste(normal, bank, field, share, np.random.default_rng(0)) for share in (0.0, 1.0))
    np.testing.assert_array_equal(soft.pixels, normal)
    assert soft.masks["microaneurysm"].any()
    assert (hard.pixels != normal).any()


def test_most_images_get_the_mildest_kind_alone() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([len(lesion_paste.severity(("ma", "he", "ex", "se"), rng)) for _ in range(8000)], minlength=5)
    np.testing.assert_allclose(counts[1:] / 8000, (0.8, 0.1, 0.05, 0.05), atol=0.015)


def test_an_altered_patch_keeps_a_mask_without_soft_borders(bank) -> None:
    for seed in range(30):
        for patch in (patches[0] for patches in bank.values()):
            other = lesion_paste.altered(patch, np.random.default_rng(seed))
            assert other.mask.any()
            assert other.mask.dtype == bool
            assert other.pixels.shape == (*other.mask.shape, 3)
            assert other.mask.sum() <= 1.3 * patch.mask.sum() + 2


def test_the_same_seed_makes_the_same_table(normal, bank) -> None:
    config = dataclasses.replace(lesion_paste.tiny(), copies=2)
    (first, targets, rows), (second, _, _) = (lesion_paste.synthesize(normal[None], bank, config) for _ in range(2))
    other, _, _ = lesion_paste.synthesize(normal[None], bank, dataclasses.replace(config, seed=1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert targets.tolist() == [1, 0, 1, 0]
    assert rows.tolist() == [0, 0, 0, 0]
    assert first.shape == (4, 32, 32, 3)


def test_negatives_carry_normal_tissue_or_none(normal, bank) -> None:
    plain = dataclasses.replace(lesion_paste.tiny(), negatives=0.0, canvas=64, size=64)
    pasted = dataclasses.replace(plain, negatives=1.0)
    assert (lesion_paste.synthesize(normal[None], bank, plain)[0][1] == normal).all()
    assert (lesion_paste.synthesize(normal[None], bank, pasted)[0][1] != normal).any()


def write(root: Path) -> Path:
    """Write drawn eyes: normals without masks, and severe ones with the mask of their haemorrhages."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = []
    for number in range(16):
        rng, key, grade = np.random.default_rng(number), f"eye{number}", 0 if number < 12 else 4
        drawn = fundus(rng, 64, grade)
        Image.fromarray(drawn.pixels).save(root / "images" / f"{key}.png")
        row = {"id": key, "image": f"images/{key}.png", "split": "val" if number % 3 == 0 else "train",
               "label": "severe" if grade else "normal"}
        if grade:
            Image.fromarray(drawn.masks["haemorrhage"].astype(np.uint8) * 255).save(root / "masks" / f"{key}.png")
            row["masks"] = {"lesion": f"masks/{key}.png"}
        lines.append(json.dumps(row))
    (root / "records.jsonl").write_text("\n".join(lines) + "\n")
    return root


def test_training_rows_are_made_of_normals_and_one_case(tmp_path: Path) -> None:
    samples = read_set(write(tmp_path / "eyes"))
    config = dataclasses.replace(lesion_paste.tiny(), donor="eye13")
    table = task.read(samples, ("lesion",), config)
    train, val = table.rows("train"), table.rows("val")
    assert len(train) == 2 * 8
    assert table.targets[train].mean() == 0.5
    assert {table.samples[i].label for i in train} == {"normal"}
    assert [int(table.samples[i].label == "severe") for i in val] == table.targets[val].tolist()
    with pytest.raises(BadData, match="no donor"):
        task.read(samples, ("lesion",), dataclasses.replace(config, donor="eye0"))


class Bright:
    """Calls dark pictures abnormal."""

    def predict(self, study: Study) -> Score:
        value = 1 - study.rgb().mean() / 255
        return Score("eyes", "abnormality", value, meaning="abnormal" if value > 0.5 else "nothing abnormal found")


def test_an_answer_is_a_score_with_its_threshold_and_is_measured(tmp_path: Path) -> None:
    study = read_study(np.zeros((8, 8, 3), np.uint8))
    said = task.answer(CARD, study, np.array([0.0]))
    assert (said.value, said.meaning) == (0.5, "abnormal")
    assert "0.40" in said.words()
    assert task.answer(CARD, study, np.array([-3.0])).meaning == "nothing abnormal found"
    chosen = task.choose(np.array([[-2.0], [-1.0], [1.0], [3.0]]), np.array([0, 0, 1, 1]), ("lesion",))
    assert 1 / (1 + np.e) < chosen["threshold"] < 1 / (1 + 1 / np.e)
    found = task.figures(Bright(), read_set(write(tmp_path / "eyes"), ("val",)), ("lesion",))
    assert (found["n"], found["normals"], found["refused"]) == (6, 4, 0)
    assert 0 <= found["auroc"] <= 1
    assert set(found["per_class"]) == {"severe"}


@pytest.mark.parametrize("wrong", [{"blend": 1.5}, {"negatives": -0.1}, {"content": "noise"}])
def test_what_cannot_be_pasted_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="blend"):
        Config(**wrong)


def test_augmentation_smears_no_pixel() -> None:
    images = torch.zeros(64, 3, 9, 9)
    images[:, :, 2, 3] = 1
    config = dataclasses.replace(lesion_paste.tiny(), flip_vertical=True)
    moved, _ = lesion_paste.augment(images, torch.zeros(64), config, torch.Generator().manual_seed(0))
    bright = (moved[:, 0] > 0.7).flatten(1).nonzero()[:, 1]
    assert len(bright) == 64
    assert set(bright.tolist()) == {2 * 9 + 3, 2 * 9 + 5, 6 * 9 + 3, 6 * 9 + 5}


def test_a_tool_is_trained_and_published_from_one_case(tmp_path: Path) -> None:
    samples = read_set(write(tmp_path / "eyes"))
    config = lesion_paste.tiny()
    runs.train_tool("lesion_paste", config, task.read(samples, ("lesion",), config), tmp_path / "run")
    spec = Tool("eye_anomaly", "anomaly", "lesion_paste", "eyes", "fundus photograph", "Whether an eye is abnormal",
                "OP", "eye", ("lesion",))
    card = publish.tool(spec, publish.read_run(tmp_path / "run", samples), tmp_path / "out")
    assert card.figures["val"]["n"] + card.figures["val"]["refused"] == 6
    assert 0 <= card.input["threshold"] <= 1
    said = Specialist(card, tmp_path / "out").predict(read_study(samples[0].path))
    assert said.json()["specialist"] == "eye_anomaly"
