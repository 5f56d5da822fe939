"""Tests of the whole way of a question, with a scripted generalist and a small zoo."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from langchain_core.messages import AIMessage

from assistant.assistant import Assistant
from assistant.consultation import GUESSED
from assistant.errors import (
    BadQuestion,
    BadReply,
    ConversationNotFound,
    ReplayDiffers,
    ToolsUnsupported,
    TraceNotFound,
)
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.settings import LIMITS
from assistant.steps import Answer, Evidence, Observation, Question, TextDelta, ToolCall, Triaged
from specialists.core.errors import BadStudy, MissingWeights
from specialists.core.findings import Refusal
from tests.assistant.stand_ins import BRAIN, Zoo, install, picture, said

QUESTION = "Which disease does the image show?"


@pytest.fixture
def zoo(monkeypatch) -> Zoo:
    return install(monkeypatch)


def favors(*wanted: str, share: float = 0.9):
    """Return scores that favor an option whatever its letter, the nth of `wanted` in the nth call, the last ever on."""
    queue = list(wanted)

    def scores(messages, letters):
        option = queue.pop(0) if len(queue) > 1 else queue[0]
        text = messages[-1].text
        letter = next(x for x in letters if f"{x} {option}" in text)
        return {x: share if x == letter else (1 - share) / (len(letters) - 1) for x in letters}

    return scores


def asks(*names: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"id": f"c-{name}", "name": name, "args": {}, "type": "tool_call"}
                                     for name in names])


def consilium(tmp_path, replies=(), scores=None, **kwargs) -> Assistant:
    return Assistant(generalist=ScriptedGeneralist(list(replies), scores), home=tmp_path, **kwargs)


def names_of(steps):
    found = []
    for step in steps:
        if type(step) not in found[-1:]:
            found.append(type(step))
    return found


# 1) options


def test_none_is_the_image_alone(tmp_path, zoo):
    one = consilium(tmp_path, scores=favors("glioma"))
    steps = list(one.stream(picture(), QUESTION, options=BRAIN, collaboration="none"))
    assert names_of(steps) == [Question, Triaged, Evidence, TextDelta, Answer]
    answer = steps[-1]
    assert answer.label == "glioma"
    assert answer.confidence == pytest.approx(0.9)
    assert answer.options == pytest.approx({"glioma": 0.9} | dict.fromkeys(BRAIN[1:], 0.1 / 3))
    assert answer.evidence == Evidence()
    assert not answer.refer
    assert answer.kind == "brain MRI"
    assert zoo.asked == []
    assert len(one.generalist.seen) == 1
    assert "".join(s.text for s in steps if isinstance(s, TextDelta)) == answer.text
    assert one.records.trace(answer.trace_id)["answer"] == answer.json()


@pytest.mark.parametrize("style", ["calibrated", "published"])
def test_full_asks_everybody_and_decides_with_the_evidence(tmp_path, zoo, style):
    one = consilium(tmp_path, scores=favors("meningioma", "glioma", share=0.6))
    steps = list(one.stream(picture(), QUESTION, options=BRAIN, collaboration="full", style=style,
                            patient="p1"))
    assert names_of(steps) == [Question, Triaged, *[ToolCall, Observation] * 4, Evidence, TextDelta, Answer]
    answer = steps[-1]
    assert [o.specialist for o in answer.evidence.moed] == [n for n in zoo.cards if n.startswith("brain")]
    assert len(answer.evidence.rad) == 5
    assert zoo.retrieved == [("brain_mri", 10, "p1")]
    alone, decided, *turned = one.generalist.seen
    assert len(turned) == (style == "calibrated")
    assert decided.text not in [seen.text for seen in turned]
    assert ("specialist models are" in decided.text) is (style == "published")
    assert "brain_mri_hybrid" in decided.text or style == "published"
    assert "pecialist" not in alone.text
    assert answer.label == "glioma"
    assert answer.evidence.arbiter.label == "glioma"
    assert answer.evidence.conflict  # the image alone clearly said meningioma
    assert answer.confidence < 0.6
    assert [f.specialist for f in answer.findings] == [o.specialist for o in answer.evidence.moed]


def test_the_arbiter_never_decides(tmp_path, zoo):
    answer = consilium(tmp_path, scores=favors("meningioma")).ask(picture(), QUESTION, options=BRAIN,
                                                                  collaboration="full")
    assert answer.label == "meningioma"
    assert answer.evidence.conflict


def test_auto_lets_the_generalist_choose(tmp_path, zoo):
    replies = [asks("brain_mri_residual", "similar_cases"), "Glioma, I think."]
    one = consilium(tmp_path, replies, favors("glioma"))
    steps = list(one.stream(picture(), QUESTION, options=BRAIN))
    answer = steps[-1]
    assert zoo.asked == ["brain_mri_residual"]
    assert [o.specialist for o in answer.evidence.moed] == ["brain_mri_residual"]
    assert len(answer.evidence.rad) == 5
    assert "I think" not in answer.text  # the decision is a letter; the loop's own words are not the answer
    trace = one.records.trace(answer.trace_id)
    assert [call["name"] for call in trace["tools"]] == ["brain_mri_residual", "similar_cases"]
    assert [p["purpose"] for p in trace["prompts"]] == ["call", "call", "alone", "decision", "decision"]
    first, second = (list(p["options"]) for p in trace["prompts"][-2:])
    assert first == second[::-1], "the two options left open, under each letter once"


def test_auto_without_calls_has_no_evidence(tmp_path, zoo):
    one = consilium(tmp_path, ["It looks fine."], favors("no tumour"))
    answer = one.ask(picture(), QUESTION, options=BRAIN)
    assert answer.evidence == Evidence()
    assert answer.label == "no tumour"
    assert len(one.generalist.seen) == 2


def test_options_are_matched_and_their_order_does_not_depend_on_the_caller(tmp_path, zoo):
    options = ["Pituitary tumor", "Meningioma", "GLIOMA"]
    one = consilium(tmp_path, scores=favors("GLIOMA"))
    answer = one.ask(picture(), QUESTION, options=options, collaboration="full")
    again = one.ask(picture(), QUESTION, options=options[::-1], collaboration="full")
    assert answer.evidence.moed[0].label == "GLIOMA"
    assert sum(answer.evidence.moed[0].probabilities.values()) == pytest.approx(1)
    assert list(answer.options) == options
    texts, half = [seen.text for seen in one.generalist.seen], len(one.generalist.seen) // 2
    assert texts[:half] == texts[half:]
    assert answer.options == again.options


def test_options_no_specialist_knows(tmp_path, zoo):
    one = consilium(tmp_path, scores=favors("yes"))
    answer = one.ask(picture(), "Is it an abscess?", options=["yes", "no"], collaboration="full")
    assert answer.evidence.moed == ()
    assert answer.evidence.rad == ()
    assert len(answer.evidence.refusals) == 4
    assert answer.evidence.arbiter is None
    assert answer.label == "yes"


@pytest.mark.parametrize("collaboration", ["none", "full"])
def test_a_small_generalist_that_nobody_helps_does_not_guess_letters(tmp_path, zoo, collaboration):
    class Taught(ScriptedGeneralist):
        @property
        def look_record(self):
            return {"glioma": 0.8}
    generalist = Taught([], favors("yes"))
    answer = Assistant(generalist=generalist, home=tmp_path).ask(
        picture(), "Is it an abscess?", options=["yes", "no"], collaboration=collaboration)
    assert (answer.confidence, answer.refer, answer.refer_reason) == (None, True, GUESSED)
    assert len(generalist.seen) == 1, "nothing was heard, so that nothing is decided again"
    large = consilium(tmp_path, scores=favors("yes")).ask(picture(), "Is it an abscess?", options=["yes", "no"],
                                                          collaboration=collaboration)
    assert large.confidence == pytest.approx(0.9)


def test_without_leaves_out(tmp_path, zoo):
    one = consilium(tmp_path, scores=favors("glioma"))
    answer = one.ask(picture(), QUESTION, options=BRAIN, collaboration="full",
                     without=["brain_mri_hybrid", "similar_cases"])
    assert len(answer.evidence.moed) == 2
    assert answer.evidence.rad == ()
    assert zoo.retrieved == []
    with pytest.raises(BadQuestion, match="brain_mri_hybrid, .*similar_cases"):
        one.ask(picture(), QUESTION, without=["oracle"])


def test_refusals_and_failures_are_told(tmp_path, zoo):
    zoo.answers["brain_mri_hybrid"] = Refusal("brain_mri_hybrid", "too far")
    zoo.answers["brain_mri_residual"] = OSError("disk")
    answer = consilium(tmp_path, scores=favors("glioma")).ask(picture(), QUESTION, options=BRAIN,
                                                              collaboration="full")
    assert [r.specialist for r in answer.evidence.refusals] == ["brain_mri_hybrid", "brain_mri_residual"]
    assert [f.specialist for f in answer.findings] == ["brain_mri_small_cnn"]


def test_no_similar_case(tmp_path, zoo):
    zoo.neighbors = []
    one = consilium(tmp_path, scores=favors("glioma"))
    answer = one.ask(picture(), QUESTION, options=BRAIN, collaboration="full")
    assert answer.evidence.no_similar_case
    assert "No similar case is known." in answer.text


def test_an_unsure_answer_refers(tmp_path, zoo):
    answer = consilium(tmp_path, scores=favors("glioma", share=0.3)).ask(picture(), QUESTION, options=BRAIN,
                                                                         collaboration="none")
    assert answer.refer
    assert "under" in answer.refer_reason
    assert f"Refer to a human: {answer.refer_reason}." in answer.text


def test_a_conflict_in_which_nobody_is_sure_refers(tmp_path, zoo):
    for name in list(zoo.answers)[:3]:
        zoo.answers[name] = said(name, 0.3, 0.24, 0.23, 0.23)
    zoo.neighbors = []
    answer = consilium(tmp_path, scores=favors("meningioma", share=0.7)).ask(
        picture(), QUESTION, options=BRAIN[:2], collaboration="full")
    assert answer.evidence.conflict
    assert answer.refer
    assert "disagree" in answer.refer_reason


@pytest.mark.parametrize(("kind", "reason"), [("unknown", "unknown"), ("chest CT", "chest CT")])
def test_an_image_nobody_is_made_for(tmp_path, zoo, kind, reason):
    zoo.kind = kind
    one = consilium(tmp_path, ["A chest."], favors("glioma"))
    answer = one.ask(picture(), QUESTION, options=BRAIN, collaboration="full")
    assert {r.specialist for r in answer.evidence.refusals} == set(zoo.cards) - {"triage"}
    assert answer.refer
    assert reason in answer.refer_reason
    assert answer.kind == kind
    assert zoo.asked == []
    assert one.ask(picture(), "What is it?").refer
    assert one.generalist.seen[-1].tools == ()


def test_without_triage_every_kind_is_unknown(tmp_path, zoo, monkeypatch):
    def missing():
        raise MissingWeights("no triage")

    monkeypatch.setattr("specialists.core.registry.triage", missing)
    answer = consilium(tmp_path, scores=favors("glioma")).ask(picture(), QUESTION, options=BRAIN,
                                                              collaboration="full")
    assert answer.kind == "unknown"
    assert answer.evidence.refusals[0].reason == "no triage"


def test_scores_that_are_none_are_a_bad_reply(tmp_path, zoo, monkeypatch):
    one = consilium(tmp_path)
    monkeypatch.setattr(ScriptedGeneralist, "score", lambda self, messages, given: dict.fromkeys(given, -1e9))
    with pytest.raises(BadReply, match="log-probabilities"):
        one.ask(picture(), QUESTION, options=BRAIN, collaboration="none")


# 2) open questions


def test_open_question_alone(tmp_path, zoo):
    one = consilium(tmp_path, ["A brain with a mass."])
    steps = list(one.stream(picture(), "What?", collaboration="none"))
    assert names_of(steps) == [Question, Triaged, Evidence, TextDelta, Answer]
    assert steps[-1].text == "A brain with a mass."
    assert steps[-1].label is None
    assert steps[-1].confidence is None
    assert steps[-1].options == {}


def test_open_question_with_all_evidence(tmp_path, zoo):
    one = consilium(tmp_path, ["A glioma."])
    steps = list(one.stream(picture(), "What?", collaboration="full"))
    assert names_of(steps) == [Question, Triaged, *[ToolCall, Observation] * 4, Evidence, TextDelta, Answer]
    assert "brain_mri_hybrid: glioma 70" in one.generalist.seen[0].text
    assert steps[-1].evidence.moed[0].label == "glioma"
    assert steps[-1].evidence.arbiter is None


def test_open_question_with_tools(tmp_path, zoo):
    first = asks("brain_mri_hybrid")
    first.content = "Let me ask."
    steps = list(consilium(tmp_path, [first, "A glioma."]).stream(picture(), "What?"))
    answer = steps[-1]
    assert answer.text == "Let me ask.\n\nA glioma."
    assert answer.text == "".join(s.text for s in steps if isinstance(s, TextDelta))
    assert answer.evidence.moed[0].specialist == "brain_mri_hybrid"
    assert [s for s in steps if isinstance(s, Evidence)][-1] == answer.evidence


def test_an_empty_reply_is_said_plainly(tmp_path, zoo):
    answer = consilium(tmp_path, ["  "]).ask(picture(), "What?", collaboration="none")
    assert answer.text.strip() == "I cannot tell."


def test_boxes_of_the_text_and_of_masks(tmp_path, zoo):
    zoo.kind = "breast ultrasound"
    reply = '[{"bbox_2d": [0, 0, 500, 500], "label": "mass"}]'
    answer = consilium(tmp_path, [reply]).ask(picture(), "Where?", collaboration="full")
    assert [(b.label, b.xyxy) for b in answer.boxes] == [("mass", (0, 0, 16, 16)), ("lesion", (8, 4, 16, 12))]
    assert answer.json()["masks"][0]["label"] == "lesion"


def test_a_generalist_without_tools_gets_all_evidence(tmp_path, zoo):
    one = consilium(tmp_path, [ToolsUnsupported("No tools here."), "A glioma."], favors("glioma"))
    answer = one.ask(picture(), "What?")
    assert answer.text == "A glioma."
    assert answer.evidence.refusals[0].specialist == "generalist"
    assert len(answer.evidence.moed) == 3


def test_several_images(tmp_path, zoo):
    one = consilium(tmp_path, scores=favors("glioma"))
    answer = one.ask([picture(1), picture(2)], QUESTION, options=BRAIN, collaboration="full")
    assert "first image only" in answer.text
    assert sum(part["type"] == "image_url" for part in one.generalist.seen[0].messages[-1].content) == 2


# 3) what is refused


@pytest.mark.parametrize(("images", "question", "how", "match"), [
    ("P", " ", {}, "empty"), ([], "What?", {}, "no image"), (None, "What?", {}, "no image"),
    ("P", "What?", {"options": ["a"]}, "Got 1 option;"), ("P", "What?", {"options": []}, "Got 0 options"),
    ("P", "What?", {"options": ["a", "A"]}, "more than once"),
    ("P", "What?", {"options": ["\u00e9", "e\u0301"]}, "more than once"),
    ("P", "What?", {"options": ["b", "b "]}, "more than once"), ("P", "What?", {"options": "a,b"}, "one text"),
    ("P", "What?", {"options": [f"o{i}" for i in range(27)]}, "27"),
    ("P", "What?", {"options": ["a", " "]}, "empty"),
    ("P", "What?", {"collaboration": "some"}, "auto, full, none"),
    ("P", "What?", {"style": "x"}, "published"),
    ("P", "?" * 20_001, {}, "characters"), (["P"] * 17, "What?", {}, "17 images"),
    ("P", "What?", {"patient": 12}, "patient is of type int"), ("P", "What?", {"patient": b"x"}, "type bytes"),
    ("P", "What?", {"kind": 5}, "kind of image is of type int"), ("P", "What?", {"kind": " "}, "a few words"),
])
def test_bad_questions(tmp_path, zoo, images, question, how, match):
    one = consilium(tmp_path)
    real = picture() if images == "P" else [picture()] * len(images) if images else images
    with pytest.raises(BadQuestion, match=match):
        one.ask(real, question, **how)
    assert one.generalist.seen == []


def test_bad_images_pass_through(tmp_path, zoo):
    with pytest.raises(BadStudy):
        consilium(tmp_path).stream(b"", "What?")


# 4) traces, replay, conversations


@pytest.mark.parametrize(("patient", "asked"), [(" p7\n", "p7"), ("p7", "p7"), (" ", None), (None, None)])
def test_blanks_around_a_patient_do_not_let_its_own_cases_in(tmp_path, zoo, patient, asked):
    one = consilium(tmp_path, scores=favors("glioma"))
    answer = one.ask(picture(), QUESTION, options=BRAIN, collaboration="full", patient=patient)
    assert {who for _, _, who in zoo.retrieved} == {asked}
    kept = one.records.trace(answer.trace_id)["question"]["patient_sha256"]
    assert kept == (asked and hashlib.sha256(asked.encode()).hexdigest())


def test_replay_gives_the_same_answer(tmp_path, zoo):
    one = consilium(tmp_path, [asks("brain_mri_hybrid"), "Well."], favors("glioma"))
    answer = one.ask([picture(1), picture(2)], QUESTION, options=BRAIN, patient="p7")
    again = consilium(tmp_path, [asks("brain_mri_hybrid"), "Well."], favors("glioma")).replay(answer.trace_id)
    assert (again.text, again.label) == (answer.text, answer.label)
    assert again.options == pytest.approx(answer.options)
    assert one.records.verify() == 1  # a replay leaves no trace of its own
    trace = one.records.trace(answer.trace_id)
    assert "p7" not in str(trace)
    assert "base64" not in str(trace)
    assert trace["images"][0]["sha256"] in str(trace["prompts"][0]["messages"])


def test_replay_tells_differences_and_causes(tmp_path, zoo):
    one = consilium(tmp_path, scores=favors("glioma"))
    answer = one.ask(picture(), QUESTION, options=BRAIN, collaboration="full")
    zoo.cards["brain_mri_hybrid"].weights["sha256"] = "other"  # type: ignore[index]
    told = "label was 'glioma', is 'meningioma'.*brain_mri_hybrid has other"
    with pytest.raises(ReplayDiffers, match=told):
        consilium(tmp_path, scores=favors("meningioma")).replay(answer.trace_id)
    with pytest.raises(ReplayDiffers, match="probability"):
        consilium(tmp_path, scores=favors("glioma", share=0.9002)).replay(answer.trace_id)
    with pytest.raises(TraceNotFound):
        one.replay("none")


def test_conversations_remember_their_turns_and_images(tmp_path, zoo):
    one = consilium(tmp_path, ["A brain.", "On the left.", "A lung."])
    first, second = one.chat(), one.chat()
    first.ask("What is it?", picture(1), collaboration="none")
    first.ask("Where?", collaboration="none")
    second.ask("And this?", picture(2), collaboration="none")
    texts = [seen.text for seen in one.generalist.seen]
    assert "What is it?" in texts[1]
    assert "A brain." in texts[1]
    assert "brain." not in texts[2].replace("brain MRI", "")
    turns = one.records.turns(first.id)
    assert [t.question for t in turns] == ["What is it?", "Where?"]
    assert turns[0].images == turns[1].images
    assert one.records.turns(second.id)[0].images != turns[0].images
    with pytest.raises(BadQuestion, match="no image"):
        one.chat().ask("What?")


def test_images_stand_in_the_turn_that_first_showed_them(tmp_path, zoo):
    one = consilium(tmp_path, ["A brain.", "On the left.", "Another.", "It grew."])
    chat = one.chat()
    for question, images in (("What is it?", picture(1)), ("Where?", None), ("And this?", picture(2)), ("Why?", None)):
        chat.ask(question, images, collaboration="none")

    def shown(call) -> list[int]:
        """Return the number of images in each turn of a person."""
        turns = [m for m in call.messages if m.type == "human"]
        parts = [m.content if isinstance(m.content, list) else [] for m in turns]
        return [sum(isinstance(p, dict) and p["type"] != "text" for p in some) for some in parts]

    assert [shown(call) for call in one.generalist.seen] == [[1], [1, 0], [0, 0, 1], [0, 0, 1, 0]]
    trace = one.records.turns(chat.id)[-1].trace_id
    assert consilium(tmp_path, ["It grew."]).replay(trace).text == "It grew."


def test_a_conversation_is_continued_by_its_identifier(tmp_path, zoo):
    conversation = consilium(tmp_path, ["A brain."]).chat()
    conversation.ask("What is it?", picture(1), collaboration="none")
    later = consilium(tmp_path, ["On the left."])
    answer = later.chat(conversation.id).ask("Where?", collaboration="none")
    assert "A brain." in later.generalist.seen[0].text
    assert consilium(tmp_path, ["On the left."]).replay(answer.trace_id).text == "On the left."
    with pytest.raises(ConversationNotFound):
        later.chat("none")


def test_turns_from_elsewhere_come_first(tmp_path, zoo):
    one = consilium(tmp_path, ["Yes."])
    history = [{"role": "user", "content": "Is it old?"}, {"role": "assistant", "content": "No."}]
    one.chat(history=history).ask("Sure?", picture(), collaboration="none")
    assert "Is it old?" in one.generalist.seen[0].text


def test_turns_from_elsewhere_leave_no_conversation_but_a_trace_that_is_replayed(tmp_path, zoo):
    one = consilium(tmp_path, ["Yes."])
    turn = [{"role": "user", "content": "Is it old?"}, {"role": "assistant", "content": "No."}]
    answer = one.ask(picture(), "Sure?", history=[*turn, *turn * LIMITS.history_turns], collaboration="none")
    assert one.records.conversations() == []
    assert one.records.trace(answer.trace_id)["history"] == turn * LIMITS.history_turns
    assert "Is it old?" in one.generalist.seen[0].text
    assert consilium(tmp_path, ["Yes."]).replay(answer.trace_id).text == answer.text


def test_importing_the_package_loads_nothing_heavy():
    code = ("import sys, assistant, assistant.steps, assistant.errors, assistant.settings\n"
            "assert assistant.Question and assistant.Answer\n"
            "heavy = {'torch', 'transformers', 'langchain', 'langchain_core', 'faiss'} & set(sys.modules)\n"
            "assert not heavy, heavy")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
