"""Temperature, expected calibration error and Brier score against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.core.calibrate import brier, ece, fit_temperature, softmax


def sampled(temperature: float, cases: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their probabilities at that temperature."""
    noise = np.random.default_rng(0)
    logits = noise.normal(0, 3, (cases, 4))
    drawn = [noise.choice(4, p=p) for p in softmax(logits / temperature)]
    return logits, np.asarray(drawn)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_data_is_found(temperature):
    logits, labels = sampled(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    assert ece(softmax(logits / found), labels) < 0.03


def test_overconfidence_shows_in_ece():
    logits, labels = sampled(3.0)
    assert ece(softmax(logits), labels) > 0.2


def test_perfect_separation_stays_within_bounds():
    found = fit_temperature(np.eye(3) * 10, np.arange(3))
    assert 0.04 < found < 1


def test_softmax_of_huge_logits_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_brier_is_summed_over_labels():
    assert brier(np.array([[1.0, 0], [0, 1]]), np.array([0, 1])) == 0
    assert brier(np.array([[1.0, 0]]), np.array([1])) == 2
    assert brier(np.full((3, 4), 0.25), np.array([0, 1, 2])) == pytest.approx(0.75)


def test_ece_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    assert ece(probabilities, np.array([0, 1, 1]), bins=10) == pytest.approx((2 * 0.4 + 0.3) / 3)


@pytest.mark.parametrize("labels", [[0], [0, 5], [-1, 0]])
def test_misaligned_labels(labels):
    with pytest.raises(ValueError, match="wanted"):
        ece(np.full((2, 2), 0.5), np.asarray(labels))
