"""A domain that the project never saw, in the user's home: its specialists are asked, the generalist stays as it is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from assistant.assistant import Assistant
from assistant.generalist.scripted import ScriptedGeneralist
from specialists.core import kinds, registry
from specialists.core.index import CaseIndex, IndexCard, Row, case_vector
from tests.specialists.core.test_kinds import NAME, studies
from tests.specialists.core.trained import specialist_files

OPTIONS = ("benign", "malignant", "normal")
PANEL = ("ward_one", "ward_three", "ward_two")


class Small(ScriptedGeneralist):
    """A generalist that was taught one kind of image, which is not that of the domain."""

    @property
    def taught_kinds(self) -> frozenset[str]:
        """The kinds it was taught."""
        return frozenset({"brain MRI"})


def follows_the_panel(messages, letters):
    """Score options by the shares of the first specialist in the prompt; without one, even."""
    said = re.search(r"ward_one: (.+)", messages[-1].text)
    shares = dict(re.findall(r"([A-C]) (\d+)", said[1])) if said else {}
    return {letter: (1 + float(shares.get(letter, 0))) / 100 for letter in letters}


@pytest.fixture
def ward(tmp_path, monkeypatch):
    """A home with three specialists of a kind of image of their own, and an index; what ships knows only triage."""
    shipped = tmp_path / "weights"
    shipped.mkdir()
    specialist_files(shipped, "triage", "triage", domain="triage", reach=0.0)
    monkeypatch.setattr(registry, "SHIPPED", shipped)
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    home = registry.home()
    for name in PANEL:
        specialist_files(home, name, domain="ward", kinds=(NAME,))
    kinds.fit_kind(NAME, studies("red", 40), studies("red", 20, 1), home)
    rows = [Row(f"r{i}", OPTIONS[i % 3], group=f"g{i}") for i in range(6)]
    panel = [registry.load(name) for name in PANEL]
    vectors = np.stack([case_vector(panel, study) for study in studies("red", 6, 7)])
    CaseIndex.build(rows, vectors, IndexCard("ward", PANEL)).save(home / "index")
    return tmp_path


@pytest.mark.parametrize("collaboration", ["auto", "full"])
def test_the_new_specialists_make_the_answer(ward, collaboration):
    image = studies("red", 1, 5)[0]
    consilium = Assistant(generalist=Small([], follows_the_panel), home=ward)
    answer = consilium.ask(image, "What is it?", options=OPTIONS, collaboration=collaboration)
    assert answer.kind == NAME
    assert [opinion.specialist for opinion in answer.evidence.moed] == list(PANEL)
    assert len(answer.evidence.rad) == 6
    assert answer.label == registry.load("ward_one").predict(image).label
    assert answer.text.startswith(f"Most likely {answer.label}")


def test_an_open_question_tells_what_the_new_specialists_say(ward):
    answer = Assistant(generalist=Small(), home=ward).ask(studies("red", 1, 5)[0], "What is it?")
    assert answer.text.startswith(f"This looks like {NAME}. I was not taught this kind of image. ward_one: ")
    assert "Of 6 similar cases: " in answer.text
    assert answer.refer
    alone = Assistant(generalist=Small(), home=ward).ask(studies("red", 1, 5)[0], "What is it?", collaboration="none")
    assert "cannot tell more" in alone.text


def test_a_wrong_image_is_refused(ward):
    answer = Assistant(generalist=Small([], follows_the_panel), home=ward).ask(
        studies("blue", 1, 5)[0], "What is it?", options=OPTIONS)
    assert answer.kind == "unknown"
    assert not answer.evidence.moed
    assert answer.refer
    assert {declined.specialist for declined in answer.evidence.refusals} == set(PANEL)
