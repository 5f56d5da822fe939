"""Findings that are no opinion on their way to the answer: counts, things apart, volumes, grades with a range."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assistant.assistant import Assistant
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.steps import Observation
from specialists.core.findings import Box, Boxes, Finding, Instances, Score, Volumes
from tests.assistant.stand_ins import Zoo, card, install, picture

NUCLEI = np.zeros((32, 32), np.int32)
NUCLEI[2:8, 2:8], NUCLEI[2:8, 8:14] = 1, 2
BODY = np.zeros((1, 32, 32), bool)
BODY[0, 4:12, 8:16] = True
FOUND: dict[str, tuple[Finding, str]] = {
    "detection": (Boxes("tool", (Box("platelet", (1, 2, 5, 6), 0.9),), ("platelet", "white blood cell")),
                  "tool: 1 platelet, no white blood cells; platelet at [1, 2, 5, 6] (pixels), 90 %"),
    "instances": (Instances("tool", "nuclei", NUCLEI), "tool: 2 nuclei, median area 36 px, size in mm unknown"),
    "volumetry": (Volumes("tool", {"front": BODY}, (2.0, 1.0, 1.0), ("back",)),
                  "tool: front 128 mm³; most of it on frame 1 of 1; not found: back"),
    "grading": (Score("tool", "Kellgren-Lawrence grade", 2.4, 0, 4, (1.3, 3.5), "mild"),
                "tool: Kellgren-Lawrence grade 2.4 of 4, between 2 and 3 (mild)"),
}


@pytest.fixture
def zoo(monkeypatch) -> Zoo:
    found = install(monkeypatch)
    found.kind = "smear"
    return found


def asked(zoo: Zoo, task: str, home, generalist: ScriptedGeneralist | None = None):
    """Return the steps of a question that the one tool of a kind of image answers."""
    zoo.cards["tool"] = card("tool", kinds=("smear",), labels=("thing",), task=task, domain="tool")
    zoo.answers["tool"] = FOUND[task][0]
    one = Assistant(generalist=generalist or ScriptedGeneralist(["Seen."]), home=home)
    return list(one.stream(picture(), "What is there?", collaboration="full"))


@pytest.mark.parametrize("task", FOUND)
def test_the_generalist_reads_its_words_and_the_answer_holds_it(task, zoo, tmp_path):
    steps = asked(zoo, task, tmp_path)
    finding, words = FOUND[task]
    assert next(s.text for s in steps if isinstance(s, Observation)) == words
    answer = steps[-1]
    assert answer.findings == (finding,)
    said = json.loads(json.dumps(answer.json()))
    assert said["findings"][0] == json.loads(json.dumps(finding.json()))
    assert [m["label"] for m in said["masks"]] == {"instances": ["nuclei"], "volumetry": ["front"]}.get(task, [])


@pytest.mark.parametrize(("task", "boxes"), [
    ("detection", [("platelet", (1, 2, 5, 6))]), ("volumetry", [("front", (8, 4, 16, 12))]), ("instances", []),
    ("grading", [])])
def test_boxes_of_detectors_and_volumes_stand_in_the_answer(task, boxes, zoo, tmp_path):
    answer = asked(zoo, task, tmp_path)[-1]
    assert [(box.label, box.xyxy) for box in answer.boxes] == boxes


def test_what_was_counted_is_told_where_the_generalist_was_taught_nothing(zoo, tmp_path):
    class Untaught(ScriptedGeneralist):
        @property
        def taught_kinds(self):
            return ("brain MRI",)

    answer = asked(zoo, "detection", tmp_path, Untaught())[-1]
    assert "tool: 1 platelet, no white blood cells" in answer.text
    assert answer.refer
