"""The handlers of a visitor's work, without a browser; what they draw is for the browser tests."""

from __future__ import annotations

import socket
from typing import Any

import gradio as gr
import httpx
import pytest

from assistant.records import Records, Turn
from tests.assistant.export.test_export import SECRET, dicom_file
from tests.ui import double
from ui import app, session, work
from ui.session import Choices, Session

pytestmark = pytest.mark.usefixtures("closing_loops")


@pytest.fixture
def records(tmp_path) -> Records:
    """Return an empty store."""
    return Records(tmp_path)


@pytest.fixture
def wired(records, monkeypatch) -> work._Wired:
    """Return the handlers of a window over the stand-in."""
    made: list[work._Wired] = []

    class Recorded(work._Wired):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(work, "_Wired", Recorded)
    app.create_app(double.Assistant(records=records), records=records)
    return made[0]


def talked(records: Records, owner: str = "me") -> Session:
    """Return a session after a question about a DICOM file."""
    state = Session(owner=owner)
    session.take(state, [dicom_file()], ["scan.dcm"])
    list(session.ask(double.Assistant(records=records), state, "What is it?", Choices(("benign", "malignant"))))
    return state


def again(records: Records, state: Session) -> None:
    """Ask once more; this stand-in is another one, and gets the image again."""
    state.sent = False
    list(session.ask(double.Assistant(records=records), state, "And now?", Choices()))


def visible(update: Any) -> bool:
    return update["visible"] if isinstance(update, dict) else update.visible


def test_a_window_without_a_store_has_no_list():
    ids = {part["props"].get("elem_id") for part in app.create_app(double.Assistant()).get_config_file()["components"]}
    assert not {"listed", "agree", "export"} & ids


def test_every_visitor_gets_a_secret_and_a_reload_the_same_one(wired):
    first, second = wired._start(None), wired._start({"secret": 7})
    told = first[wired.browser]
    assert told["secret"] != second[wired.browser]["secret"]
    again = wired._start(told)
    assert again[wired.browser] == told
    assert again[wired.parts.state].owner == first[wired.parts.state].owner


def test_the_browser_opens_its_own_conversation_alone(wired, records):
    secret = wired._start(None)[wired.browser]["secret"]
    owner = wired._start({"secret": secret})[wired.parts.state].owner
    mine, others = talked(records, owner), talked(records, "another")
    opened = wired._start({"secret": secret, "conversation": mine.conversation})
    assert opened[wired.parts.state].conversation == mine.conversation
    assert visible(opened[wired.work.below.box])
    assert wired._start({"secret": secret, "conversation": others.conversation})[wired.parts.state].conversation is None
    kept = wired._open(others.conversation, mine, {}, "")
    assert wired.parts.state not in kept
    assert wired.parts.state not in wired._delete(Session(owner=owner, conversation=others.conversation), {}, "")
    assert records.turns(others.conversation or "")


def test_what_a_visitor_says_is_kept_under_the_answer(wired, records):
    state = talked(records)
    wired._disagree(state)
    wired._object(state, "too sure", "benign")
    wired._agree(state)
    assert [(said.owner, said.verdict) for said in records.said()] == [("me", "agree")]
    for nothing in (wired._agree(Session()), wired._disagree(Session()), wired._object(Session(), "no", None)):
        assert work.NOTHING in nothing[wired.work.below.said]


def test_an_objection_is_about_the_answer_that_was_shown_when_it_was_begun(wired, records):
    state, below = talked(records), wired.work.below
    first = state.answer.trace_id
    assert visible(wired._disagree(state)[below.objection])
    again(records, state)
    assert state.answer.trace_id != first
    around = wired._answered(state, {}, "")
    assert not any(visible(around[one]) is False for one in (below.box, below.judge))
    for kept in (below.objection, below.reason, below.label):
        assert around[kept] == gr.skip(), "what is being written stays"
    told = wired._object(state, "It is a cyst.", "benign")
    assert "the earlier answer" in told[below.said]
    assert {said.trace_id for said in records.said()} == {first}
    assert visible(wired._answered(state, {}, "")[below.objection]) is False


def test_without_an_answer_nobody_is_asked_whether_it_is_right(wired, records):
    state, below = talked(records), wired.work.below
    wired._agree(state)
    running = session.ask(double.Assistant(records=records), state, "And now?", Choices())
    next(running)
    for _ in ("while it comes", "when it was stopped"):
        around = wired._answered(state, {}, "")
        assert (visible(around[below.box]), visible(around[below.judge])) == (True, False)
        assert around[below.said] == ""
        session.stop(state)


def test_a_title_that_is_being_typed_is_kept(wired, records):
    state = talked(records)
    assert wired._answered(state, {}, "")[wired.work.sidebar.title].value == "What is it?"
    again(records, state)
    assert wired._answered(state, {}, "")[wired.work.sidebar.title] == gr.skip()


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF-"), ("markdown", b"# What is it?"), ("fhir", b"{")])
def test_an_export_lies_in_the_cache_that_is_emptied(wired, records, form, start, tmp_path, monkeypatch):
    monkeypatch.setattr(wired.work.below.save, "GRADIO_CACHE", str(tmp_path / "cache"))
    made = wired._export(talked(records), form)[wired.work.below.save]
    path = made["value"] if isinstance(made, dict) else made.value
    path = path["path"] if isinstance(path, dict) else path
    with open(path, "rb") as file:
        assert file.read().startswith(start)
    assert any(str(path).endswith(name.rsplit("/", 1)[-1]) for name in wired.work.below.save.temp_files)


def test_an_export_that_cannot_be_is_explained(wired, records):
    below = wired.work.below
    assert "No conversation" in wired._export(Session(owner="me"), "pdf")[below.told]
    state = talked(records)
    state.headers = {}
    assert "Add the same file again" in wired._export(state, "sr")[below.told]


def test_headers_stay_in_the_visitors_memory(records, tmp_path):
    state = talked(records)
    assert [header.PatientName for header in state.headers.values()] == [SECRET]
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if SECRET.encode() in path.read_bytes()]


def test_too_many_images_are_refused_before_they_are_read(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(17)]
    for file in files:
        file.write_text("not read")
    state = Session()
    assert session.take(state, [str(file) for file in files]) is False
    assert "at most 16" in state.history[-1]["content"]
    assert not any(file.exists() for file in files)


def test_a_key_lets_nobody_in_without_it(records):
    window = app.create_app(double.Assistant(records=records), records=records)
    with socket.socket() as free:  # Gradio's own search for a port leaves sockets open
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = app.launch(window, port=port, key="secret-key", block=False)
    try:
        with httpx.Client(base_url=address) as client:
            assert client.get("gradio_api/info").status_code == 401
            assert client.post("login", data={"username": "consilium", "password": "wrong"}).status_code == 400
            assert client.post("login", data={"username": "consilium", "password": "secret-key"}).status_code == 200
            assert client.get("config").status_code == 200
    finally:
        window.close(verbose=False)
    assert isinstance(window, gr.Blocks)


def test_a_long_list_is_shown_page_by_page(wired, records):
    state = Session(owner="me")
    for number in range(session.LISTED + 3):
        identifier = records.open_conversation("me")
        records.add_turn(identifier, Turn(f"Question {number}", "answer", "none", ()))
    side = wired.work.sidebar
    first = wired.around(state)
    assert len(choices(first[side.listed])) == session.LISTED
    assert visible(first[side.more])
    more = wired._older(state, "")
    assert len(choices(more[side.listed])) == session.LISTED + 3
    assert not visible(more[side.more])
    assert len(choices(wired.around(Session(owner="me"), "Question 2")[side.listed])) == 10


def choices(update: Any) -> list[Any]:
    return update["choices"] if isinstance(update, dict) else update.choices
