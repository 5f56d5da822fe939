"""Figures with intervals by group, reliability and the comparison with a card."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from specialists.core.calibrate import ece
from specialists.evaluation import measure
from specialists.evaluation.profile import auroc, ece_interval, outside, profile, reliability

LABELS = ("a", "b", "c")


def cases(count: int = 90, sure: float = 2.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities that lean to the truth, truths, and groups of two."""
    noise = np.random.default_rng(0)
    targets = np.arange(count) % 3
    logits = noise.normal(0, 1, (count, 3)) + sure * np.eye(3)[targets]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares, targets, [f"g{i // 2}" for i in range(count)]


def test_auroc_is_that_of_scikit_learn():
    shares, targets, groups = cases()
    area, interval = auroc(shares, targets, groups)
    assert area == pytest.approx(roc_auc_score(targets, shares, multi_class="ovr"), abs=1e-4)
    assert interval is not None
    assert interval[0] < area < interval[1]
    assert auroc(shares, np.zeros(len(targets), int), groups) == (None, None)


def test_a_rare_label_breaks_no_resample():
    shares, targets, groups = cases(30)
    targets[targets == 2] = 1
    targets[0] = 2
    area, interval = auroc(shares, targets, groups)
    assert area is not None
    assert np.isfinite(interval).all()


def test_every_figure_stands_in_its_interval():
    shares, targets, groups = cases()
    found = profile(shares, targets, groups, LABELS)
    for key, (low, high) in found["intervals"].items():
        assert low <= high, key
        if key != "ece":  # resampling adds to it: it is a sum of absolute values
            assert low <= found[key] <= high, key
    assert found["ece"] == pytest.approx(ece(shares, targets), abs=1e-4)
    assert found["intervals"]["ece"] == ece_interval(shares, targets, groups)
    assert np.sum(found["confusion"]["counts"]) == found["n"] == 90
    assert [found["reliability"][label]["n"] for label in LABELS] == [30, 30, 30]


def test_reliability_tells_an_overconfident_label():
    said = np.tile([0.9, 0.1], (40, 1))
    targets = np.array([0] * 20 + [1] * 20)
    found = reliability(said, targets, ("x", "y"))
    assert found["x"]["ece"] == pytest.approx(0.4)
    assert found["x"]["bins"] == [{"n": 40, "said": 0.9, "seen": 0.5}]


def test_a_figure_outside_its_interval_is_named():
    stated = {"macro_f1": 0.8, "ci95": [0.7, 0.9], "accuracy": 0.8, "intervals": {"accuracy": [0.75, 0.85]}}
    assert outside(stated, {"macro_f1": 0.71, "accuracy": 0.84}) == []
    missed = outside(stated, {"macro_f1": 0.6, "accuracy": 0.84})
    assert len(missed) == 1
    assert "macro_f1" in missed[0]
    assert "0.6" in missed[0]
    assert outside({"dice": 0.5, "ci95": [0.4, 0.6]}, {"dice": 0.3}) != []
    assert outside({}, {"dice": 0.3}) == []


@pytest.mark.parametrize(("counts", "left_out"), [
    ((4, 5, 4), []), ((4, 5, 6), ["a"]), ((9, 5, 0), ["c"]), ((9, 0, 0), ["b", "c"]), ((2, 1, 3), [])])
def test_macro_f1_is_never_that_of_one_label_of_several(counts, left_out):
    targets = np.repeat(np.arange(3), counts)
    said = np.eye(3)[np.where(np.arange(len(targets)) % 2, targets, 0)]
    found = measure.classification(said, targets, [str(n) for n in range(len(targets))], "abc")
    assert found["not_in_macro_f1"] == left_out
    kept = [f1 for label, f1 in found["per_class"].items() if label not in left_out]
    assert found["macro_f1"] == pytest.approx(np.mean(kept), abs=1e-3)
    assert measure.without(found) == (f"without {', '.join(left_out)}: fewer than 5 cases" if left_out else "")
    graded = measure.grading(targets.astype(float), targets, list("x" * len(targets)), "abc")
    assert graded["not_in_macro_f1"] == left_out
