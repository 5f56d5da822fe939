"""A visitor's session: images in, steps consumed, errors explained, nothing shared."""

from __future__ import annotations

import struct
import warnings
from contextlib import suppress

import pydicom
import pytest
from PIL import Image

from assistant.errors import BadQuestion, ConsiliumError
from assistant.export.dossier import Dossier, Entry
from assistant.export.formats import exported
from assistant.records import Records
from specialists.core.findings import HeatMap
from specialists.core.study import read_study
from tests.assistant.export.test_export import SECRET, dicom_file
from tests.ui import double
from ui import kept, panel, phantoms, session
from ui.session import Changed, Changes, Choices, Session


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
    assert "an inner detail" not in caplog.text, "a message may quote a header"
    assert "RuntimeError at" in caplog.text
    assert "double.py" in caplog.text


@pytest.mark.parametrize("reads", ["read_study", "read_header"])
def test_what_fails_unexpectedly_in_a_file_leaves_no_header_value_anywhere(tmp_path, monkeypatch, caplog, capfd, reads):
    def broken(source):
        dataset = pydicom.dcmread(source, force=True)
        raise RuntimeError(f"cannot decode {dataset.PatientName}")

    file = tmp_path / "scan.dcm"
    file.write_bytes(dicom_file())
    monkeypatch.setattr(session, reads, broken)
    state = Session()
    assert not session.take(state, [str(file)])
    assert "Something went wrong" in state.history[-1]["content"]
    assert "RuntimeError at" in caplog.text
    told = capfd.readouterr()
    assert SECRET not in caplog.text + str(state.history) + told.out + told.err


@pytest.mark.parametrize(("group", "element", "kind"), [
    (0x0028, 0x0010, b"US"), (0x0020, 0x0013, b"IS"), (0x0008, 0x0018, b"UI"), (0x0028, 0x0030, b"DS"),
    (0x0008, 0x0060, b"CS"), (0x0028, 0x1050, b"DS"), (0x0020, 0x000D, b"UI")])
def test_a_name_where_a_number_belongs_is_neither_logged_nor_printed(tmp_path, caplog, capfd, group, element, kind):
    comment = struct.pack("<HH", 0x0010, 0x4000) + b"LT" + struct.pack("<H", len(SECRET)) + SECRET.encode()
    whole = dicom_file(PatientComments=SECRET)
    assert comment in whole
    file = tmp_path / "scan.dcm"
    file.write_bytes(whole.replace(comment, struct.pack("<HH", group, element) + kind + comment[6:]))
    caplog.clear()
    capfd.readouterr()
    state = Session()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        session.take(state, [str(file)])
        asked(double.Assistant(), state)
        for header in state.headers.values():
            kept.header(header)
            with suppress(ConsiliumError):
                exported(Dossier("c", "t", (Entry("q", state.answer, images=({"sha256": state.study.sha256},),
                                                  study=state.study),)), "sr", state.headers)
    told = capfd.readouterr()
    assert SECRET not in caplog.text + str(state.history) + told.out + told.err
    assert not [one for one in warned if SECRET in str(one.message)]


def test_where_an_opinion_hangs_is_laid_over_the_image_until_the_next_question():
    state = loaded()
    assert session.where(double.Assistant(), state, "breast_ultrasound_hybrid") == ""
    asked(double.Assistant(), state)
    told = session.where(double.Assistant(), state, "breast_ultrasound_hybrid")
    assert "not where a disease is" in told
    assert state.overlaid is not None
    assert any(isinstance(f, HeatMap) for f in state.overlaid.findings)
    asked(double.Assistant(), state)
    assert state.overlaid is state.answer


def test_an_opinion_that_cannot_be_looked_into_is_explained():
    class Silent(double.Assistant):
        def heat_map(self, trace_id, specialist):
            raise BadQuestion("gave no opinion")

    state = loaded()
    asked(Silent(), state)
    assert "gave no opinion" in session.where(Silent(), state, "knee_grade")
    assert not state.heats


def test_similar_cases_at_hand_have_thumbnails(monkeypatch):
    state = loaded()
    asked(double.Assistant(), state)
    assert session.thumbnails(state) == {}
    monkeypatch.setattr(session, "thumbnail", lambda case: Image.new("L", (9, 9)) if case == "case-1" else None)
    shown = session.thumbnails(state)
    assert list(shown) == ["case-1"]
    assert panel.panel(state.steps, state.answer, pictures=shown).count("<img src=") == 1
    assert "<img" not in panel.panel(state.steps, state.answer)


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


def test_a_stop_that_comes_too_late_leaves_the_answer_as_it_is():
    state = loaded()
    running = session.ask(double.Assistant(), state, "What is it?", Choices())
    while state.answer is None:
        changed = next(running)
        if changed is not Changed.DONE and state.answer is None:
            continue
    session.stop(state)
    assert list(running) in ([], [Changed.DONE])
    told = list(state.history)
    session.stop(state)
    assert state.history == told
    assert "Stopped" not in str(told)
    assert state.answer is not None


def test_a_conversation_that_was_deleted_elsewhere_is_said_and_the_next_question_begins_another(tmp_path):
    records = Records(tmp_path)
    assistant, state = double.Assistant(records=records), loaded(owner="me")
    asked(assistant, state)
    first = state.conversation or ""
    records.delete(first, "me")
    assistant.talks.clear()

    class Store(double.Assistant):
        def chat(self, conversation_id=None, owner=""):
            if conversation_id:
                records.check_owner(conversation_id, owner)
            return super().chat(conversation_id, owner)

    after = Store(records=records)
    asked(after, state)
    assert "deleted elsewhere" in state.history[-1]["content"]
    assert str(tmp_path) not in str(state.history)
    asked(after, state)
    assert state.answer is not None
    assert state.conversation not in ("", None, first)


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


class _Stopped(double.Assistant):
    """Is stopped while it loads."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def chat(self, conversation_id=None, owner=""):
        session.stop(self.state)
        return super().chat(conversation_id, owner)


def test_stop_while_the_models_load_ends_the_question():
    state = loaded()
    asked(_Stopped(state), state)
    assert state.answer is None
    assert "Stopped." in state.history[-1]["content"]


def test_an_error_of_a_stopped_question_leaves_the_next_one_alone():
    state = loaded()
    first = session.ask(double.Assistant(), state, "break", Choices())
    next(first)
    session.stop(state)
    asked(double.Assistant(), state, "What is it?")
    told = list(state.history)
    assert list(first) == [Changed.STOPPED]
    assert state.history == told
    assert state.answer is not None


def test_one_question_is_answered_at_a_time_and_a_stop_makes_room_for_the_next():
    assistant, state = double.Assistant(), loaded()
    first = session.ask(assistant, state, "What is it?", Choices())
    next(first)
    assert state.busy
    told = list(state.history)
    assert asked(assistant, state, "And now?") == []
    assert state.history == told
    session.stop(state)
    assert not state.busy
    assert asked(assistant, state, "And now?")[-1] is Changed.DONE
    told, answer = list(state.history), state.answer
    assert list(first) == [Changed.STOPPED], "it began nothing after the stop"
    assert (state.history, state.answer, state.busy) == (told, answer, False)


def test_an_answer_under_way_writes_nothing_into_the_conversation_that_is_opened_meanwhile():
    assistant, state = double.Assistant(), loaded()
    first = session.ask(assistant, state, "What is it?", Choices())
    for _ in range(4):
        next(first)
    state.become(Session(owner="me", conversation="another"))
    assert list(first) == [Changed.STOPPED]
    assert (state.owner, state.conversation, state.history, state.answer) == ("me", "another", [], None)
    assert not state.busy


def test_a_closed_page_ends_its_question():
    state = loaded()
    first = session.ask(double.Assistant(), state, "What is it?", Choices())
    next(first)
    first.close()
    assert not state.busy


def test_what_is_found_of_an_answer_that_is_gone_is_not_shown():
    class Slow(double.Assistant):
        def again(self, trace_id, **how):
            session.ask(self, state, "And now?", Choices()).__next__()
            return super().again(trace_id, **how)

        def heat_map(self, trace_id, specialist):
            state.become(Session())
            return super().heat_map(trace_id, specialist)

    state = loaded()
    asked(double.Assistant(), state)
    assert session.again(Slow(), state, Changes(("a",))) == ""
    state = loaded()
    asked(double.Assistant(), state)
    assert session.where(Slow(), state, "breast_ultrasound_hybrid") == ""
    assert state.heats == {}
