"""From runs to what ships: card, weights and index agree with the run, and evidence never saw its image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from specialists.catalog import method_module
from specialists.core.calibrate import softmax
from specialists.core.card import read_card
from specialists.core.errors import BadData
from specialists.core.findings import Classification
from specialists.core.index import CaseIndex, case_vector
from specialists.core.specialist import Specialist
from specialists.core.study import read_study
from specialists.datasets import triage
from specialists.datasets.layout import Sample, read_set
from specialists.evaluation import measure
from specialists.segmentation import task
from specialists.training import command, out_of_fold, publish, runs
from specialists.zoo import OPINIONS, Domain
from tests.specialists.learning import write_set

DOMAIN = Domain("colors", "colors", "colored square", "Opinion on a square", "any", "none", {"red": "X 1"})


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Train the trio on colors, publish it and write the out-of-fold evidence."""
    root = tmp_path_factory.mktemp("published")
    samples = read_set(write_set(root))
    table = runs.decode(samples, ("blue", "red"), 32)
    for method in OPINIONS:
        config = method_module(method).tiny(labels=2)
        runs.train(method, config, table, root / "runs" / f"colors_{method}")
    folders = command.Folders(root, root / "runs", root / "out", root / "oof")
    command.make_domain(DOMAIN, folders)
    return root, samples


def test_a_published_card_answers_as_its_run_did(published):
    root, samples = published
    run = publish.read_run(root / "runs" / "colors_residual", samples)
    card = read_card(root / "out" / "colors_residual.json")
    assert card.label_names == ("blue", "red")
    assert [label.code for label in card.labels] == [None, "X 1"]
    assert card.data[0] == {"set": "colors", "train": 24, "val": 8, "license": "CC0", "tier": "A"}
    assert set(card.figures) == {"val", "oof"}
    row = int(run.rows("train")[0])
    finding = Specialist(card, root / "out").predict(read_study(samples[row].path))
    assert isinstance(finding, Classification)
    expected = softmax(run.raw["logits"][row] / card.calibration["temperature"])
    np.testing.assert_allclose(list(finding.probabilities.values()), expected, atol=0.02)


def test_the_index_holds_train_rows_with_the_features_of_the_trio(published):
    root, samples = published
    index = CaseIndex.load(root / "out" / "index", "colors")
    assert {row.id for row in index.rows} == {s.id for s in samples if s.split == "train"}
    out = root / "out"
    trio = [Specialist(read_card(out / f"{name}.json"), out) for name in index.card.specialists]
    sample = next(s for s in samples if s.split == "train")
    found = np.dot(index.features[0], case_vector(trio, read_study(sample.path)))
    assert found == pytest.approx(1, abs=0.01)


def test_evidence_never_shows_the_images_own_group(published):
    root, samples = published
    lines = [json.loads(line) for line in (root / "oof" / "colors.jsonl").read_text().splitlines()]
    groups = {s.id: s.group for s in samples}
    assert {line["id"] for line in lines} == set(groups)
    for line in lines:
        assert line["group"] not in {groups[case["id"]] for case in line["cases"]}
        assert len(line["opinions"]) == 3
        for opinion in line["opinions"]:
            assert sum(opinion["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_cases_of_a_train_row_come_from_the_other_fold(published):
    root, samples = published
    run = publish.read_run(root / "runs" / "colors_small_cnn", samples)
    fold = dict(zip(run.raw["ids"].tolist(), run.raw["fold"].tolist(), strict=True))
    lines = [json.loads(line) for line in (root / "oof" / "colors.jsonl").read_text().splitlines()]
    for line in lines:
        own = fold[line["id"]]
        assert all(fold[case["id"]] not in (own, -1) for case in line["cases"])
    assert max(len(line["cases"]) for line in lines) <= out_of_fold.CASES


def test_a_finished_run_is_not_trained_again(published):
    root, _ = published
    before = (root / "runs" / "colors_hybrid" / "model.safetensors").stat().st_mtime_ns
    command.make_domain(DOMAIN, command.Folders(root, root / "runs", root / "again"))
    assert (root / "runs" / "colors_hybrid" / "model.safetensors").stat().st_mtime_ns == before
    assert (root / "again" / "colors_hybrid.safetensors").is_file()


def test_a_run_without_its_data_is_refused(published, tmp_path):
    root, samples = published
    with pytest.raises(BadData, match="not there"):
        publish.read_run(root / "runs" / "colors_hybrid", samples[1:])
    with pytest.raises(BadData, match="Train it first"):
        publish.read_run(tmp_path, samples)


def test_the_command_says_what_there_is(tmp_path):
    with pytest.raises(BadData, match="triage, brain_mri"):
        command.main(["--data", str(tmp_path)])
    with pytest.raises(BadData, match="spine"):
        command.main(["--data", str(tmp_path), "--only", "spine"])


def test_a_rare_label_that_a_resample_leaves_out_costs_nothing():
    targets = np.repeat([0, 1, 2], [40, 40, 6])
    groups = [f"p{i}" for i in range(80)] + ["rare 1"] * 3 + ["rare 2"] * 3
    found = measure.classification(np.eye(3)[targets], targets, groups, ("a", "b", "c"))
    assert (found["macro_f1"], found["ci95"]) == (1.0, [1.0, 1.0])


def test_a_structure_that_no_image_has_is_no_figure():
    rows = [{"label": "cyst", "group": "g", "has": False, "said": said, "dice": 0.0} for said in (True, False)]
    found = task._figures(rows)
    assert (found["n"], found["dice"], found["ci95"], found["sensitivity"]) == (0, None, None, None)
    assert found["specificity"] == 0.5


def test_figures_of_a_perfect_and_a_blind_opinion():
    targets = np.repeat([0, 1], 10)
    groups = [str(n // 2) for n in range(20)]
    perfect = measure.classification(np.eye(2)[targets] * 0.98 + 0.01, targets, groups, ("a", "b"))
    assert (perfect["accuracy"], perfect["macro_f1"], perfect["ci95"]) == (1, 1, [1, 1])
    blind = measure.classification(np.tile([0.6, 0.4], (20, 1)), targets, groups, ("a", "b"))
    assert blind["accuracy"] == 0.5
    assert blind["per_class"] == {"a": pytest.approx(2 / 3, abs=1e-3), "b": 0}
    assert blind["ci95"][0] < blind["macro_f1"] < blind["ci95"][1]
    assert measure.dice(np.array([True, True, False]), np.array([True, False, False])) == pytest.approx(2 / 3)


def test_copies_count_once_and_names_with_a_hash_sign_each():
    def sample(name):
        return Sample(name, Path(name), "ward", "train", "brain MRI", None, name, "ward", "CC0", "A")

    one, other = sample("scan#1.png"), sample("scan#2.png")
    copies = [triage._as(one, "brain MRI", 100), triage._as(triage._as(other, "brain MRI", 101), "brain MRI", 102)]
    assert [copy.id for copy in copies] == ["scan#1.png#brain MRI100", "scan#2.png#brain MRI102"]
    (row,) = publish.data_rows([one, other, *copies])
    assert row["train"] == 2
