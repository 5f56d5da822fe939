"""Kinds about diagnoses and what they rest on: letters name the truth, evidence speaks in the options."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from assistant import template
from instruct_data.items import Item, Library
from instruct_data.kinds import (
    diagnosis,
    earlier_answer,
    evidence,
    imagined,
    looking,
    multi_label,
    refusal,
    weighing,
)
from instruct_data.records import Record, words
from tests.instruct_data import known

KINDS = (diagnosis, multi_label, evidence, weighing, imagined, looking, refusal, earlier_answer)


@pytest.fixture(scope="module")
def library() -> Library:
    return known.items()


def made(kind: object, items: list[Item], library: Library, times: int = 1) -> list[tuple[Item, Record]]:
    return [(item, r) for n in range(times) for item in items
            for r in kind.make(item, library, random.Random(f"{n}/{item.image}"))]  # type: ignore[attr-defined]


def brains(count: int = 12) -> list[Item]:
    return [known.brain(n) for n in range(count)]


def options(record: Record) -> dict[str, str]:
    """Return the options of a decision by their letters."""
    text = words(record.messages[-2])
    listed = re.search(r"Options:\n((?:[A-Z] .+\n)+)", text)
    if listed:
        return {line[0]: line[2:] for line in listed[1].splitlines()}
    return dict(re.findall(r'"([A-Z]) ([^"]+)"', text.split(" are: ")[1].split('."')[0] + '"'))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__.rpartition(".")[2])
def test_same_seed_same_records_and_another_the_same_facts(kind: object, library: Library) -> None:
    for item in library.items[:30]:
        one, two, three = (list(kind.make(item, library, random.Random(s))) for s in (1, 1, 2))  # type: ignore[attr-defined]
        assert one == two
        if kind is not evidence:  # of renamed options a letter states nothing
            assert sorted(f for r in one for f in r.facts) == sorted(f for r in three for f in r.facts)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__.rpartition(".")[2])
def test_records_are_whole(kind: object, library: Library) -> None:
    records = [r for _, r in made(kind, list(library.items), library)]
    assert records
    for record in records:
        assert record.messages[-1]["role"] == "assistant"
        assert record.messages[-1]["content"]
        assert record.kind == kind.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
        parts = [p["type"] for m in record.messages if isinstance(m["content"], list) for p in m["content"]]
        assert parts.count("image") == len(record.images)
        text = record.text()
        assert not re.search(r"[|{}]| \)|\( |  |image:0", text)


def test_a_letter_names_the_label_and_a_sentence_holds_it(library: Library) -> None:
    seen = Counter[str]()
    for item, record in made(diagnosis, brains(), library, 10):
        answer = record.messages[-1]["content"]
        assert record.facts == (f"diagnosis: {item.label}",)
        if len(answer) == 1:
            assert options(record)[answer] == item.label
        else:
            assert item.label in answer
            assert item.label in re.findall(r"Options: (.+)[.]", words(record.messages[1]))[0].split(", ")
        seen["letter" if len(answer) == 1 else "sentence"] += 1
    assert min(seen.values()) > 15


def test_of_several_labels_one_question_each_with_one_that_holds(library: Library) -> None:
    item = known.eye(1)
    records = [r for _, r in made(diagnosis, [item], library, 20)]
    assert {r.facts for r in records} == {(f"diagnosis: {x}",) for x in item.present}
    for record in records:
        assert sum(f" {x}" in words(record.messages[-2]) for x in item.present) == 1


def test_all_labels_that_hold_are_named_and_no_other(library: Library) -> None:
    for item, record in made(multi_label, [known.eye(n) for n in range(6)], library, 20):
        text, answer = words(record.messages[-2]), record.messages[-1]["content"]
        offered = re.search(r"Options: (.+)[.]", text)
        assert offered is not None
        shown = offered[1].split(", ")
        if re.match(r"[A-Z] ", shown[0]):
            assert "letter" in text.splitlines()[-1]
            named = {x[2:] for x in shown if x[0] in answer.split(", ")}
        else:
            named = {x for x in shown if x in answer}
        assert named == set(item.present)
        assert ('"normal"' in text) == any(x.endswith("normal") for x in shown)
    assert not made(multi_label, brains(), library)


def test_opinions_and_cases_speak_in_the_options(library: Library) -> None:
    wrong = 0
    for item, record in made(evidence, brains(), library, 25):
        text, choices = words(record.messages[-1 - 1]), options(record)
        letters = set(re.findall(r"(?:: |, )([A-Z]) \d", text)) | set(re.findall(r"^\d+ ([A-Z])$", text, re.M))
        assert letters <= set(choices)
        answer = choices[record.messages[-1]["content"]]
        if record.facts:
            assert answer == item.label
        else:
            assert not set(choices.values()) & set(known.BRAIN)
        wrong += answer != item.label and bool(record.facts)
    assert wrong == 0


def test_share_of_adversarial_and_renamed_evidence(library: Library) -> None:
    records = [r for _, r in made(evidence, brains(), library, 100)]
    renamed = sum(not r.facts for r in records) / len(records)
    assert abs(renamed - evidence.RENAMED) < 0.05
    against = 0
    for record in records:
        text = words(record.messages[0])
        sure = re.findall(r"^\w+: ([A-Z]) (\d+)", text, re.M)
        answer = record.messages[-1]["content"]
        named = {x for x, _ in sure}
        against += len(sure) == 3 and len(named) == 1 and named != {answer} and all(int(p) >= 80 for _, p in sure)
    calibrated = sum("Options:\n" in words(r.messages[0]) for r in records)
    assert 0.4 * evidence.ADVERSARIAL < against / calibrated < 2 * evidence.ADVERSARIAL


def test_misled_evidence_names_another_label_everywhere() -> None:
    item = known.brain(0)
    opinions, cases = evidence.misled(item.opinions, item.cases, known.BRAIN, random.Random(3))
    assert all(a.label != b.label for a, b in zip(opinions, item.opinions, strict=True))
    assert all(a.label != b.label for a, b in zip(cases, item.cases, strict=True))
    assert all(abs(sum(o.probabilities.values()) - 1) < 1e-9 for o in opinions)


def test_the_image_itself_is_no_similar_case() -> None:
    item = known.brain(1)
    assert any(c.id == item.sample.id for c in item.cases)
    _, cases = evidence.spoken_in(item, known.BRAIN)
    assert cases
    assert all(c.id != item.sample.id for c in cases)


def test_without_the_image_evidence_never_misleads(library: Library) -> None:
    for item, record in made(weighing, brains(), library, 10):
        assert not record.images
        assert not record.facts
        assert "Specialists:" in record.text() or "Similar" in record.text() or "similar cases" in record.text() \
            or "specialist models" in record.text()
        answer = options(record)[record.messages[-1]["content"]]
        assert answer == item.label or answer not in known.BRAIN


def test_imagined_evidence_is_about_no_image(library: Library) -> None:
    for _, record in made(imagined, brains(4), library, 10):
        assert record.dataset == "imagined"
        assert not record.images
        assert not record.facts
        assert record.messages[-1]["content"] in options(record)


def test_the_look_is_the_one_that_is_scored(library: Library) -> None:
    item = known.brain(2)
    (record,) = looking.make(item, library, random.Random(0))
    assert words(record.messages[-2]) == words(template.look([], item.kind)[-1])
    assert record.messages[-1]["content"] == template.looked(item.label, item.kind)


def test_refusals_name_no_finding_but_where_it_is_known(library: Library) -> None:
    stated = Counter[str]()
    for item, record in made(refusal, list(library.items), library, 6):
        answer = record.messages[-1]["content"]
        named = [x for x in item.labels if x in answer]
        if named and "disagree" not in answer and "differ" not in answer and "do not agree" not in answer:
            assert named == [item.label]
            assert f"diagnosis: {item.label}" in record.facts
        stated.update({f.partition(":")[0] for f in record.facts} or {"nothing"})
    assert stated["unanswerable"] > 100
    assert stated["diagnosis"]
    assert stated["kind"]


def test_what_another_kind_of_image_shows_is_asked_only_across_the_body(library: Library) -> None:
    assert refusal.family("lung histology") == refusal.family("blood smear") != refusal.family("brain MRI")
    assert refusal.family("a drawing") is None
    for item, record in made(refusal, list(library.items), library, 6):
        for name in library.names[item.kind]:
            if f"unanswerable: {name}" in record.facts:
                pytest.fail(f"{item.kind} shows {name}")


def test_specialists_that_disagree_unsurely_refer_to_a_human(library: Library) -> None:
    item = known.brain(0)
    unsure = tuple(known.opinion(o.specialist, known.BRAIN, x, 0.4)
                   for o, x in zip(item.opinions, ("glioma", "meningioma", "glioma"), strict=True))
    disputed = Item(**{**item.__dict__, "opinions": unsure})
    assert refusal.disputed(disputed)
    assert not refusal.disputed(item)
    answers = [r.messages[-1]["content"] for _, r in made(refusal, [disputed], library)]
    assert any("human" in a and "glioma" in a and "meningioma" in a for a in answers)


def test_talk_of_an_answer_says_only_what_was_said(library: Library) -> None:
    checked = 0
    for item, record in made(earlier_answer, brains(), library, 12):
        said = [words(m) for m in record.messages]
        first = next(i for i, m in enumerate(record.messages) if m["role"] == "assistant")
        for place in range(first + 2, len(said), 2):
            earlier = "\n".join(said[:place])
            figures = [f.removesuffix(" %") for f in re.findall(r"\d+ of \d+|\d+ %", said[place])]
            for told in (*figures, *re.findall(r"brain_mri_\w+", said[place])):
                assert told in earlier
                checked += 1
        assert f"Most likely {item.label}" in record.text()
        assert f"diagnosis: {item.label}" in record.facts
    assert checked > 100


def test_a_wrong_guess_is_corrected_and_a_right_one_confirmed() -> None:
    item = known.brain(0)
    told = earlier_answer.Told("glioma", known.BRAIN, evidence.gathered(item.opinions, item.cases, random.Random(0)))
    for seed in range(30):
        question, answer = earlier_answer._wrong(told, random.Random(seed))
        assert "glioma" not in question
        assert "most likely glioma" in answer.lower()
        assert re.match(r"No|I do not|I would not|Rather not|Not likely", answer) or "is less likely" in answer
        question, answer = earlier_answer._right(told, random.Random(seed))
        assert "glioma" in question
        assert re.match(r"Yes|That is right|Right", answer)


def test_the_evidence_stands_before_the_answer_or_in_it(library: Library) -> None:
    places = Counter("similar cases" in words(r.messages[1]) or "brain_mri" in words(r.messages[1])
                     for _, r in made(earlier_answer, brains(), library, 5))
    assert min(places.values()) > 10
