"""The generalist's own look: asked in words, handed over in letters, and only where it was validated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from assistant import template
from assistant.collaboration.look import own_looks


class Seer:
    """Says what it is told to see; its look was validated on two labels."""

    look_record = {"glioma": 0.7, "meningioma": 0.4}

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def score_many(self, conversations: Sequence[Any], options: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        self.asked += conversations
        return [{o: math.log(0.8 if "meningioma" in o else 0.2) for o in some} for some in options]


def test_the_look_is_an_opinion_in_the_words_of_the_options() -> None:
    seer = Seer()
    look, = own_looks(seer, [["url"]], "brain MRI", [["Glioma", "meningioma"]])
    assert look is not None
    assert look.label == "meningioma"
    assert look.probabilities == pytest.approx({"Glioma": 0.2, "meningioma": 0.8})
    assert look.validated == {"Glioma": 0.7, "meningioma": 0.4}
    prompt = template.decision("?", ["url"], ["Glioma", "meningioma"], evidence=None, look=look)
    assert "own_look: B 80, A 20; validated 40" in prompt[0]["content"][-1]["text"]


def test_what_was_never_validated_is_not_asked() -> None:
    seer = Seer()
    assert own_looks(seer, [["url"]], "brain MRI", [["yes", "no"]]) == [None]
    assert own_looks(object(), [["url"]], "brain MRI", [["glioma", "meningioma"]]) == [None]
    assert seer.asked == []
