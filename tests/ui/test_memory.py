"""Sessions out of the store: whole after a reload, and of nobody else."""

from __future__ import annotations

import sqlite3

import pytest

from assistant.errors import ConversationNotFound
from assistant.records import Feedback, Listed, Records
from tests.ui import double
from ui import memory, panel, phantoms, session
from ui.session import Choices, Session

QUESTION = "What is <b>it</b>?"


def talked(records: Records, owner: str = "me", *questions: str) -> Session:
    """Return a session after questions about a drawn ultrasound."""
    state = Session(owner=owner)
    session.take(state, [phantoms.ultrasound()], ["scan"])
    consultant = double.Assistant(records=records)
    for question in questions or (QUESTION,):
        list(session.ask(consultant, state, question, Choices(("benign", "malignant"))))
    return state


def test_a_conversation_comes_back_whole(tmp_path):
    records = Records(tmp_path)
    before = talked(records, "me", QUESTION, "Sure?")
    assert before.conversation
    after = memory.recall(records, "me", before.conversation)
    now, then = ([(m["role"], "metadata" in m) for m in s.history] for s in (after, before))
    assert now == then
    assert after.history[-1]["content"] == before.history[-1]["content"]
    assert "&lt;b&gt;" in after.history[0]["content"]
    assert after.study
    assert before.study
    assert after.study.sha256 == before.study.sha256
    assert after.overlaid is after.answer
    assert after.answer
    assert before.answer
    assert after.answer.json() == before.answer.json()
    assert after.sent
    assert "Kind of image: <strong>breast ultrasound</strong>" in panel.panel(after.steps, after.answer)
    assert "Image: PNG" in after.history[0]["content"]
    assert "Image:" not in after.history[3]["content"]


def test_the_next_question_is_about_the_images_kept(tmp_path):
    records = Records(tmp_path)
    before = talked(records)
    after = memory.recall(records, "me", before.conversation or "")
    consultant = double.Assistant(records=records)
    talk = consultant.chat(after.conversation, "me")
    talk._studies = after.studies  # the stand-in keeps no images itself
    list(session.ask(consultant, after, "And now?", Choices()))
    assert len(records.turns(before.conversation or "")) == 2


def test_anothers_conversation_is_not_opened(tmp_path):
    records = Records(tmp_path)
    mine = talked(records).conversation
    with pytest.raises(ConversationNotFound):
        memory.recall(records, "you", mine or "")


def test_what_can_no_longer_be_shown_leaves_the_words(tmp_path):
    records = Records(tmp_path)
    state = talked(records)
    for image in records.paths.images.iterdir():
        image.unlink()
    without = memory.recall(records, "me", state.conversation or "")
    assert (without.study, without.sent) == (None, False)
    assert without.answer
    connection = sqlite3.connect(records.paths.records)
    connection.executescript("DROP TRIGGER traces_stay; UPDATE traces SET body = '{}'")
    connection.close()
    words = memory.recall(records, "me", state.conversation or "")
    assert words.answer is None
    assert double.SAID in words.history[-1]["content"]


def test_what_was_said_of_an_answer_comes_back_to_who_said_it(tmp_path):
    records = Records(tmp_path)
    state = talked(records)
    assert state.answer
    assert memory.said_before(records, state) is None
    records.say(Feedback(state.answer.trace_id, "disagree", "no", owner="you"))
    assert memory.said_before(records, state) is None
    records.say(Feedback(state.answer.trace_id, "agree", owner="me"))
    said = memory.said_before(records, state)
    assert said
    assert said.verdict == "agree"
    assert memory.said_before(records, Session()) is None


def test_an_owner_is_told_by_a_secret_that_is_not_kept():
    one, other = memory.fresh_secret(), memory.fresh_secret()
    assert len({one, other, memory.owner_of(one), memory.owner_of(other)}) == 4
    assert memory.owner_of(one) == memory.owner_of(one)
    assert one not in memory.owner_of(one)


@pytest.mark.parametrize(("title", "shown"), [
    ("Case 7", "Case 7 · 2030-01-02"), ("", "New conversation · 2030-01-02"),
    ("x" * 99, f"{'x' * 59}… · 2030-01-02")])
def test_a_line_of_the_list_is_short(title, shown):
    assert memory.label(Listed("c", title, "2030-01-02T03:04:05", 1)) == shown
