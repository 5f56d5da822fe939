"""Rendering is pure: steps in, messages and HTML out, nothing foreign becomes markup."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from assistant.steps import (
    Answer,
    Case,
    Declined,
    Evidence,
    Observation,
    Opinion,
    Pool,
    SimilarText,
    Step,
    TextDelta,
    ToolCall,
    Triaged,
)
from specialists.core.study import read_study
from tests.ui import double
from ui import panel, render
from ui.planes import View

HOSTILE = "<img src=x onerror=alert(1)> ![a](http://evil/x.png) [b](javascript:c) ${d} http://evil www.evil me@evil"


def study():
    return read_study(np.full((40, 60, 3), 0.5, dtype=np.float32))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("**bold**", "&#42;&#42;bold&#42;&#42;"),
        ("1. one\n# two\n- three", "1&#46; one\n&#35; two\n&#45; three"),
        ("T1-weighted, 3.5 mm (axial)", "T1-weighted, 3.5 mm (axial)"),
    ],
)
def test_plain_text_is_shown_letter_by_letter(text, shown):
    assert render.plain(text) == shown


def test_prose_keeps_emphasis_but_no_markup_link_or_image():
    assert render.prose("**sure** and *not*") == "**sure** and *not*"
    inert = render.prose(HOSTILE)
    assert not {"<", "[", "![", "http://", "www.", "me@"} & {
        part for part in ("<", "[", "![", "http://", "www.", "me@") if part in inert
    }


@pytest.mark.parametrize(
    ("value", "word", "shown"),
    [
        (1.0, "high", "100 %"),
        (0.998, "high", "> 99 %"),
        (0.9, "high", "90 %"),
        (0.7, "moderate", "70 %"),
        (0.5, "low", "50 %"),
        (0.2, "very low", "20 %"),
        (0.001, "very low", "< 1 %"),
        (0.0, "very low", "0 %"),
    ],
)
def test_confidence_is_a_word_and_a_number(value, word, shown):
    assert render.confidence_word(value) == word
    assert render.percent(value) == shown


def test_the_panel_shows_every_part_of_the_evidence():
    answer = double.answer(study())
    steps: list[render.Timed] = [
        (0.1, Triaged("breast ultrasound", 0.98, "breast_ultrasound", ("a",))),
        (1.2, answer),
    ]
    html = panel.panel(steps, answer)
    for expected in (
        "Refer to a human reader",
        "low confidence, 64 %",
        "breast ultrasound residual",
        "dissents",
        "agrees",
        "2 of 3 specialists agree",
        "F1 0.81 on malignant, mean 0.85",
        "Arbiter",
        "Generalist",
        "BreastMNIST",
        "CC BY 4.0",
        "4 × malignant, 2 × benign",
        "not a paediatric chest X-ray",
        "t-0123456789",
        "1.27 s",
        "generalist and the pool of the evidence disagree",
        "breast lesion unet: lesion at",
    ):
        assert expected in html, expected


def test_the_panel_is_empty_before_any_evidence_and_early_with_evidence():
    assert panel.panel([]) == ""
    assert panel.panel([(0.0, ToolCall("1", "x"))]) == ""
    early = panel.panel([(0.3, double.evidence())])
    assert "breast ultrasound small cnn" in early
    assert "agrees" not in early


def test_an_open_question_has_no_verdict_and_no_stand():
    html = panel.panel([], double.answer(study(), label=None, confidence=None, refer=False, options={}))
    assert "cs-verdict" not in html
    assert "cs-tag" not in html
    assert "cs-refer" not in html


def test_no_similar_case_and_no_opinion_are_said():
    html = panel.panel(
        [(0.1, Triaged("head CT", 0.9, None, ()))],
        Answer("text", None, None, False, evidence=Evidence(no_similar_case=True)),
    )
    assert "No labelled case is similar enough" in html
    assert "No specialist gave an opinion" in html
    assert "No specialist answers for this kind" in html


def test_similar_texts_are_shown_with_source_and_license_or_said_to_be_none():
    pair = SimilarText("q1", "Is there <b>fluid</b>?", "No.", 0.81, "drawn", "CC0")
    report = SimilarText("r1", "", "Clear lungs.", 0.5, "other")
    html = panel.panel([], double.answer(study(), evidence=Evidence(texts=(pair, report))))
    assert "Similar texts" in html
    assert "Is there &lt;b&gt;fluid&lt;/b&gt;? No." in html
    assert "<td>0.81</td><td>drawn</td><td>CC0</td>" in html
    assert "<td>other</td><td>not stated</td>" in html
    assert "2 similar texts" in render.line(Evidence(texts=(pair, report)))
    none = panel.panel([], double.answer(study(), evidence=Evidence(no_similar_text=True)))
    assert "No report or answered question is similar enough" in none
    assert "Similar texts" not in panel.panel([], double.answer(study()))


def test_foreign_words_are_escaped_everywhere():
    told = Opinion(HOSTILE, HOSTILE, {HOSTILE: 0.9, "b": 0.1}, {HOSTILE: 0.5, "macro": 0.4})
    evidence = Evidence(
        (told,),
        (Case(HOSTILE + '"', HOSTILE, 0.9, HOSTILE, HOSTILE),),
        Pool(HOSTILE, {HOSTILE: 1.0}),
        (Declined(HOSTILE, HOSTILE),),
    )
    answer = Answer(HOSTILE, HOSTILE, 0.9, True, HOSTILE, HOSTILE, {HOSTILE: 1.0}, evidence=evidence, trace_id=HOSTILE)
    steps: list[Step] = [
        Triaged(HOSTILE, 0.5, None, ()),
        ToolCall("1", HOSTILE),
        Observation("1", HOSTILE, HOSTILE),
        evidence,
        answer,
    ]
    timed = [(0.1, step) for step in steps]
    outputs = [
        panel.panel(timed, answer),
        render.answer_message("", answer)["content"],
        render.consultation_message(timed, waiting=True)["content"],
        render.error_message(ValueError(HOSTILE))["content"],
        render.question_message(HOSTILE, [HOSTILE], [HOSTILE])["content"],
        render.note_message(HOSTILE)["content"],
        render.image_message(HOSTILE)["content"],
        render.status_line(HOSTILE),
    ]
    for output in outputs:
        assert "<img" not in output
        assert '"">' not in output
    assert "![a]" not in outputs[1]


def test_many_labels_are_folded():
    probabilities = {f"label {i}": 1 / 16 for i in range(16)}
    html = panel.panel(
        [], Answer("t", None, None, False, evidence=Evidence((Opinion("s", "label 0", probabilities, {}),)))
    )
    assert "11 more labels" in html
    assert "not validated" in html


def test_the_consultation_tells_its_steps_in_order():
    steps: list[render.Timed] = [
        (0.1, Triaged("breast ultrasound", 0.98, "breast_ultrasound", ("a", "b"))),
        (0.2, ToolCall("1", "a_b")),
        (0.3, Observation("1", "a_b", "a_b: benign 90 %")),
        (0.3, Observation("2", "c", "", error="no tool named c")),
        (0.4, TextDelta("x")),
    ]
    message = render.consultation_message(steps, waiting=True)
    assert message["metadata"] == {"title": "Consulting", "status": "pending", "log": "0.4 s"}
    assert message["content"].splitlines() == [
        "- Kind of image: breast ultrasound (98 %); 2 specialists in scope",
        "- The generalist asks a b",
        "- a b: benign 90 %",
        "- c: no tool named c",
    ]
    assert render.consultation_message(steps[:1], waiting=False)["metadata"]["title"] == "Consulted: 1 step"


def test_the_study_is_described_without_guesses():
    plain = study()
    assert "pixel size unknown" in render.study_line(plain, View())
    volume = dataclasses.replace(
        plain,
        pixels=np.zeros((5, 40, 60, 1), np.float32),
        volume=True,
        format="nifti",
        spacing_mm=(5.0, 1.0, 0.5),
        window=(40.0, 80.0),
    )
    line = render.study_line(volume, View())
    for expected in ("NIfTI", "60 × 40 pixels", "slice 3 of 5", "1 × 0.5 mm", "window center 40, width 80"):
        assert expected in line


def test_the_reason_to_refer_stands_once_in_a_message():
    reason = "the confidence of 47 % is under 50 %"
    text = f"Most likely glioma (47 %). Refer to a human: {reason}."
    html = render.answer_message("", double.answer(study(), text=text, refer=True, refer_reason=reason))["content"]
    assert html.count("is under 50 %") == 1
    assert "Refer to a human:" not in html
    assert "Most likely glioma (47 %)." in html
