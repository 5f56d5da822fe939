"""Training: folds by group, raw material of a run, and images that cannot be read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from specialists.classification import small_cnn
from specialists.core.errors import BadData
from specialists.datasets.layout import read_set
from specialists.training import runs
from tests.specialists.learning import write_set


def test_no_group_stands_in_two_folds_and_val_in_none(tmp_path):
    table = runs.decode(read_set(write_set(tmp_path)), ("blue", "red"), 32)
    parts = runs.folds(table, table.rows("train"), seed=0)
    groups = [{table.samples[i].group for i in part} for part in parts]
    assert not groups[0] & groups[1]
    assert sorted(np.concatenate(parts)) == sorted(table.rows("train"))
    assert {table.samples[i].split for part in parts for i in part} == {"train"}


def test_a_run_holds_opinions_of_nets_that_did_not_see_the_image(tmp_path):
    table = runs.decode(read_set(write_set(tmp_path)), ("blue", "red"), 32)
    runs.train("small_cnn", small_cnn.tiny(labels=2), table, tmp_path / "run")
    raw = np.load(tmp_path / "run" / "raw.npz")
    train, val = table.rows("train"), table.rows("val")
    assert raw["ids"].tolist() == [s.id for s in table.samples]
    assert set(raw["fold"][train]) == {0, 1}
    assert set(raw["fold"][val]) == {-1}
    assert np.abs(raw["oof_logits"][train]).min(axis=1).all()
    assert not raw["oof_logits"][val].any()
    for number in (0, 1):
        taught = raw[f"fold_bank_{number}"].any(axis=1)
        assert set(np.flatnonzero(taught)) == set(train[raw["fold"][train] != number])
    np.testing.assert_allclose(np.linalg.norm(raw["features"], axis=1), 1, atol=1e-4)


def test_the_same_seed_gives_the_same_net(tmp_path):
    table = runs.decode(read_set(write_set(tmp_path)), ("blue", "red"), 32)
    config = dataclasses.replace(small_cnn.tiny(labels=2), epochs=1)
    for name in ("one", "two"):
        runs.train_whole("small_cnn", config, table, tmp_path / name)
    one, two = (np.load(tmp_path / name / "raw.npz")["logits"] for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_an_image_that_cannot_be_read_is_left_out(tmp_path):
    folder = write_set(tmp_path)
    (folder / "images" / "red0a.png").write_bytes(b"no image")
    samples = read_set(folder)
    table = runs.decode(samples, ("blue", "red"), 16)
    assert len(table.samples) == len(samples) - 1
    with pytest.raises(BadData, match="green"):
        runs.decode(samples, ("green",), 16)
