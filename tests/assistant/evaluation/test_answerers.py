"""Who answers: prompts as they are sent, calls in batches, faults kept to their question, stand-ins of known skill."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, InvalidToolCall

from assistant.assistant import Assistant
from assistant.errors import BadQuestion, ServerUnreachable
from assistant.evaluation import harness
from assistant.evaluation.answerers import GeneralistAlone, Whole, filled, stand_in
from assistant.evaluation.harness import Asked
from assistant.evaluation.wrapped import TextOnly
from assistant.generalist.scripted import ScriptedGeneralist
from specialists.core.study import read_study
from specialists.datasets.layout import read_set
from tests.assistant.evaluation.quiz import QUESTION, Quiz
from tests.assistant.stand_ins import install

TOOL = {"type": "function", "function": {"name": "stones_first", "description": "Which stone?",
                                         "parameters": {"type": "object", "properties": {}, "required": []}}}


@pytest.fixture
def asked(world) -> list[Asked]:
    return Quiz().questions(read_set(world.data / "stones_a", ["test"]), 0)


@pytest.fixture
def free(world) -> list[Asked]:
    return Quiz(free=True).questions(read_set(world.data / "stones_a", ["test"]), 0)


def test_options_are_scored_and_images_stand_in_their_place(asked):
    generalist = ScriptedGeneralist(scores={"B": 0.7, "A": 0.2, "C": 0.1})
    reply, = harness.ask(asked[:1], GeneralistAlone(generalist))
    assert reply.text == "B"
    assert math.exp(reply.scores["B"]) == pytest.approx(0.7)
    parts: Any = generalist.seen[0].messages[-1].content
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert generalist.seen[0].options == ("A", "B", "C")


def test_its_own_look_stands_in_the_prompt_where_it_was_validated_on_the_options(asked):
    class Seer(ScriptedGeneralist):
        @property
        def look_record(self):
            return dict.fromkeys(("alpha", "beta", "gamma"), 0.7)

    named = replace(asked[0], kind="stone", choices=("alpha", "beta", "gamma"), question="Which stone?")
    other = replace(named, choices=("one", "two", "three"))
    seer = Seer(scores={"B": 0.7, "A": 0.2, "C": 0.1})
    harness.ask([named, other], GeneralistAlone(seer))
    prompts = [seen.messages[-1].content[-1]["text"] for seen in seer.seen if seen.options == ("A", "B", "C")]
    assert [("own_look" in text, "Which stone?" in text) for text in prompts] == [(True, True), (False, False)]
    assert GeneralistAlone(seer).name() != GeneralistAlone(ScriptedGeneralist(scores={})).name()


def test_free_text_and_tools(free):
    called = AIMessage("", tool_calls=[{"name": "stones_first", "args": {}, "id": "1", "type": "tool_call"}],
                       invalid_tool_calls=[InvalidToolCall(type="invalid_tool_call", name=None, args="{oops", id="2",
                                                           error="bad")])
    generalist = ScriptedGeneralist(["alpha", called])
    replies = harness.ask([replace(free[0], tools=(TOOL,)), free[1]], GeneralistAlone(ScriptedGeneralist(
        [called, "alpha"])))
    assert replies[1].text == "alpha"
    assert replies[0].tool_calls == ({"name": "stones_first", "arguments": {}}, {"name": "", "arguments": "{oops"})
    harness.ask([free[0], replace(free[1], tools=(TOOL,))], GeneralistAlone(generalist))
    assert [seen.tools for seen in generalist.seen] == [(), ("stones_first",)]


def test_a_question_that_cannot_be_asked_leaves_the_others(free):
    def fussy(messages):
        if "too long" in messages[-1].text:
            raise BadQuestion("It is too long.")
        return "alpha"
    long = replace(free[1], messages=(*free[1].messages[:-1], {"role": "user", "content": "too long"}), images=())
    replies = harness.ask([free[0], long, free[2]], GeneralistAlone(ScriptedGeneralist([fussy] * 5)))
    assert [reply.text for reply in replies] == ["alpha", "", "alpha"]
    assert replies[1].error == "BadQuestion: It is too long."
    with pytest.raises(ServerUnreachable):
        harness.ask(free[:2], GeneralistAlone(ScriptedGeneralist([ServerUnreachable("gone")] * 2)))


def test_text_only_shows_no_image_and_has_a_name_of_its_own(asked):
    generalist = ScriptedGeneralist(scores={"A": 1.0})
    blind = GeneralistAlone(TextOnly(generalist))
    harness.ask(asked[:2], blind)
    assert all(len(seen.messages[-1].content) == 1 for seen in generalist.seen)
    assert blind.name() != GeneralistAlone(generalist).name()


def test_images_need_a_place_each(asked):
    study = read_study(asked[0].images[0])
    with pytest.raises(ValueError, match="1 of 2 images"):
        filled(asked[0].messages, [study, study])


def test_the_whole_consilium_is_asked_in_words_and_answers_in_letters(asked, free, tmp_path, monkeypatch):
    install(monkeypatch)
    generalist = ScriptedGeneralist(["alpha, I think"], scores={"A": 0.1, "B": 0.8, "C": 0.1})
    whole = Whole(Assistant(generalist=generalist, home=tmp_path), "none")
    choice, words = harness.ask([asked[0], free[0]], whole)
    assert choice.text in asked[0].options
    assert sum(map(math.exp, choice.scores.values())) == pytest.approx(1)
    assert QUESTION in generalist.seen[0].text
    assert words.text == "alpha, I think"
    tooled, = harness.ask([replace(free[0], tools=(TOOL,))], whole)
    assert "own tools" in tooled.error
    assert whole.name() != Whole(whole.assistant, "full").name()
    before = whole.name()
    monkeypatch.setattr("assistant.evaluation.answerers.index_of", lambda domain: "one case more")
    assert whole.name() != before


@pytest.mark.parametrize("free_words", [False, True])
def test_the_reviewers_test_for_a_task(world, free_words):
    """One that knows is right, one that guesses is at chance, one that copies has the share of the majority."""
    quiz = Quiz(free=free_words)
    samples = [s for s in read_set(world.data / "stones_a") if s.label != "gamma" or s.split == "test"]
    questions = quiz.questions(samples, 0)
    share = {}
    for name in ("random", "majority", "truth"):
        rows = harness.run(quiz, samples, stand_in(name, quiz, questions))
        share[name] = sum(bool(row.judged["right"]) for row in rows) / len(rows)
    counts = [sum(q.truth["label"] == label for q in questions) for label in ("alpha", "beta", "gamma")]
    chance = sum(n * n for n in counts) / len(questions) ** 2 if free_words else 1 / 3
    assert share["truth"] == 1
    assert share["majority"] == pytest.approx(max(counts) / len(questions))
    assert share["random"] == pytest.approx(chance, abs=0.15)
    with pytest.raises(ValueError, match="random, majority, truth"):
        stand_in("oracle", quiz, questions)
