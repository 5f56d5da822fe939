"""Scope by kind of image and by distance of features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from specialists.core.card import Card, Label
from specialists.core.findings import Classification
from specialists.core.scope import distance, fit_scope, from_tensors, in_scope, shrunk_covariance, to_tensors, too_far

CARD = Card(name="net", method="small_cnn", task="classification", domain="brain_mri", title="Net",
            kinds=("brain MRI", "head CT"), modality="MR", body_part="BRAIN", labels=(Label("a"), Label("b")))


def features(center: float, cases: int = 200, width: int = 32, seed: int = 0) -> np.ndarray:
    """Features around two class centers; other images have another `center`."""
    noise = np.random.default_rng(seed)
    directions = np.random.default_rng(7).normal(0, 1, (2, width)) + center
    return (directions[np.arange(cases) % 2] + noise.normal(0, 0.3, (cases, width))).astype(np.float32)


def test_scope_keeps_its_own_and_refuses_others():
    labels = np.arange(200) % 2
    scope = fit_scope(features(0), labels, features(0, seed=1), kept=0.95, margin=1.0)
    inside, outside = (distance(x, scope) for x in (features(0, seed=2), features(1.5, seed=3)))
    assert (inside <= scope.threshold).mean() == pytest.approx(0.95, abs=0.04)
    assert (outside > scope.threshold).mean() > 0.99
    assert np.median(inside) == pytest.approx(1, abs=0.3)


def test_the_scale_of_features_does_not_matter():
    scope = fit_scope(features(0), np.arange(200) % 2, features(0, seed=1))
    np.testing.assert_allclose(distance(features(0) * 50, scope), distance(features(0), scope), rtol=1e-3)


def test_scope_survives_storing():
    scope = fit_scope(features(0), np.arange(200) % 2, features(0, seed=1))
    tensors = to_tensors(scope)
    assert tensors["scope.whitening"].dtype == np.float16
    back = from_tensors(tensors)
    assert back is not None
    np.testing.assert_array_equal(distance(features(1), back), distance(features(1), scope))
    assert back.threshold == pytest.approx(scope.threshold)
    assert from_tensors({}) is None


def test_few_cases_and_dead_features_stay_finite():
    few = np.zeros((6, 64), np.float32)
    few[:, :2] = np.random.default_rng(0).normal(1, 0.1, (6, 2))
    scope = fit_scope(few, np.zeros(6), few)
    assert np.isfinite(scope.whitening).all()
    assert np.isfinite(distance(np.vstack([few, np.zeros((1, 64))]), scope)).all()


def test_bad_shapes():
    with pytest.raises(ValueError, match="wanted"):
        fit_scope(np.zeros((5, 3)), np.zeros(4), np.zeros((2, 3)))


def test_kind_of_image():
    assert in_scope(CARD, Classification("triage", {"brain MRI": 0.9, "unknown": 0.1})) is None
    refusal = in_scope(CARD, Classification("triage", {"fundus photograph": 0.93, "brain MRI": 0.07}))
    assert refusal is not None
    assert refusal.reason == ("It answers for brain MRI or head CT; "
                              "this image looks like: fundus photograph (93 %).")
    unknown = in_scope(CARD, Classification("triage", {"brain MRI": 0.0, "unknown": 1.0}))
    assert unknown is not None
    assert "no kind that is known" in unknown.reason


def test_the_limit_lies_a_margin_beyond_validation():
    given = (features(0), np.arange(200) % 2, features(0, seed=1))
    assert fit_scope(*given).threshold == pytest.approx(1.1 * fit_scope(*given, margin=1.0).threshold)


def test_a_kind_that_triage_is_unsure_of_is_not_refused():
    unsure = {"fundus photograph": 0.8, "head CT": 0.12, "unknown": 0.08}
    assert in_scope(CARD, Classification("triage", unsure)) is None
    assert in_scope(CARD, Classification("triage", {**unsure, "head CT": 0.08, "unknown": 0.12})) is not None
    assert in_scope(CARD, Classification("triage", {"head CT": 0.4, "unknown": 0.6})) is not None


def test_a_refusal_by_distance_names_both_numbers():
    refusal = too_far(CARD, 3.14159, 1.5)
    assert "3.14" in refusal.reason
    assert "1.50" in refusal.reason
    assert refusal.details == {"distance": 3.14159, "threshold": 1.5}


def test_the_covariance_is_shrunk_as_sklearn_does_it():
    offsets = features(0) - features(0).mean(axis=0)
    wanted, share = ledoit_wolf(offsets, assume_centered=True)
    assert 0 < share < 1
    np.testing.assert_allclose(shrunk_covariance(offsets), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(shrunk_covariance(np.zeros((4, 3))), np.zeros((3, 3)))


def test_a_stated_kind_is_not_told_as_seen():
    card: Any = SimpleNamespace(name="brain", kinds=("brain MRI",))
    refusal = in_scope(card, Classification("question", {"orchid leaf": 1.0}))
    assert refusal is not None
    assert refusal.reason == "It answers for brain MRI; this image looks like: orchid leaf."
