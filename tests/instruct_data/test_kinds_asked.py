"""Kinds that answer a plain question: presence, counts, kind of image, grades, people's questions, open ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assistant import template
from assistant.steps import Case, Evidence, Opinion
from instruct_data.items import Asked, Library
from instruct_data.kinds import counting, findings, grading, image_kind, presence, vqa
from instruct_data.kinds import facts as fact
from specialists.datasets.stated import Grade
from tests.instruct_data.described import (
    BARE,
    BRAIN,
    CELLS,
    CHEST,
    COLON,
    EYE,
    LIBRARY,
    Make,
    asked,
    assert_sound,
    facts,
    item,
    made,
    said,
)

LEVELS = ("KL0", "KL1", "KL2", "KL3", "KL4")
KNEE = item("knee", kind="knee X-ray", grade=Grade("Kellgren-Lawrence grade", 2, LEVELS), labels=LEVELS,
            present=("KL2",), label="KL2", attributes={"side": "left"})
ASKED = item("asked", asked=(
    Asked("Is/Are there edema in the patient's left lung?", "no", "PRES", True), Asked("What is the plane?", "axial"),
    Asked("Is there more than one nodule?", "Yes"), Asked("Is the lesion left or right?", "Left"),
    Asked("What is/are the opacities near/in the the lung?", "nodules."), Asked("Was contrast given?", " ")))


@pytest.mark.parametrize(("make", "of"), [
    (presence.make, COLON), (presence.make, BRAIN), (presence.make, CHEST), (presence.make, EYE),
    (counting.make, CELLS), (image_kind.make, CHEST), (image_kind.make, EYE), (grading.make, KNEE),
    (findings.make, BRAIN)])
def test_same_facts_in_other_words(make: Make, of: object) -> None:
    assert_sound(make, of)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [presence.make, counting.make, image_kind.make, grading.make, vqa.make, findings.make])
def test_of_an_unknown_image_nothing_is_said(make: Make) -> None:
    assert made(make, BARE) == []


def test_yes_and_no_agree_with_the_record() -> None:
    for seed in range(20):
        for record in made(presence.make, COLON, seed):
            told = record.facts[0]
            assert said(record)[0].startswith("Yes" if told.startswith("present") else "No")
            assert told in ("present: polyp", "absent: ulcer") or told.startswith("absent: ")


def test_another_label_is_denied_only_where_one_alone_can_hold() -> None:
    answers = {said(r)[0][:2] for seed in range(20) for r in made(presence.make, BRAIN, seed)
               if r.facts[0].startswith("diagnosis")}
    assert answers == {"Ye", "No"}
    several = replace(EYE, several=True)
    assert all(said(r)[0].startswith("Yes") for s in range(20) for r in made(presence.make, several, s)
               if r.facts[0].startswith("diagnosis"))


def test_other_parts_of_the_body_lack_what_only_this_one_shows() -> None:
    names = presence.elsewhere(BRAIN, LIBRARY)
    assert names == presence.elsewhere(BRAIN, LIBRARY)
    assert len(names) == 1
    assert names[0] in {"polyp", "ulcer", "red blood cell", "white blood cell", "platelet"} - {"ulcer", "polyp"}
    child = item("child", kind="paediatric chest X-ray")
    lungs = Library((CHEST, child))
    assert presence.elsewhere(child, lungs) == ()  # a child's chest has lungs, though nobody marked them
    assert presence.elsewhere(item("odd", kind="thing"), LIBRARY) == ()


def test_counts_are_the_records() -> None:
    records = made(counting.make, CELLS)
    assert facts(records) == {"count: red blood cell 8", "count: white blood cell 1", "count: platelet 0"}
    zero = next(r for r in records if r.facts == ("count: platelet 0",))
    assert "no platelets" in said(zero)[0]
    two = [said(r)[0] for s in range(20) for r in made(counting.make, CELLS, s)
           if set(r.facts) == {"count: red blood cell 8", "count: white blood cell 1"}]
    assert all("eight" in text and "one" in text for text in two)


def test_more_of_which_is_answered_by_the_counts() -> None:
    for seed in range(60):
        for record in made(counting.make, CELLS, seed):
            if asked(record)[0].split("\n")[-1].startswith("Do red blood cells outnumber white"):
                assert said(record)[0].startswith("Yes")
            if asked(record)[0].split("\n")[-1].startswith("Do white blood cells outnumber red"):
                assert said(record)[0].startswith("No")


def test_a_letter_names_the_kind() -> None:
    letters = 0
    for seed in range(30):
        record = next(r for r in made(image_kind.make, CHEST, seed) if r.facts == ("kind: chest X-ray",))
        answer = said(record)[0]
        if len(answer) == 1:
            letters += 1
            assert f"{answer} chest X-ray" in asked(record)[0].split("\n")
            assert "paediatric chest X-ray" not in asked(record)[0]  # it would be right as well
        else:
            assert "chest X-ray" in answer
    assert 5 < letters < 25


def test_attributes_are_the_records() -> None:
    assert facts(made(image_kind.make, CHEST)) == {"kind: chest X-ray", "view: PA"}
    odd = item("odd", attributes={"gain": "high"})
    assert said(made(image_kind.make, odd)[0])[0] == "The gain is high."


def test_a_grade_as_word_letter_and_threshold() -> None:
    for seed in range(20):
        word, letter, least = made(grading.make, KNEE, seed)
        assert "KL2" in said(word)[0]
        assert said(letter)[0] == "C"
        level = next(x for x in LEVELS if x in asked(least)[0])
        assert said(least)[0].startswith("Yes" if level <= "KL2" else "No")
        assert word.facts == ("grade: Kellgren-Lawrence grade KL2",)


def test_a_fact_of_no_grade_is_an_error() -> None:
    with pytest.raises(ValueError, match="no grade"):
        fact.grade(COLON)


def test_peoples_answers_keep_their_words() -> None:
    records = made(vqa.make, ASKED)
    assert len(records) == 5  # the empty answer is left out
    answers = [{said(made(vqa.make, ASKED, seed)[place])[0] for seed in range(20)} for place in range(5)]
    assert answers == [{"No.", "No, there is no edema in the patient's left lung."}, {"Axial."}, {"Yes."}, {"Left."},
                       {"Nodules."}]
    assert records[0].facts == ("asked: Is/Are there edema in the patient's left lung?",)


@pytest.mark.parametrize(("question", "tidied"), [
    ("Is/Are there edema?", "Is there edema?"), ("Is/Are the ribs broken?", "Are the ribs broken?"),
    ("What is/are the opacities near/in the the lung?", "What are the opacities in the lung?"),
    ("How would you describe the R heart??", "How would you describe the R heart?"),
    ("Is/Are the lesion wedge-shaped? -yes/no", "Is the lesion wedge-shaped?"),
    ("is this an axial plane", "Is this an axial plane?")])
def test_questions_lose_their_slots(question: str, tidied: str) -> None:
    assert vqa.tidy(question) == tidied


def test_open_answers_have_the_words_that_serving_reads() -> None:
    opinions = tuple(Opinion(f"brain_{m}", label, {"glioma": 0.6, "meningioma": 0.4}, {})
                     for m, label in (("a", "glioma"), ("b", "meningioma")))
    cases = tuple(Case(f"c{i}", "glioma", 0.9, "drawn") for i in range(3))
    text = findings.spoken(BRAIN, opinions, cases)
    assert text == ("This is a brain MRI image. Most likely glioma. 1 of 2 specialists say the same. 3 of 3 similar "
                    "cases carry this label.")
    assert text.startswith(template.looked("glioma", "brain MRI"))
    own = template.backed(template.own_words(text, heard=True), "brain MRI", ["glioma", "meningioma"], "What is it?")
    assert f"{own} {template.sentence('glioma', None, Evidence(moed=opinions, rad=cases), '')}" == text
    assert len(made(findings.make, replace(BRAIN, opinions=opinions, cases=cases), 3)) == 2


def test_what_no_specialist_could_tell_is_not_guessed_from_the_image_alone() -> None:
    wrong = tuple(Opinion(f"net_{n}", "no tumour", {"no tumour": 0.9, BRAIN.label: 0.1}, {}) for n in range(3))
    alone, beside = made(findings.make, replace(BRAIN, opinions=wrong), 3)
    assert alone.messages[-1]["content"] == "This is a brain MRI image. I cannot tell more from it."
    assert alone.facts == ("kind: brain MRI",)
    assert f"Most likely {BRAIN.label}." in beside.messages[-1]["content"]
    one_right = (*wrong[:2], Opinion("net_2", BRAIN.label, {BRAIN.label: 0.9, "no tumour": 0.1}, {}))
    alone, _ = made(findings.make, replace(BRAIN, opinions=one_right), 3)
    assert f"Most likely {BRAIN.label}." in alone.messages[-1]["content"]


def test_without_a_diagnosis_the_open_answer_says_what_is_marked() -> None:
    text = findings.spoken(COLON, (), ())
    assert text == "This is a colonoscopy image. It shows a polyp. I cannot tell more from it."
    two = replace(EYE, labels=("drusen", "glaucoma"), present=("glaucoma", "drusen"), several=True)
    assert findings.spoken(two, (), ()) == "This is a fundus photograph image. Most likely glaucoma. Also drusen."
