"""Covering the image piece by piece finds what a classifier rests on, and says so where nothing stands out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from specialists.core.errors import UnknownSpecialist
from specialists.core.occlusion import GRID, heat_map
from specialists.core.study import read_study


class SeesOnePlace:
    """A classifier for which only the brightness at the upper right counts."""

    card = SimpleNamespace(name="seer", task="classification", label_names=["bright", "dark"], calibration={})

    def __init__(self, strength: float = 8.0) -> None:
        self.strength = strength

    def raw(self, studies):
        seen = np.asarray([study.rgb()[10:25, 75:90].mean() / 255 for study in studies])
        return np.stack([self.strength * seen, np.full(len(seen), self.strength / 4)], axis=1), None


def picture():
    pixels = np.zeros((100, 100), dtype=np.uint8)
    pixels[10:25, 75:90] = 255
    return read_study(pixels)


def test_it_glows_where_the_opinion_hangs():
    found = heat_map(SeesOnePlace(), picture())
    assert found.label == "bright"
    assert found.values.shape == (GRID, GRID)
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert row in (0, 1, 2)
    assert column in (7, 8, 9)
    assert not found.values[5:].any()
    assert "points from bright" in found.meaning


def test_where_nothing_matters_it_says_so():
    found = heat_map(SeesOnePlace(strength=0.01), picture(), "bright")
    assert not found.values.any()
    assert "takes less than 2 points from bright" in found.meaning


def test_what_is_no_classifier_and_an_unknown_label_are_refused():
    grader = SeesOnePlace()
    grader.card = SimpleNamespace(name="grader", task="grading", label_names=[], calibration={})
    with pytest.raises(UnknownSpecialist, match="does not classify"):
        heat_map(grader, picture())
    with pytest.raises(UnknownSpecialist, match="no label 'green'"):
        heat_map(SeesOnePlace(), picture(), "green")
