"""Yardsticks on drawn images that are easy to tell apart, and the stored answers of the plain net."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation import plain, yardsticks
from specialists.evaluation.yardsticks import Rows

SPLITS = ("train",) * 6 + ("val",) * 2 + ("test",) * 2


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Rows:
    """Red and blue images of 32 px; features tell them apart, the first of two specialists only guesses."""
    noise = np.random.default_rng(0)
    pixels, samples, targets = [], [], []
    for i in range(40):
        label, split = i % 2, SPLITS[i // 2 % 10]
        color = (200, 60, 30) if label else (30, 60, 200)
        pixels.append(noise.normal(color, 30, (32, 32, 3)).clip(0, 255).astype(np.uint8))
        targets.append(label)
        samples.append(Sample(f"s/{i}", tmp_path_factory.getbasetemp(), "s", split, "blue", None, f"g{i}", "", "", "A"))
    truth = np.array(targets)
    features = noise.normal(0, 0.2, (40, 6)) + truth[:, None]
    good = np.eye(2)[truth] * 0.8 + 0.1
    opinions = np.stack([np.full((40, 2), 0.5), good])
    return Rows(Table(tuple(samples), np.stack(pixels), truth, ("blue", "red")), features.astype(np.float32), opinions)


@pytest.mark.parametrize("arm", [yardsticks.probe, yardsticks.neighbors, yardsticks.boosting])
def test_each_tells_easy_images_apart(rows, arm):
    shares = arm(rows)
    assert shares.shape == (40, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    least = 0.5 if arm is yardsticks.boosting else 1.0  # boosting wants 20 images a leaf
    assert rows.score(shares[rows.of("test")], "test")["accuracy"] >= least


def test_the_best_specialist_is_chosen_on_validation(rows):
    found = yardsticks.ours(rows)
    np.testing.assert_array_equal(found["best of trio"], rows.opinions[1])
    np.testing.assert_allclose(found["trio"], rows.opinions.mean(axis=0))


def test_simple_features_do_not_depend_on_size():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert yardsticks.described(image).shape == yardsticks.described(np.kron(image, np.ones((2, 2, 1), np.uint8))).shape


def test_the_plain_net_has_the_stated_size_and_is_trained_once(rows, tmp_path, monkeypatch):
    full = plain.Plain(4, plain.PlainConfig())
    assert sum(p.numel() for p in full.parameters()) == pytest.approx(0.56e6, rel=0.01)
    monkeypatch.setattr(yardsticks, "PlainConfig", lambda **kwargs: plain.quick(plain.PlainConfig()))
    first = yardsticks.plain(rows, tmp_path / "s.npz", "s")
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-5)
    monkeypatch.setattr(yardsticks, "plain_probabilities", None)  # it would fail if it were called again
    np.testing.assert_allclose(yardsticks.plain(rows, tmp_path / "s.npz", "s"), first, atol=1e-6)


def test_published_figures_stand_beside_ours_with_their_labels_merged(rows, monkeypatch):
    told = yardsticks.Published("s", "a net", 0.9, "somewhere", (("blue",), ("red",)))
    monkeypatch.setattr(yardsticks, "PUBLISHED", (told,))
    found = yardsticks.beside(rows, rows.opinions[1], "s")
    assert (found[0]["ours"], found[0]["accuracy"]) == (1.0, 0.9)
    assert yardsticks.beside(rows, rows.opinions[1], "other") == []


def test_means_and_table(rows):
    figures = rows.score(rows.opinions[1][rows.of("test")], "test")
    sets = {"s": {**dict.fromkeys(yardsticks.ARMS, figures), "patients": True}}
    mean = yardsticks.means(sets)
    assert mean == dict.fromkeys(yardsticks.ARMS, 1.0)
    assert yardsticks.means({}) == {}
    assert "plain net" in yardsticks.said({"sets": sets, "mean": mean, "mean_with_patients": {}})
