"""Each arm gives the distribution it must, refusals and ties included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from assistant import template
from assistant.collaboration.arbiter import Arbiter
from assistant.evaluation import arms
from assistant.evaluation.cases import collect, open_domain
from assistant.evaluation.diagnosis import view
from assistant.steps import Case, Evidence, Opinion
from specialists.core.study import read_study
from specialists.datasets.layout import read_set
from tests.assistant.evaluation.world import LABELS, FakeGeneralist, said


def opinion(name, label, chance):
    return Opinion(name, label, said(label, chance), {})


def test_majority_counts_votes_and_breaks_ties_by_mean_probability():
    two = [opinion("a", "alpha", 0.5), opinion("b", "alpha", 0.5)]
    votes = arms.majority([*two, opinion("c", "beta", 0.98)], LABELS)
    assert votes == pytest.approx([2 / 3, 1 / 3, 0], abs=1e-5)
    tied = arms.majority([opinion("a", "alpha", 0.5), opinion("b", "beta", 0.9)], LABELS)
    assert tied.argmax() == 1
    assert tied == pytest.approx([0.5, 0.5, 0], abs=1e-5)


def test_without_opinions_or_cases_an_arm_says_nothing():
    for nothing in (arms.majority([], LABELS), arms.mean_probability([], LABELS),
                    arms.neighbors_vote([], LABELS), arms.best_specialist([], "a", LABELS)):
        assert nothing == pytest.approx([1 / 3] * 3)


def test_best_specialist_falls_back_to_the_mean_of_the_others():
    first, second, third = opinion("a", "alpha", 0.9), opinion("b", "beta", 0.6), opinion("c", "beta", 0.8)
    assert arms.best_specialist([first, second], "a", LABELS) == pytest.approx([0.9, 0.05, 0.05])
    assert arms.best_specialist([second, third], "a", LABELS) == pytest.approx([0.15, 0.7, 0.15])


def test_neighbors_vote_by_similarity():
    near = [Case("1", "alpha", 0.9, ""), Case("2", "beta", 0.6, ""), Case("3", "beta", -0.5, "")]
    assert arms.neighbors_vote(near, LABELS) == pytest.approx([0.6, 0.4, 0])


def test_each_arm_shows_its_part_of_the_evidence():
    whole = Evidence((opinion("a", "alpha", 0.9),), (Case("1", "alpha", 0.9, ""),), no_similar_case=False)
    assert arms.shown("generalist", whole) == (None, "calibrated")
    rad, moed = arms.shown("rad", whole)[0], arms.shown("moed", whole)[0]
    assert rad is not None
    assert moed is not None
    assert (rad.moed, rad.rad) == ((), whole.rad)
    assert (moed.moed, moed.rad) == (whole.moed, ())
    assert arms.shown("gsco", whole) == (whole, "calibrated")
    assert arms.shown("gsco_published", whole) == (whole, "published")


@pytest.fixture
def cases(world):
    return collect(read_set(world.data / "stones_a", ["test"]), open_domain("stones"))[0]


def answer_of(world, cases):
    return {template.png_url(read_study(c.sample.path)): c.truth for c in cases}


def test_the_generalist_sees_image_and_evidence_and_its_letters_are_put_back(world, cases):
    asked = FakeGeneralist(lambda truth, letters, text: {letters[truth]: 1.0}, answer_of(world, cases))
    found = arms.ask(cases, open_domain("stones"), asked, view(cases, None, 0), ["generalist", "gsco"])
    truth = arms.truths(cases, LABELS)
    for arm in found.values():
        assert np.array_equal(arm.argmax(axis=1), truth)
        assert arm.sum(axis=1) == pytest.approx(np.ones(len(cases)))
    alone = [text for text in asked.seen if "Specialists:" not in text]
    assert len(alone) == len(cases)
    assert asked.calls == 2 * -(-len(cases) // arms.BATCH)


def test_a_generalist_that_scores_one_by_one_is_asked_too(world, cases):
    class OneByOne:
        def score(self, messages: object, options: Sequence[str]) -> dict[str, float]:
            return dict.fromkeys(options, float(np.log(1 / len(options))))
    found = arms.ask(cases[:3], open_domain("stones"), OneByOne(), lambda place: "data:,", ["generalist"])
    assert found["generalist"] == pytest.approx(np.full((3, 3), 1 / 3))


def test_controls_replace_what_the_generalist_sees(world, cases):
    real = [view(cases, None, 0)(i) for i in range(len(cases))]
    blank = [view(cases, "blank", 0)(i) for i in range(len(cases))]
    noise = [view(cases, "noise", 0)(i) for i in range(len(cases))]
    moved = [view(cases, "shuffled", 0)(i) for i in range(len(cases))]
    assert len(set(blank)) == 1
    assert len(set(noise)) == len(cases)
    assert not set(noise) & set(real)
    assert sorted(moved) == sorted(real)
    assert all(a != b for a, b in zip(moved, real, strict=True))


def test_the_arbiter_pools_the_generalist_alone_with_the_evidence(cases):
    alone = np.full((len(cases), 3), 1 / 3)
    known = arms.judged(cases, LABELS, {"generalist": alone, "gsco": alone})
    assert [k.truth for k in known] == [c.truth for c in cases]
    assert all(list(k.alone) == list(c.options) for k, c in zip(known, cases, strict=True))
    weights = {"generalist": 1.0, "specialists": 0.0, "neighbors": 1.0}
    pooled = arms.pooled(known, LABELS, Arbiter(weights=weights))
    assert np.array_equal(pooled.argmax(axis=1), arms.truths(cases, LABELS))
    settled = [arms.settle(one, Arbiter()) for one in known]
    assert [x.confidence for x in settled] == pytest.approx([1 / 3] * len(cases))
    assert all(x.refer for x in settled)


def test_with_evidence_it_chooses_between_two_options_and_its_own(world, cases):
    def first_letter(truth: str, letters: dict[str, str], text: str) -> dict[str, float]:
        return {"A": 1.0}
    domain, asked = open_domain("stones"), FakeGeneralist(first_letter, answer_of(world, cases))
    arms.ask(cases, domain, asked, lambda place: template.png_url(read_study(cases[place].sample.path)), ["gsco"])
    shown = [text.partition("Specialists:")[0] for text in asked.seen if "Specialists:" in text]
    options = [sum(f" {label}\n" in text for label in LABELS) for text in shown]
    assert set(options) == {2, 3}
    assert options.count(2) / 2 + options.count(3) / 3 == len(cases), "each is asked once a rotation"


def test_one_that_always_says_a_letter_prefers_no_option(world, cases):
    asked = FakeGeneralist(lambda truth, letters, text: {"A": 0.9, "B": 0.07, "C": 0.03}, answer_of(world, cases))
    found = arms.ask(cases, open_domain("stones"), asked, view(cases, None, 0), ["gsco", "gsco_published"])
    highest, second = np.sort(found["gsco"], axis=1)[:, ::-1].T[:2]
    assert highest == pytest.approx(second)
    assert found["gsco_published"].max(axis=1) == pytest.approx(np.full(len(cases), 0.9))
