"""Findings: their words, JSON and overlays; and masks as COCO run lengths."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from specialists.core import rle
from specialists.core.findings import (
    Box,
    Boxes,
    Classification,
    Masks,
    Refusal,
    Score,
    Text,
    draw_boxes,
    percent,
)


def lesion() -> Masks:
    """A mask of two parts and a speck in an image of 20 x 10 pixels."""
    mask = np.zeros((10, 20), bool)
    mask[1:9, 2:8] = True
    mask[2:5, 12:16] = True
    return Masks("unet", {"lesion": mask}, (0.5, 2.0), ("calcification",))


FINDINGS = [Classification("net", {"benign": 0.7, "malignant": 0.3}), lesion(),
            Boxes("det", (Box("a", (0, 0, 5, 5)),)), Score("q", "sharpness", 0.4), Text("t", "free"),
            Refusal("net", "It answers for X.", {"distance": 2.0})]


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda f: type(f).__name__)
def test_every_finding_says_itself(finding):
    assert finding.words().startswith(finding.specialist)
    assert json.loads(json.dumps(finding.json()))["specialist"] == finding.specialist
    image = Image.new("RGB", (20, 10))
    drawn = finding.overlay(image)
    assert (drawn.size, drawn.mode) == ((20, 10), "RGB")
    assert not np.asarray(image).any()  # the image given is not drawn on


def test_classification_names_the_most_probable():
    finding = Classification("net", {"a": 0.1, "b": 0.6, "c": 0.299, "d": 0.001})
    assert (finding.label, finding.probability) == ("b", 0.6)
    assert finding.words() == "net: b 60 %, c 30 %, a 10 %"
    assert finding.words(most=1) == "net: b 60 %"


def test_masks_tell_boxes_and_area():
    finding = lesion()
    assert [box.xyxy for box in finding.boxes()] == [(2, 1, 8, 9), (12, 2, 16, 5)]  # largest first
    assert finding.area_mm2("lesion") == 60
    assert "60 mm²" in finding.words()
    assert "not found: calcification" in finding.words()
    mask = finding.json()["masks"][0]
    assert mask["label"] == "lesion"
    assert mask["rle"]["size"] == [10, 20]
    np.testing.assert_array_equal(rle.decode(mask["rle"]), finding.masks["lesion"])
    unknown = Masks("unet", finding.masks)
    assert unknown.json()["masks"][0]["area_mm2"] == "unknown"
    assert "mm unknown" in unknown.words()


def test_specks_get_no_box():
    mask = np.zeros((100, 100), bool)
    mask[10:60, 10:60] = True
    mask[90, 90] = True
    assert len(Masks("unet", {"lesion": mask}).boxes()) == 1


def test_overlay_of_a_mask_colors_it_only():
    drawn = np.asarray(lesion().overlay(Image.new("L", (20, 10))))
    assert (drawn.any(axis=2) == lesion().masks["lesion"]).all()


def test_boxes_outside_the_image_are_drawn_at_its_edge():
    boxes = (Box("a", (-10, 20, 60, 70)), Box("b", (50, 50, 60, 60), 0.5))
    drawn = draw_boxes(Image.new("RGB", (40, 40)), boxes)
    assert np.asarray(drawn)[20, 5].any()


@pytest.mark.parametrize(("value", "said"), [
    (0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1, "100 %")])
def test_percent_claims_no_certainty(value, said):
    assert percent(value) == said


# --- run lengths


@pytest.mark.parametrize("mask", [np.zeros((3, 4)), np.ones((3, 4)), np.eye(5), np.zeros((0, 3))])
def test_plain_masks_survive(mask):
    np.testing.assert_array_equal(rle.decode(rle.encode(mask.astype(bool))), mask.astype(bool))


def test_random_masks_survive():
    noise = np.random.default_rng(0)
    for _ in range(100):
        mask = noise.random(noise.integers(1, 60, 2)) < noise.random()
        np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)
    large = np.zeros((700, 900), bool)
    large[100:650, 30:800] = True
    np.testing.assert_array_equal(rle.decode(rle.encode(large)), large)


def test_known_texts_of_coco():
    # run lengths down the columns: 5 zeros, 3 ones, 4 zeros; then by hand as five bits a character
    mask = np.zeros((4, 3), bool)
    mask[1:, 1] = True
    assert rle.encode(mask) == {"size": [4, 3], "counts": "534"}
    assert rle.decode({"size": [4, 3], "counts": [5, 3, 4]}).sum() == 3
    # a difference to the run two before is negative here: 1, 6, 2, 3 -> 1, 6, 2, -3
    assert rle.encode(np.array([[0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1]], bool))["counts"] == "162M"


@pytest.mark.parametrize("counts", ["5", "534534", "o", [5, -3, 10], ""])
def test_bad_run_lengths(counts):
    with pytest.raises(ValueError, match="Run lengths"):
        rle.decode({"size": [4, 3], "counts": counts})
    with pytest.raises(ValueError, match="wanted"):
        rle.encode(np.zeros((2, 3, 4), bool))
