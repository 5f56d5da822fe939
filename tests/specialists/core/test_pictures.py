"""Findings that are pictures: what they say, that they come back from JSON, and how they lie over the image."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from specialists.core.pictures import Enhanced, HeatMap


def heat() -> HeatMap:
    values = np.zeros((10, 20), dtype=np.float32)
    values[2, 15] = 1.0
    return HeatMap("cnn", "benign", values, "covering it takes 20 points")


def test_a_heat_map_says_where_it_is_strongest_and_what_that_means():
    assert heat().words() == ("cnn: heat map of benign, strongest at 78 % from the left and 25 % from the top "
                              "(covering it takes 20 points)")
    even = HeatMap("cnn", "benign", np.zeros((4, 4), dtype=np.float32))
    assert even.words() == "cnn: heat map of benign without a place that stands out"


def test_pictures_come_back_from_json():
    again = HeatMap.from_json(json.loads(json.dumps(heat().json())))
    assert np.array_equal(again.values, heat().values)
    assert again.meaning == heat().meaning
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    after = Enhanced.from_json(json.loads(json.dumps(Enhanced("net", "denoised", pixels).json())))
    assert np.array_equal(after.pixels, pixels)
    assert after.words() == "net: the image enhanced (denoised)"


def test_a_heat_map_hides_nothing_where_it_is_cold_and_glows_where_it_is_hot():
    image = Image.new("RGB", (200, 100), (50, 60, 70))
    drawn = np.asarray(heat().overlay(image))
    assert drawn.shape == (100, 200, 3)
    assert tuple(drawn[90, 10]) == (50, 60, 70)
    assert drawn[25, 155].astype(int).sum() > 400


def test_an_enhanced_image_is_given_in_the_size_of_the_image():
    pixels = np.full((2048, 1024), 200, dtype=np.uint8)
    made = Enhanced("net", "denoised", pixels)
    assert made.image().size == (512, 1024)
    assert made.overlay(Image.new("L", (30, 60))).size == (30, 60)
