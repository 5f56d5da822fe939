"""Sets are matched by equal labels, evidence is gathered in batches under guards, bad images are named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assistant import template
from assistant.consultation import shown
from assistant.evaluation.cases import (
    BadEvaluation,
    NoMatchingSet,
    choose,
    collect,
    cycle,
    match_sets,
    open_domain,
    refusal_counts,
    shuffle_evidence,
)
from assistant.steps import Question
from specialists.core import registry
from specialists.core.study import read_study
from specialists.datasets.layout import read_set
from tests.assistant.evaluation.world import LABELS, NAMES, card, write_records


def matched(world, *wanted):
    return match_sets(world.data, wanted, registry.cards(), registry.domains())


def test_sets_of_equal_labels_match_whatever_their_case(world):
    assert matched(world) == {"stones_a": "stones", "stones_b": "stones"}
    assert matched(world, "stones_b") == {"stones_b": "stones"}


def test_one_label_less_matches_only_in_a_set_that_was_taught(world):
    records = [json.loads(x) for x in (world.data / "stones_a/records.jsonl").read_text().splitlines()]
    fewer = [r for r in records if r["label"] != "gamma"]
    write_records(world.data / "stones_a", fewer)
    (world.data / "stones_c").mkdir()
    write_records(world.data / "stones_c", fewer)
    assert matched(world) == {"stones_a": "stones", "stones_b": "stones"}


def test_labels_of_other_splits_count(world):
    records = [json.loads(x) for x in (world.data / "stones_a/records.jsonl").read_text().splitlines()]
    moved = [r | {"split": "train"} if r["label"] == "gamma" else r for r in records]
    write_records(world.data / "stones_a", moved)
    assert "stones_a" in matched(world)


def test_of_two_domains_with_equal_labels_the_one_taught_from_the_set_is_taken(world):
    other = card("aaa_other", 0.5, domain="aaa")
    other = type(other)(**{**other.__dict__, "data": ({"set": "stones_b"},)})
    cards, domains = {**registry.cards(), "aaa_other": other}, {"aaa": ("aaa_other",), **registry.domains()}
    assert match_sets(world.data, (), cards, domains) == {"stones_a": "stones", "stones_b": "aaa"}


def test_unknown_set_and_no_match_say_what_exists(world):
    with pytest.raises(BadEvaluation, match="No set named 'stone'. Known: leaves, stones_a, stones_b"):
        matched(world, "stone")
    with pytest.raises(NoMatchingSet, match="(?s)leaves: green, red.*stones: alpha, beta, gamma"):
        matched(world, "leaves")


def test_evidence_has_opinions_neighbors_and_a_stable_order_of_options(world):
    domain = open_domain("stones")
    samples = read_set(world.data / "stones_a", ["test"])
    cases, left_out = collect(samples, domain, batch=8)
    assert not left_out
    assert [c.sample.id for c in cases] == [s.id for s in samples]
    assert all([o.specialist for o in c.evidence.moed] == list(NAMES) for c in cases)
    assert all(set(c.options) == set(LABELS) for c in cases)
    assert len({c.options for c in cases}) > 2
    assert cases[0].options == collect(samples[:1], domain)[0][0].options
    assert cases[0].evidence.moed[2].validated == {"alpha": 0.7, "beta": 0.7, "gamma": 0.7, "macro": 0.7}
    assert len(cases[0].evidence.rad) == 10
    assert {c.label for c in cases[0].evidence.rad} == {cases[0].truth}
    assert domain.best == "stones_third"
    assert max(world.specialists[NAMES[0]].calls) == 8


def test_neither_the_case_nor_its_patient_is_retrieved(world):
    samples = read_set(world.data / "stones_a", ["test"])
    cases, _ = collect(samples, open_domain("stones", neighbors=200))
    for case in cases:
        own = {s.id for s in read_set(world.data / "stones_a") if s.patient == case.sample.patient}
        assert len(own) == 2
        assert not own & {c.id for c in case.evidence.rad}


def test_corrupt_unlabeled_and_missing_images_are_named_and_left_out(world):
    samples = read_set(world.data / "stones_a", ["test"])
    samples[0].path.write_bytes(b"no image at all")
    samples[1].path.unlink()
    broken = [*samples[:3], type(samples[3])(**{**samples[3].__dict__, "label": None}), *samples[4:]]
    cases, left_out = collect(broken, open_domain("stones"))
    assert [x.id for x in left_out] == [s.id for s in (samples[0], samples[1], samples[3])]
    assert len(cases) == len(samples) - 3
    assert all(str(world.data) not in x.reason for x in left_out)


def test_a_refusal_is_counted_and_gives_no_opinion(world):
    samples = read_set(world.data / "stones_a", ["test"])
    world.specialists[NAMES[2]].answers[read_study(samples[0].path).sha256] = "too far"
    cases, _ = collect(samples, open_domain("stones"))
    assert [o.specialist for o in cases[0].evidence.moed] == list(NAMES[:2])
    assert refusal_counts(cases) == {NAMES[2]: 1}


def test_a_domain_without_index_has_no_similar_cases(world, monkeypatch):
    monkeypatch.setattr(registry, "domains", lambda: {"other": NAMES})
    cases, _ = collect(read_set(world.data / "stones_a", ["test"])[:2], open_domain("other"))
    assert cases[0].evidence.rad == ()
    assert not cases[0].evidence.no_similar_case


def test_shuffled_evidence_is_that_of_another_case(world):
    cases, _ = collect(read_set(world.data / "stones_a", ["test"]), open_domain("stones"))
    moved = shuffle_evidence(cases, np.random.default_rng(0))
    assert all(a.evidence is not b.evidence for a, b in zip(cases, moved, strict=True))
    assert [c.options for c in cases] == [c.options for c in moved]
    assert {id(c.evidence) for c in moved} == {id(c.evidence) for c in cases}
    assert cycle(1, np.random.default_rng(0)) == [0]


def test_a_limit_draws_the_same_samples_again(world):
    samples = read_set(world.data / "stones_a")
    assert choose(samples, 7, 3) == choose(samples, 7, 3)
    assert len(choose(samples, 7, 3)) == 7
    assert choose(samples, None, 0) == samples


def test_published_prompt_names_what_the_calibrated_one_says(world):
    cases, _ = collect(read_set(world.data / "stones_a", ["test"])[:1], open_domain("stones"))
    case = cases[0]
    prompt = template.decision("?", [], case.options, evidence=case.evidence, style="published")
    letters = dict(zip(case.options, template.letters(len(case.options)), strict=True))
    named = ", ".join(f"{letters[o.label]} {o.label}" for o in case.evidence.moed)
    assert named in prompt[0]["content"][0]["text"]


def test_options_stand_in_the_order_that_the_assistant_shows(world):
    cases, _ = collect(read_set(world.data / "stones_a", ["test"])[:5], open_domain("stones"))
    for case in cases:
        assert list(case.options) == shown(Question("?", (read_study(case.sample.path),), options=LABELS))
