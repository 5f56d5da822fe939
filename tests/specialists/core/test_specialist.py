"""Specialists from files: answers of each task, scope, batches, and weights that are not theirs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from specialists.core.calibrate import softmax
from specialists.core.errors import BadCard, MissingWeights
from specialists.core.findings import Classification, Masks, Refusal
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study
from tests.specialists.core.trained import LABELS, specialist_files


def studies(count: int = 5) -> list[Study]:
    """Noise of different sizes."""
    noise = np.random.default_rng(0)
    return [read_study(noise.integers(0, 255, (40 + n, 50, 3), dtype=np.uint8)) for n in range(count)]


def test_an_opinion_is_calibrated_and_in_the_order_of_the_card(tmp_path):
    card = specialist_files(tmp_path, "net", calibration={"temperature": 2.0})
    specialist = Specialist(card, tmp_path)
    logits, features = specialist.raw(studies(2))
    finding = specialist.predict(studies()[1])
    assert isinstance(finding, Classification)
    assert tuple(finding.probabilities) == LABELS["classification"]
    np.testing.assert_allclose(list(finding.probabilities.values()), softmax(logits[1] / 2), rtol=1e-5)
    assert logits.shape == (2, 3)
    vector = specialist.embed(studies()[1])
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, features[1] / np.linalg.norm(features[1]), rtol=1e-4, atol=1e-6)


def test_many_are_answered_as_one_by_one(tmp_path):
    specialist = Specialist(specialist_files(tmp_path, "net"), tmp_path)
    many = specialist.predict_many(studies(), batch=2)
    assert specialist.predict_many([]) == []
    assert specialist.embed_many(studies(), batch=2).shape[0] == 5
    with ThreadPoolExecutor(4) as threads:
        single = list(threads.map(specialist.predict, studies()))
    for a, b in zip(many, single, strict=True):
        assert isinstance(a, Classification)
        assert isinstance(b, Classification)
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)


def test_the_mirror_image_is_averaged_in_where_the_card_says_so(tmp_path):
    card = specialist_files(tmp_path, "net", input={"size": 32, "flip": True})
    study = studies()[0]
    mirror = read_study(study.rgb()[:, ::-1].copy())
    flipped, _ = Specialist(card, tmp_path).raw([study, mirror])
    plain, _ = Specialist(replace(card, input={"size": 32}), tmp_path).raw([study, mirror])
    np.testing.assert_allclose(flipped[0], plain.mean(axis=0), atol=1e-4)
    assert np.abs(plain[0] - plain[1]).max() > 1e-4


def test_features_out_of_scope_are_refused_with_both_numbers(tmp_path):
    near = Specialist(specialist_files(tmp_path, "near", reach=100.0), tmp_path)
    far = Specialist(specialist_files(tmp_path, "far", reach=1e-4), tmp_path)
    assert isinstance(near.predict(studies()[0]), Classification)
    refusal = far.predict(studies()[0])
    assert isinstance(refusal, Refusal)
    assert "breast ultrasound" in refusal.reason
    assert refusal.details["distance"] > refusal.details["threshold"]


def test_triage_says_unknown_by_distance(tmp_path):
    study = studies()[0]
    inside = Specialist(specialist_files(tmp_path, "triage", "triage", reach=100.0), tmp_path).predict(study)
    outside = Specialist(specialist_files(tmp_path, "triage", "triage", reach=1e-4), tmp_path).predict(study)
    assert isinstance(inside, Classification)
    assert isinstance(outside, Classification)
    assert tuple(inside.probabilities) == tuple(outside.probabilities) == (*LABELS["triage"], "unknown")
    assert inside.probabilities["unknown"] == 0
    assert (outside.label, outside.probability) == ("unknown", 1)
    assert sum(inside.probabilities.values()) == pytest.approx(1)


def test_masks_have_the_size_of_the_image(tmp_path):
    dense = {"thresholds": {label: {"mask": 0.0, "present": 0.0, "area": 0.0} for label in LABELS["segmentation"]}}
    study = read_study(np.random.default_rng(0).random((41, 67)))
    card = specialist_files(tmp_path, "unet", "segmentation", input=dense)
    finding = Specialist(card, tmp_path).predict(study)
    assert isinstance(finding, Masks)
    assert {mask.shape for mask in finding.masks.values()} == {(41, 67)}
    assert {mask.dtype for mask in finding.masks.values()} == {np.dtype(bool)}
    assert set(finding.masks) == set(LABELS["segmentation"])


@pytest.mark.parametrize("asked", [{"present": 1.1}, {"area": 1.1}, {"mask": 1.0}])
def test_labels_that_are_too_small_or_unsure_are_absent(tmp_path, asked):
    wanted = {label: {"mask": 0.0, "present": 0.0, "area": 0.0, **asked} for label in LABELS["segmentation"]}
    card = specialist_files(tmp_path, "unet", "segmentation", input={"thresholds": wanted})
    finding = Specialist(card, tmp_path).predict(studies()[0])
    assert isinstance(finding, Masks)
    assert (finding.masks, finding.absent) == ({}, LABELS["segmentation"])


def test_a_segmenter_with_a_scope_refuses_too(tmp_path):
    card = specialist_files(tmp_path, "unet", "segmentation", reach=1e-6)
    specialist = Specialist(card, tmp_path)
    assert isinstance(specialist.predict(studies()[0]), Refusal)
    logits, features = specialist.raw(studies(2))
    assert logits.shape == (2, 2, 32, 32)
    assert features.shape == (2, specialist.embed(studies()[0]).size)


def test_weights_that_are_absent_damaged_or_of_another(tmp_path):
    card = specialist_files(tmp_path, "net")
    path = tmp_path / "net.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(MissingWeights, match="sha256"):
        Specialist(card, tmp_path)
    path.write_bytes(data[:50])
    with pytest.raises(MissingWeights, match="cut off or damaged"):
        Specialist(replace(card, weights={}), tmp_path)
    path.unlink()
    with pytest.raises(MissingWeights, match="are not there"):
        Specialist(card, tmp_path)


def test_a_config_that_does_not_fit(tmp_path):
    card = specialist_files(tmp_path, "net")
    with pytest.raises(BadCard, match="config"):
        Specialist(replace(card, config={"depth": 3}), tmp_path)
    with pytest.raises(MissingWeights, match="do not fit"):
        Specialist(replace(card, config={**card.config, "labels": 7}), tmp_path)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_triage_calls_an_even_image_unknown(tmp_path, value):
    triage = Specialist(specialist_files(tmp_path, "triage", task="triage"), tmp_path)
    finding = triage.predict(read_study(np.full((30, 40, 3), value, dtype=np.uint8)))
    assert isinstance(finding, Classification)
    assert finding.probabilities["unknown"] == 1
