"""A kind of image that triage does not know: stated by whoever asks, or brought by an adapter."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from assistant.assistant import Assistant
from assistant.errors import BadQuestion
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.scoping import scoping
from assistant.steps import Answer, Question, Triaged
from specialists.core import registry
from specialists.core.findings import Classification
from specialists.core.study import read_study
from tests.assistant.stand_ins import Zoo, install, picture

OWN = "orchid leaf"
BRAIN = ("brain_mri_hybrid", "brain_mri_residual", "brain_mri_small_cnn")


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    return install(monkeypatch)


class Adapted(ScriptedGeneralist):
    """A generalist that was taught brain MRI, with an adapter for kinds of its own."""

    own: frozenset[str] = frozenset({OWN})

    @property
    def taught_kinds(self) -> frozenset[str]:
        """Those of the base and of the adapter."""
        return frozenset({"brain MRI"}) | self.own

    @property
    def skill_kinds(self) -> frozenset[str]:
        """Those of the adapter."""
        return self.own


def asked(generalist: ScriptedGeneralist, home: Path, **how: object) -> tuple[Triaged, Answer]:
    consilium = Assistant(generalist=generalist, home=home)
    steps = list(consilium.stream(picture(), "What is shown?", **how))  # type: ignore[arg-type]
    last = steps[-1]
    assert isinstance(last, Answer)
    assert consilium.replay(last.trace_id).kind == last.kind
    return next(step for step in steps if isinstance(step, Triaged)), last


def says(text: str) -> ScriptedGeneralist:
    """An adapted generalist that says so, and so again in the replay."""
    return Adapted(replies=[text, text], scores={"A": 0.9, "B": 0.1})


def test_an_image_that_triage_does_not_know_is_of_the_adapters_kind(zoo: Zoo, tmp_path: Path) -> None:
    zoo.kind = "unknown"
    triaged, answer = asked(says("Rust on the leaf."), tmp_path, collaboration="none")
    assert (triaged.kind, triaged.source, triaged.probability) == (OWN, "adapter", 0.0)
    assert answer.text.startswith("Rust on the leaf.\n\nTaken for orchid leaf, the one kind that the adapter was")
    assert "nothing has checked" in answer.text
    assert answer.refer


def test_an_answer_among_options_for_it_tells_no_confidence(zoo: Zoo, tmp_path: Path) -> None:
    zoo.kind = "unknown"
    triaged, answer = asked(says(""), tmp_path, options=["rust", "healthy"], collaboration="full")
    assert not triaged.in_scope
    assert answer.label is not None
    assert answer.confidence is None
    assert answer.label_set is None
    assert answer.refer
    assert "Taken for orchid leaf" in answer.text


@pytest.mark.parametrize("own", [frozenset(), frozenset({OWN, "fern leaf"}), frozenset({"other"})],
                         ids=["says nothing", "two kinds", "one that triage knows"])
def test_an_adapter_that_is_not_plain_about_it_changes_nothing(zoo: Zoo, tmp_path: Path, own: frozenset[str]) -> None:
    zoo.kind = "unknown"
    triaged, answer = asked(Adapted(own=own), tmp_path, collaboration="none")
    assert (triaged.kind, triaged.source) == ("unknown", "triage")
    assert "I was not taught this kind of image" in answer.text


def test_a_sure_triage_is_not_overruled_by_an_adapter(zoo: Zoo, tmp_path: Path) -> None:
    triaged, answer = asked(says("A brain."), tmp_path, collaboration="none")
    assert (triaged.kind, triaged.source) == ("brain MRI", "triage")
    assert "Taken for" not in answer.text


def test_an_image_that_shows_nothing_is_no_adapters(zoo: Zoo) -> None:
    zoo.kind = "unknown"
    even = read_study(np.full((32, 32, 3), 90, np.uint8))
    assert scoping(Question("?", (even,)), frozenset({OWN})).triaged.kind == "unknown"


def test_who_asks_may_state_the_kind_and_what_triage_says_stands_beside_it(zoo: Zoo, tmp_path: Path) -> None:
    triaged, answer = asked(says("Rust."), tmp_path, collaboration="none", kind=" Orchid Leaf ")
    assert (triaged.kind, triaged.source, triaged.looks_like) == (OWN, "question", "brain MRI (90 %)")
    assert "Rust." in answer.text
    assert "Taken for orchid leaf, as the question says." in answer.text
    assert answer.refer_reason == "the question says orchid leaf, the image looks like brain MRI (90 %)"
    assert answer.kind == OWN


def test_specialists_of_a_kind_that_it_might_be_speak_and_a_human_is_sent_for(zoo: Zoo, tmp_path: Path,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Classification("triage", {OWN: 0.8, "brain MRI": 0.2})
    monkeypatch.setattr(registry, "triage", lambda: SimpleNamespace(predict=lambda study: seen))
    question = Question("?", (read_study(picture()),))
    assert scoping(question).triaged.in_scope == BRAIN
    assert not scoping(question).made_for_it
    _, answer = asked(ScriptedGeneralist(scores={"A": 0.9, "B": 0.1}), tmp_path, options=["glioma", "no tumour"],
                      collaboration="full")
    assert answer.refer_reason == f"no specialist is made for this kind of image ({OWN})"


def test_a_stated_kind_leaves_no_room_for_another_that_triage_thought_of(zoo: Zoo, monkeypatch: pytest.MonkeyPatch
                                                                         ) -> None:
    seen = Classification("triage", {OWN: 0.8, "brain MRI": 0.2})
    monkeypatch.setattr(registry, "triage", lambda: SimpleNamespace(predict=lambda study: seen))
    triaged = scoping(Question("?", (read_study(picture()),), kind=OWN)).triaged
    assert (triaged.in_scope, triaged.source, triaged.probability) == ((), "triage", 0.8)


def test_a_stated_kind_that_nobody_was_taught_stays_untaught(zoo: Zoo, tmp_path: Path) -> None:
    zoo.kind = "unknown"
    _, answer = asked(Adapted(), tmp_path, collaboration="none", kind="fern leaf")
    assert "I was not taught this kind of image" in answer.text
    assert "looks like" not in answer.text


def test_specialists_of_a_stated_kind_are_asked_and_look_for_themselves(zoo: Zoo) -> None:
    zoo.kind = "unknown"
    triaged = scoping(Question("?", (read_study(picture()),), kind="brain mri")).triaged
    assert (triaged.kind, triaged.source, triaged.looks_like) == ("brain MRI", "question", "")
    assert triaged.in_scope == BRAIN
    agreed = scoping(Question("?", (read_study(picture()),), kind="unknown")).triaged
    assert agreed.source == "triage"


@pytest.mark.parametrize("kind", [" ", "x" * 61])
def test_a_kind_is_a_few_words(zoo: Zoo, tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadQuestion, match="kind of image"):
        Assistant(generalist=Adapted(), home=tmp_path).ask(picture(), "?", kind=kind)
