"""The generalist's own look: asked in words, handed over in letters, and only where it was validated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from assistant import template
from assistant.collaboration.look import own_looks
from assistant.steps import Case, Evidence, Opinion


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
    assert own_looks(seer, [["url"]], "brain MRI", [["glioma", "Glioma ", "meningioma"]]) == [None], "one label, twice"
    assert seer.asked == []


def test_counts_of_the_evidence_are_made_true() -> None:
    evidence = Evidence(moed=(Opinion("a", "glioma", {"glioma": 1.0}, {}), Opinion("b", "normal", {"normal": 1.0}, {})),
                        rad=(Case("c", "glioma", 0.9, "s"),))
    said = ("This is a brain MRI image. Most likely glioma. 2 of 2 specialists say the same. "
            "9 of 9 similar cases carry this label.")
    known, kind = ["glioma", "normal"], "brain MRI"
    own = template.own_words(said, heard=True)
    assert own == "This is a brain MRI image. Most likely glioma."
    assert template.backed(own, kind, known, "What is it?") == "This is a brain MRI image."
    assert template.sentence("glioma", None, evidence, "") == (
        "Most likely glioma. 1 of 2 specialists say the same. 1 of 1 similar cases carry this label.")
    sound = 'This is a human look: chest X-ray shows most likely. A brain MRI. Here: [{"bbox_2d": [1, 2, 3, 4]}]'
    assert template.backed(sound, kind, known, "Where?") == 'A brain MRI. Here: [{"bbox_2d": [1, 2, 3, 4]}]'
    wrong = 'The specialist finds the polyp: [{"bbox_2d": [1, 2, 3, 4], "label": "optic disc"}].'
    assert template.backed(wrong, kind, known, "Where?") == '[{"bbox_2d": [1, 2, 3, 4], "label": "optic disc"}].'
    right = wrong.replace("polyp", "optic disc")
    assert template.backed(right, kind, known, "Where?") == right
    assert template.backed("No, there is none.", kind, known, "Is there a fracture?") == "I cannot tell that."
    assert template.backed("No, it is not.", kind, known, "Is it normal?") == ""
    assert template.own_words("2 of 3 specialists say the same. Hello.", heard=False) == "Hello."
    assert template.own_words("Of the 1 similar cases carry this label. Hello.", heard=False) == "Hello."
    alone = "No specialist here is made for a nail. From the image alone: most likely rust."
    assert template.own_words(alone, heard=False) == alone
    assert template.own_words(alone, heard=True) == "Most likely rust."
    assert template.tells_kind("This is a brain MRI image.", "brain MRI")
    assert not template.tells_kind("This is a brain tumour.", "brain MRI")
    assert not template.tells_kind("", "brain MRI")
