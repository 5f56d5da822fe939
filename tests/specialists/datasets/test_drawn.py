"""Drawn eyes: reproducible, with the lesions that their grade says."""

from __future__ import annotations

import numpy as np

from specialists.datasets.drawn import COUNTS, fundus, smaller


def test_the_same_seed_draws_the_same_eye() -> None:
    first, second, other = (fundus(np.random.default_rng(seed), 48, 2) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (first.pixels != other.pixels).any()


def test_lesions_and_their_masks_follow_the_grade() -> None:
    assert fundus(np.random.default_rng(0), 48).masks == {}
    for grade in range(1, 5):
        drawn = fundus(np.random.default_rng(grade), 96, grade)
        assert set(drawn.masks) <= set(COUNTS[grade])
        assert all(mask.any() and mask.shape == (96, 96) for mask in drawn.masks.values())
    assert fundus(np.random.default_rng(0), 96, 4).masks["haemorrhage"].sum() > 0


def test_smaller_images_are_means() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    np.testing.assert_array_equal(smaller(pixels, 2)[0, 0, 0], pixels[0, :2, :2].reshape(4, 3).mean(axis=0).round())
