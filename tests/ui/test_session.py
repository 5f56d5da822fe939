"""A visitor's session: images in, steps consumed, errors explained, nothing shared."""

from __future__ import annotations

import pytest

from specialists.core.study import read_study
from tests.ui import double
from ui import phantoms, session
from ui.session import Choices, Session


def asked(assistant, state, text="What is it?", choices=None):
    return list(session.ask(assistant, state, text, choices or Choices()))


def loaded(**fields) -> Session:
    state = Session(**fields)
    assert session.take(state, [phantoms.ultrasound()], ["drawn"])
    return state


@pytest.mark.parametrize(("text", "options"), [("", None), (" , ,", None), ("a, b ,c", ("a", "b", "c"))])
def test_options_are_split(text, options):
    assert session.split_options(text) == options


def test_an_answer_is_streamed_and_kept():
    state = loaded()
    sizes = [
        len(state.history)
        for _ in session.ask(double.Assistant(), state, "What is it?", Choices(("benign", "malignant")))
    ]
    assert sizes[0] == 2
    assert len(sizes) > 6
    question, steps, answer = state.history
    assert "benign, malignant" in question["content"]
    assert steps["metadata"]["title"] == "Consulted: 8 steps"
    assert answer["content"].startswith(double.SAID)
    assert "Refer to a human reader" in answer["content"]
    assert state.answer is not None
    assert state.overlaid is state.answer


def test_images_are_sent_once_and_again_when_new():
    seen = []

    class Recording(double.Talk):
        def stream(self, question, images=None, **options):
            seen.append(images and len(images))
            return super().stream(question, images, **options)

    assistant, state = double.Assistant(), loaded()
    talk = Recording(7)
    assistant.talks[talk.id] = talk
    state.conversation = talk.id
    asked(assistant, state)
    asked(assistant, state)
    session.take(state, [phantoms.brain_slice(), phantoms.ultrasound()])
    assert state.overlaid is None
    asked(assistant, state)
    assert seen == [1, None, 2]


def test_a_question_without_an_image_is_explained_and_the_next_works():
    assistant, state = double.Assistant(), Session()
    asked(assistant, state)
    assert "Got no image" in state.history[-1]["content"]
    session.take(state, [phantoms.ultrasound()])
    asked(assistant, state)
    assert state.answer is not None


def test_an_inner_error_tells_nothing_of_the_inside(caplog):
    state = loaded()
    asked(double.Assistant(), state, "break")
    assert "an inner detail" not in str(state.history)
    assert "Something went wrong" in state.history[-1]["content"]
    assert "an inner detail" in caplog.text


def test_a_bad_image_is_explained_and_changes_nothing(tmp_path):
    state = loaded()
    before = state.study
    bad = tmp_path / "bad.png"
    bad.write_text("only text")
    assert not session.take(state, [str(bad)])
    assert "bad.png" in state.history[-2]["content"]
    assert "This did not work" in state.history[-1]["content"]
    assert state.study is before
    assert not bad.exists()


def test_uploaded_files_are_removed_as_soon_as_they_are_read(tmp_path):
    good = tmp_path / "image"
    good.write_bytes(phantoms.ultrasound())
    state = Session()
    assert session.take(state, [str(good)])
    assert state.names == ["image"]
    assert not good.exists()


def test_stopping_closes_the_spinner_and_says_so():
    state = loaded()
    running = session.ask(double.Assistant(), state, "What is it?", Choices())
    for _ in range(4):
        next(running)
    running.close()
    session.stop(state)
    assert state.history[-2]["metadata"]["status"] == "done"
    assert "Stopped" in state.history[-1]["content"]
    asked(double.Assistant(), state)
    assert state.answer is not None


def test_a_stopped_answer_writes_nothing_more():
    state = loaded()
    running = session.ask(double.Assistant(), state, "What is it?", Choices())
    for _ in range(4):
        next(running)
    session.stop(state)
    list(running)
    assert "Stopped" in state.history[-1]["content"]
    assert state.answer is None


def test_an_image_that_comes_during_an_answer_is_sent_with_the_next_question():
    state = loaded()
    running = session.ask(double.Assistant(), state, "What is it?", Choices())
    for _ in range(4):
        next(running)
    session.take(state, [phantoms.brain_slice()])
    list(running)
    assert state.answer is not None
    assert state.overlaid is None
    assert not state.sent


def test_findings_are_about_the_first_image():
    state = Session(studies=[read_study(phantoms.ultrasound()), read_study(phantoms.brain_slice())], names=["a", "b"])
    asked(double.Assistant(), state)
    assert state.overlaid is not None
    state.shown = 1
    assert state.overlaid is None
