"""Grading: which images have a grade, the honest range around it, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from specialists.core.card import Card, Label
from specialists.core.errors import BadData
from specialists.core.findings import Finding, Refusal, Score
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample, read_set
from specialists.evaluation.measure import kappa
from specialists.grading import dr_recipe, task

LABELS = ("Kellgren-Lawrence grade",)


def graded_set(root, grades=(0, 1, 2, 3, 4, None)) -> list[Sample]:
    """Write one image a grade, brighter with it; None is an image without a grade."""
    folder = root / "knees"
    (folder / "images").mkdir(parents=True)
    records = []
    for number, grade in enumerate(grades):
        gray = np.full((24, 30, 3), 50 + 30 * min(grade or 0, 5), np.uint8)
        Image.fromarray(gray).save(folder / f"images/{number}.png")
        records.append({"id": f"knees/{number}", "image": f"images/{number}.png", "split": "val", "group": number,
                        "kl_grade": grade, "label": "KL"})
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return read_set(folder)


def card(**more) -> Card:
    """Return a card whose range is 0.6 to either side."""
    chosen = task.choose(np.array([[0.4], [1.0], [2.6]]), np.array([0.0, 1, 2], np.float32), LABELS)
    return Card("knee_grade", "dr_recipe", "grading", "knee_grade", "Knee", ("knee X-ray",), "DX", "knee",
                tuple(map(Label, LABELS)), input={"size": 32, **chosen, **more})


class Brightness:
    """Grades by brightness, always half a step too high; refuses the brightest."""

    def predict(self, study: Study) -> Finding:
        value = (float(study.rgb().mean()) - 50) / 30 + 0.4
        return Refusal("it", "too bright") if value > 4 else task.answer(card(), study, np.array([value]))


def test_images_without_a_grade_are_left_out_and_targets_are_real(tmp_path):
    table = task.read(graded_set(tmp_path), LABELS, dr_recipe.tiny())
    assert table.targets.dtype == np.float32
    assert table.targets.tolist() == [0, 1, 2, 3, 4]
    assert table.pixels.shape == (5, 32, 32, 3)


def test_the_crop_of_the_method_is_applied(tmp_path):
    samples = graded_set(tmp_path, (2,))
    framed = np.zeros((40, 60, 3), np.uint8)
    framed[:, 10:50] = 200
    Image.fromarray(framed).save(samples[0].path)
    assert task.read(samples, LABELS, dr_recipe.tiny()).pixels[0, :, 3].min() > 100  # dark without the crop


def test_an_unreadable_image_and_a_wrong_grade_are_named(tmp_path, caplog):
    samples = graded_set(tmp_path)
    samples[1].path.write_bytes(b"no image")
    assert len(task.read(samples, LABELS, dr_recipe.tiny()).samples) == 4
    assert "knees/1" in caplog.text
    with pytest.raises(BadData, match="knees/0: got kl_grade 7"):
        task.read(graded_set(tmp_path / "wrong", (7,)), LABELS, dr_recipe.tiny())
    with pytest.raises(BadData, match="wanted one of diabetic retinopathy grade"):
        task.read(samples, ("pain",), dr_recipe.tiny())


def test_the_range_covers_what_it_says():
    noise = np.random.default_rng(0)
    truth = noise.integers(0, 5, 2000).astype(np.float32)
    values = truth + noise.normal(0, 0.5, 2000)
    half = task.choose(values[:1000, None], truth[:1000], LABELS)["half_width"]
    inside = np.abs(np.clip(values[1000:], 0, 4) - truth[1000:]) <= half
    assert 0.76 < inside.mean() < 0.84


@pytest.mark.parametrize(("value", "grade", "said"), [
    (2.4, 2, "2.4 of 4, between 2 and 3 (mild)"), (-1.0, 0, "0.0 of 4 (none)"), (9.0, 4, "4.0 of 4 (severe)"),
    (1.5, 2, "1.5 of 4, between 1 and 2 (mild)")])
def test_an_answer_says_grade_range_and_name(value, grade, said):
    study = read_study(np.zeros((8, 8), np.uint8))
    finding = task.answer(card(), study, np.array([value], np.float32))
    assert finding.grade == grade
    assert finding.words() == f"knee_grade: Kellgren-Lawrence grade {said}"
    assert finding.json()["grade"] == grade
    assert finding.interval is not None
    assert 0 <= finding.interval[0] <= finding.interval[1] <= 4


def test_a_range_without_a_whole_number_says_the_nearest_grade():
    assert Score("s", "grade", 1.4, 0, 4, (1.2, 1.6)).grades == (1, 1)
    assert "interval" not in Score("s", "sharpness", 0.4).json()


def test_figures_count_what_was_refused_apart(tmp_path):
    found = task.figures(Brightness(), graded_set(tmp_path), LABELS)
    assert (found["n"], found["refused"]) == (4, 1)
    assert (found["accuracy"], found["mae"], found["covered"]) == (1.0, 0.4, 1.0)
    assert found["kappa"] == 1.0
    assert found["confusion"][2] == [0, 0, 1, 0, 0]


def test_kappa_is_that_of_scikit_learn():
    noise = np.random.default_rng(1)
    truth, guesses = noise.integers(0, 5, 200), noise.integers(0, 5, 200)
    matrix = np.zeros((5, 5))
    np.add.at(matrix, (truth, guesses), 1)
    assert kappa(matrix) == pytest.approx(cohen_kappa_score(truth, guesses, weights="quadratic"))
    assert kappa(np.diag([3.0, 0, 0])) == 1
