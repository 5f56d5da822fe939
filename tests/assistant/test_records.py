"""Tests of the store: conversations, the chain of traces, images."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from assistant import audit_command as audit
from assistant.errors import BadQuestion, ConversationNotFound, RecordsError, TamperedRecords, TraceNotFound
from assistant.records import Feedback, Records, Turn, canonical, without_images
from specialists.core.study import read_study
from tests.assistant.stand_ins import picture


def test_traces_are_chained_and_read_back(tmp_path):
    records = Records(tmp_path)
    first, second = records.append({"text": "é", "n": np.float32(0.5)}), records.append({"text": "b"})
    assert records.trace(first) == {"id": first, "n": 0.5, "text": "é"}
    assert records.trace(second)["text"] == "b"
    assert records.verify() == 2
    with pytest.raises(TraceNotFound):
        records.trace("none")


@pytest.mark.parametrize("sql", ["UPDATE traces SET body = '{}'", "DELETE FROM traces"])
def test_traces_cannot_be_changed(tmp_path, sql):
    records = Records(tmp_path)
    records.append({"a": 1})
    connection = sqlite3.connect(records.paths.records)
    with pytest.raises(sqlite3.IntegrityError, match="append"):
        connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(("sql", "match"), [
    ("UPDATE traces SET body = replace(body, '1', '7') WHERE seq = 2", "number 2"),
    ("DELETE FROM traces WHERE seq = 2", "number 2"),
    ("DELETE FROM traces WHERE seq = 3", "3 traces were written"),
    ("UPDATE traces SET previous = hash WHERE seq = 1", "number 1"),
])
def test_tampering_is_detected(tmp_path, sql, match):
    records = Records(tmp_path)
    ids = [records.append({"value": 1, "n": n}) for n in range(3)]
    connection = sqlite3.connect(records.paths.records)
    connection.executescript(f"DROP TRIGGER traces_stay; DROP TRIGGER traces_remain; {sql};")
    connection.close()
    with pytest.raises(TamperedRecords, match=match):
        records.verify()
    if "body" in sql:
        with pytest.raises(TamperedRecords):
            records.trace(ids[1])


def test_threads_append_to_one_chain(tmp_path):
    records = Records(tmp_path)
    threads = [threading.Thread(target=lambda n=n: records.append({"n": n})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records.verify() == 8


def test_conversations_are_kept_apart(tmp_path):
    records = Records(tmp_path)
    one, two = records.open_conversation(), records.open_conversation()
    records.add_turn(one, Turn("q", "a", "t", ("k",)))
    assert records.turns(one) == [Turn("q", "a", "t", ("k",))]
    assert records.turns(two) == []
    assert Records(tmp_path).conversations() == [one, two]
    with pytest.raises(ConversationNotFound, match="'none': it was deleted.* begin a new one") as caught:
        records.turns("none")
    assert str(tmp_path) not in str(caught.value), "visitors read it"
    with pytest.raises(ConversationNotFound):
        records.add_turn("none", Turn("q", "a", "t", ()))


@pytest.mark.parametrize("source", [picture(), np.random.default_rng(0).random((3, 8, 9)).astype(np.float32)])
def test_an_image_comes_back_as_it_was(tmp_path, source):
    records, study = Records(tmp_path), read_study(source)
    key = records.keep(study)
    assert records.keep(study) == key
    back = records.study(key)
    assert np.array_equal(back.pixels, study.pixels)
    assert back.pixels.dtype == study.pixels.dtype
    assert (back.sha256, back.size, back.frames) == (study.sha256, study.size, study.frames)
    assert back.header == {}
    assert records.keep(back) == key
    (tmp_path / "images" / f"{key}.npz").unlink()
    with pytest.raises(RecordsError, match="no longer"):
        records.study(key)


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordsError, match="CONSILIUM_HOME"):
        Records(tmp_path / "file")


def test_what_no_trace_can_hold():
    with pytest.raises(TypeError, match="set"):
        canonical({"a": {1}})
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})


def test_images_are_replaced_by_their_hash():
    url = {"type": "image_url", "image_url": {"url": "data:x"}}
    messages = [{"role": "user", "content": [url, {"type": "text", "text": "hi"}]},
                {"role": "user", "content": "t"}]
    named = without_images(messages, {"data:x": "image:abc"})
    assert named[0]["content"] == [{"type": "image", "image": "image:abc"}, {"type": "text", "text": "hi"}]
    assert named[1] == messages[1]
    assert without_images(messages, {})[0]["content"][0]["image"].startswith("image:8328")


def asked(records: Records, owner: str, question: str, answer: str = "A brain.", key: str = "") -> tuple[str, str]:
    """Store a conversation of one turn; return it and its trace."""
    conversation = records.open_conversation(owner)
    trace = records.append({"time": "2030-01-01T00:00:00+00:00", "images": [{"key": key}] if key else []})
    records.add_turn(conversation, Turn(question, answer, trace, (key,) if key else ()))
    return conversation, trace


def test_a_list_holds_an_owners_conversations_alone(tmp_path):
    records = Records(tmp_path)
    mine, _ = asked(records, "me", "What is 50% of it?")
    asked(records, "you", "What is it?")
    empty = records.open_conversation("me")
    assert [(one.id, one.title, one.turns) for one in records.owned("me")] == [
        (mine, "What is 50% of it?", 1), (empty, "", 0)]


@pytest.mark.parametrize(("words", "found"), [
    ("BRAIN", True), ("50% brain", True), ("brain absent", False), ("5_%", False), ("!", False)])
def test_a_search_wants_every_word_as_it_is_written(tmp_path, words, found):
    records = Records(tmp_path)
    asked(records, "me", "What is 50% of it?")
    assert bool(records.owned("me", words)) is found


def test_a_title_replaces_the_first_question_until_it_is_emptied(tmp_path):
    records = Records(tmp_path)
    mine, _ = asked(records, "me", "First?")
    records.rename(mine, "me", "  Case\n7 ")
    assert records.owned("me", "case")[0].title == "Case 7"
    records.rename(mine, "me", "")
    assert records.owned("me")[0].title == "First?"


def test_others_can_neither_rename_nor_delete(tmp_path):
    records = Records(tmp_path)
    mine, _ = asked(records, "me", "First?")
    for change in (lambda: records.rename(mine, "you", "x"), lambda: records.delete(mine, "you")):
        with pytest.raises(ConversationNotFound):
            change()
    assert records.turns(mine)


def test_deleting_takes_turns_and_images_that_nothing_else_needs(tmp_path):
    records = Records(tmp_path)
    alone, shared = records.keep(read_study(picture(seed=1))), records.keep(read_study(picture(seed=2)))
    first, _ = asked(records, "me", "One?", key=alone)
    second, _ = asked(records, "me", "Two?", key=shared)
    asked(records, "you", "Three?", key=shared)
    for conversation in (first, second):
        records.delete(conversation, "me")
    assert records.owned("me") == []
    assert records.study(shared).format == "array"
    with pytest.raises(RecordsError, match="no longer"):
        records.study(alone)
    assert records.verify() == 3


def test_deleting_all_conversations_about_an_image_takes_it(tmp_path):
    records = Records(tmp_path)
    key = records.keep(read_study(picture(seed=1)))
    first, trace = asked(records, "me", "One?", key=key)
    second, _ = asked(records, "me", "Two?", key=key)
    records.append({"images": [{"key": key}], "repeats": trace})      # asked again without a specialist
    records.delete(first, "me")
    assert records.study(key)
    records.delete(second, "me")
    with pytest.raises(RecordsError, match="no longer"):
        records.study(key)


def test_an_image_of_a_question_outside_conversations_stays(tmp_path):
    records = Records(tmp_path)
    key = records.keep(read_study(picture(seed=1)))
    first, _ = asked(records, "me", "One?", key=key)
    records.append({"images": [{"key": key}]})
    records.delete(first, "me")
    assert records.study(key)


def test_an_audit_tells_whether_the_chain_is_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    records = Records(tmp_path)
    asked(records, "me", "One?")
    before = records.head()
    _, trace = asked(records, "me", "Two?")
    assert audit.main([]) == audit.main(["--holds", before]) == 0
    assert f"2 traces under {tmp_path}, the chain is whole. The last hash: {records.head()}" in capsys.readouterr().out
    assert audit.main([trace]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == trace
    assert audit.main(["--holds", "0" * 63 + "1"]) == 1
    with closing(sqlite3.connect(records.paths.records)) as connection, connection:
        connection.execute("DROP TRIGGER traces_stay")
        connection.execute("UPDATE traces SET body = replace(body, '2030', '2031') WHERE seq = 1")
    assert audit.main([]) == 1
    assert "The chain breaks at trace" in capsys.readouterr().err


def test_the_latest_that_a_reader_said_of_an_answer_holds(tmp_path):
    records = Records(tmp_path)
    _, trace = asked(records, "me", "One?")
    records.say(Feedback(trace, "agree", owner="me"))
    records.say(Feedback(trace, "disagree", " too low ", "glioma", "me"))
    records.say(Feedback(trace, "agree", owner="you"))
    assert [(one.owner, one.verdict, one.reason, one.label) for one in records.said(trace)] == [
        ("me", "disagree", "too low", "glioma"), ("you", "agree", "", "")]
    assert [one.verdict for one in records.said(owner="you")] == ["agree"]
    with pytest.raises(TraceNotFound):
        records.say(Feedback("none", "agree"))
    with pytest.raises(BadQuestion, match="verdict"):
        records.say(Feedback(trace, "maybe"))  # type: ignore[arg-type]


def test_a_store_of_an_earlier_version_is_opened(tmp_path):
    connection = sqlite3.connect(tmp_path / "records.db")
    connection.executescript("CREATE TABLE conversations (id TEXT PRIMARY KEY, created TEXT NOT NULL);"
                             "INSERT INTO conversations VALUES ('old', '2020');")
    connection.close()
    assert [one.id for one in Records(tmp_path).owned("")] == ["old"]
