"""What is said around a question changes nothing of what is asked, shown or answered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import pytest

from assistant.evaluation.tasks import dialogue as asked_in_turns
from assistant.evaluation.tasks import findings as asked_openly
from assistant.evaluation.tasks import vocabulary
from instruct_data import manners
from instruct_data.dialogue import opened, record, turns
from instruct_data.kinds import findings, image_analysis, imagined_tools, visual_grounding
from instruct_data.records import Record
from instruct_data.writers.templates import forms
from specialists.datasets.stated import MARKED
from tests.instruct_data import known


def asked(record: Record) -> str:
    content = next(m for m in record.messages if m["role"] == "user")["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


@pytest.fixture
def boxed() -> list[Record]:
    library = known.items()
    return [r for item in library.items for r in visual_grounding.make(item, library, random.Random(0))]


def varied(records: list[Record]) -> Iterator[tuple[Record, Record]]:
    for number, one in enumerate(records * 5):
        yield one, manners.around(one, random.Random(number))


def test_answers_images_and_boxes_stay(boxed: list[Record]) -> None:
    changed = 0
    for one, other in varied(boxed):
        assert (other.images, other.boxes, other.tools) == (one.images, one.boxes, one.tools)
        assert other.messages[0] == one.messages[0]
        assert other.messages[2:] == one.messages[2:]
        assert (other.id == one.id) == (asked(other) == asked(one))
        changed += other.id != one.id
    assert 0.3 < changed / (5 * len(boxed)) < 0.6


def test_the_question_itself_stands_in_what_is_said(boxed: list[Record]) -> None:
    for number, one in enumerate(boxed * 5):
        said = manners.spoken(asked(one), random.Random(number))
        assert asked(one).split("\n")[-1].rstrip("?.").lower() in said.lower()
        assert said.split("\n")[:-1] == asked(one).split("\n")[:-1]


def test_other_words_and_mistypes_leave_names_and_options_alone() -> None:
    asked, seen = "Options: more likely, similar\nPlease mark the skin lesion on this image.", set()
    for number in range(300):
        *lines, said = manners.other_words(asked, random.Random(number)).split("\n")
        assert lines == ["Options: more likely, similar"]
        assert " the skin lesion on " in said
        seen.add(said)
    assert {"Please mark the skin lesion on this image.", "Please frame the skin lesion on this scan."} <= seen
    plain = {a.format(b) for b in ("image", *manners.WORDS["image"])
             for a in ("Please mark the skin lesion on this {}.", "Please frame the skin lesion on this {}.",
                       "Please indicate the skin lesion on this {}.")}
    assert seen - plain
    assert {len(s.split()) for s in seen - plain} == {8}


def test_what_is_quoted_stays() -> None:
    said = 'Please write "kindly mark the largest image, please" here.'
    assert {manners.other_words(said, random.Random(n)).split('"')[1] for n in range(200)} == {said.split('"')[1]}


def test_no_plain_word_is_part_of_a_name() -> None:
    names = {word for label in (*vocabulary.ALIASES, *chain(*MARKED.values())) for word in label.split()}
    assert not names & manners.WORDS.keys()


def test_open_questions_are_many_and_none_is_that_of_an_evaluation() -> None:
    images = [i.lower() for i in forms(findings.IMAGE)]
    made = {q for image in images for q in forms(findings.QUESTIONS, image=image)}
    assert len(made) > 50000
    assert not made & {*asked_openly.QUESTIONS, *asked_in_turns.OVERALL}
    assert not {*forms(image_analysis.WHERE_IT)} & {*asked_in_turns.PLACE}


def test_what_serving_writes_and_options_stay_as_they_are() -> None:
    fixed = record("looking", None, turns(opened("What is the diagnosis?", images=0), "Glioma."))
    assert all(manners.around(fixed, random.Random(n)) is fixed for n in range(50))
    choice = "What is it?\nOptions:\nA benign\nB malignant\nAnswer with one letter."
    assert all(manners.spoken(choice, random.Random(n)) == choice for n in range(50))
    assert all("L7372" in manners.spoken("L7372: which age?", random.Random(n)) for n in range(50))


def test_imagined_tools_are_called_by_what_is_on_offer_and_asked() -> None:
    library, called, declined = known.items(), 0, 0
    for number in range(300):
        item = library.items[number % len(library.items)]
        made, = imagined_tools.make(item, library, random.Random(number))
        offered = {t["function"]["name"]: t["function"]["parameters"] for t in made.tools}
        calls = [c["function"] for m in made.messages for c in m.get("tool_calls") or ()]
        if not calls:
            declined += 1
            assert "tool" in str(made.messages[-1]["content"])
            continue
        called += 1
        call, = calls
        parameters = offered[call["name"]]
        assert set(call["arguments"]) == set(parameters["required"]) == set(parameters["properties"])
        for name, value in call["arguments"].items():
            assert str(value).lower() in asked(made).lower(), "arguments are read off the question"
            assert value in parameters["properties"][name].get("enum", [value])
        assert made.messages[-2]["role"] == "tool"
    assert called > 200
    assert declined > 30


def test_some_conversations_have_no_system_turn_and_what_serving_writes_keeps_it() -> None:
    library = known.items()
    made = [r for n in range(30) for item in library.items for r in findings.make(item, library, random.Random(n))]
    bare = [one for one in map(manners.unbriefed, made) if one.messages[0]["role"] != "system"]
    assert 0.08 < len(bare) / len(made) < 0.22
    assert all(one.messages[0]["role"] == "user" for one in bare)
    assert manners.unbriefed(made[0]) == manners.unbriefed(made[0])
    fixed = [replace(one, kind="evidence") for one in made]
    assert list(map(manners.unbriefed, fixed)) == fixed
