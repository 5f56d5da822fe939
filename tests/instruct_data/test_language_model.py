"""The writer through a server on loopback: lies are caught and counted, budgets hold, a killed build resumes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from assistant.errors import BadQuestion, BadReply, ServerUnreachable
from instruct_data.items import Library
from instruct_data.records import Marked, Record, line, words
from instruct_data.writers import language_model
from instruct_data.writers.endpoint import Endpoint
from instruct_data.writers.language_model import (
    LanguageModelWriter,
    TemplateWriter,
    WriterConfig,
    divided,
    open_writer,
    private,
    texts_of,
)
from instruct_data.writers.validator import Vocabulary
from tests.fakes import FakeOpenAIServer
from tests.instruct_data.made_records import STENT, made

VOCABULARY = Vocabulary(frozenset({"polyp", "stent", "ulcer"}), frozenset({"colonoscopy", "brain MRI"}))
HONEST = {
    "Where is the polyp?": "Could you show me the polyp?",
    "Here is the polyp: {boxes:0}": "The polyp is found here: {boxes:0}",
    "Is there a stent?": "Can a stent be seen?",
    "No, there is no stent on this image.": "No, a stent is not visible.",
    "How many polyps are there?": "Please count the polyps.",
    "I count 3 polyps.": "There are three polyps.",
    "What is in {region:0}, and what is in {region:1}?": "Name what {region:0} and {region:1} hold.",
    "{region:0} holds the polyp, {region:1} the stent.": "In {region:0} there is the polyp, in {region:1} the stent.",
}
"""Draft -> an honest wording of it."""
LIES = {
    "wrong box": ("Here is the polyp: {boxes:0}", "The polyp is found here: [700, 50, 950, 150]"),
    "mirrored box": ("Here is the polyp: {boxes:0}", "The polyp is found here: MIRRORED"),
    "other placeholder": ("Here is the polyp: {boxes:0}", "The polyp is found here: {boxes:1}"),
    "swapped label": ("{region:0} holds the polyp, {region:1} the stent.",
                      "{region:0} is the stent, {region:1} the polyp."),
    "wrong label": ("Here is the polyp: {boxes:0}", "The ulcer is found here: {boxes:0}"),
    "added finding": ("Here is the polyp: {boxes:0}", "The polyp is found here, beside an ulcer: {boxes:0}"),
    "dropped negation": ("No, there is no stent on this image.", "Here a stent is visible."),
    "changed count": ("I count 3 polyps.", "There are four polyps."),
}
DRAFTS = (("Where is the polyp?", "Here is the polyp: {boxes:0}"),
          ("Is there a stent?", "No, there is no stent on this image."),
          ("How many polyps are there?", "I count 3 polyps."),
          ("What is in {region:0}, and what is in {region:1}?", "{region:0} holds the polyp, {region:1} the stent."))


def drafts(count: int) -> list[Record]:
    """Return different records; the first fact tells which one it is."""
    records = []
    for number in range(count):
        lie = list(LIES.values())[number // 5 % len(LIES)][0] if number % 5 == 0 else ""
        question, answer = next((d for d in DRAFTS if d[1] == lie), DRAFTS[number % len(DRAFTS)])
        box = Marked("polyp", (0.1, 0.2, 0.4, 0.3 + number / 1000))
        facts = [f"box: polyp 100 200 400 {300 + number}"]
        records.append(made(question, answer, name=f"record-{number}", facts=facts, boxes=[box, STENT]))
    return records


def told(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request tells of a record."""
    content = body["messages"][1]["content"]
    return json.loads(content if isinstance(content, str) else content[-1]["text"])


def honest(body: Mapping[str, Any]) -> str:
    """Reply with an honest wording of every text."""
    return json.dumps({"texts": [HONEST[t["text"]] for t in told(body)["texts"]]})


def lying(body: Mapping[str, Any], always: bool = False) -> str:
    """Lie in one record of five, at the first try or always."""
    payload = told(body)
    number = int(payload["facts"][0].split()[-1]) - 300
    if number % 5 or (len(body["messages"]) > 2 and not always):
        return honest(body)
    draft, lie = list(LIES.values())[number // 5 % len(LIES)]
    lie = lie.replace("MIRRORED", f"[600, 200, 900, {300 + number}]")
    return json.dumps({"texts": [lie if t["text"] == draft else HONEST[t["text"]] for t in payload["texts"]]})


@pytest.fixture
def server() -> Iterator[FakeOpenAIServer]:
    with FakeOpenAIServer() as fake:
        fake.answer = honest
        yield fake


def writer(server: FakeOpenAIServer, cache: Path | None = None, **how: Any) -> LanguageModelWriter:
    """Return a writer that never really waits."""
    config = WriterConfig(server.url, "fake", cache=cache, **how)
    waited: list[float] = []
    endpoint = Endpoint(config.url, config.model, cache, requests_a_minute=config.requests_a_minute,
                        timeout_s=5, sleep=waited.append, clock=lambda: 100.0)
    made_writer = LanguageModelWriter(config, VOCABULARY, endpoint=endpoint)
    made_writer.waited = waited  # type: ignore[attr-defined]
    return made_writer


def texts(records: list[Record]) -> list[str]:
    return [words(r.messages[-1]) for r in records]


def test_all_lies_are_caught_and_counted_and_honest_words_pass(server: FakeOpenAIServer) -> None:
    server.answer = lying
    own, records = writer(server), drafts(40)
    written = own.write_many(records)
    lies = len(range(0, 40, 5))
    assert own.stats["asked again"] == lies
    assert own.stats["reworded"] == 40
    assert own.stats["requests"] == 40 + lies
    assert texts(written) == [HONEST[t] for t in texts(records)]
    assert {"box_wrong", "box_mirrored", "placeholder_new", "placeholder_lost", "label_moved", "label_added",
            "label_lost", "negation_dropped", "number_new"} <= own.rejected.keys()
    assert own.stats["refused: box_mirrored"] == lies // len(LIES)


def test_who_lies_twice_is_not_believed(server: FakeOpenAIServer) -> None:
    server.answer = lambda body: lying(body, always=True)
    own, records = writer(server), drafts(40)
    written = own.write_many(records)
    assert own.stats["kept: refused"] == 8
    assert [a == b for a, b in zip(written, records, strict=True)] == [n % 5 == 0 for n in range(40)]
    second = server.requests[-1]["messages"][-1]["content"]
    assert second.startswith("Refused:\n- text 1: ")


def test_a_second_run_asks_nothing_and_gives_the_same_bytes(server: FakeOpenAIServer, tmp_path: Path) -> None:
    server.answer = lambda body: lying(body, always=int(told(body)["facts"][0].split()[-1]) % 2 == 0)
    records = drafts(20)
    first = writer(server, tmp_path).write_many(records)
    asked = len(server.requests)
    again = writer(server, tmp_path, threads=1)
    assert [line(r) for r in again.write_many(records)] == [line(r) for r in first]
    assert len(server.requests) == asked
    assert again.stats["from the cache"] == asked


def test_a_killed_run_resumes_to_the_same_bytes_within_the_budget(server: FakeOpenAIServer, tmp_path: Path) -> None:
    records = drafts(30)
    whole = writer(server, most_requests=20).write_many(records)
    stop = threading.Event()

    def dying(body: Mapping[str, Any]) -> str | int:
        return 400 if stop.is_set() else (stop.set() if len(server.requests) > 9 else None) or honest(body)

    server.requests.clear()
    server.answer = dying
    with pytest.raises(BadReply, match="400"):
        writer(server, tmp_path, threads=1, most_requests=20).write_many(records)
    kept = len(list(tmp_path.rglob("*.json")))
    assert 0 < kept < 20
    (tmp_path / "zz").mkdir()
    next(tmp_path.rglob("*.json")).write_text('{"text": "cut o')
    server.answer = honest
    resumed = writer(server, tmp_path, most_requests=20)
    assert [line(r) for r in resumed.write_many(records)] == [line(r) for r in whole]
    assert resumed.stats["requests"] == 20 - kept + 1


def test_budgets_keep_drafts(server: FakeOpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "WAVE", 4)
    own = writer(server, most_requests=7)
    written = own.write_many(drafts(20))
    assert [r.writer for r in written] == ["fake"] * 7 + ["templates"] * 13
    assert own.stats["over the budget"] == 13
    frugal = writer(server, most_tokens=2 * 6)
    assert sum(r.writer == "fake" for r in frugal.write_many(drafts(20))) == 8
    shared = divided(WriterConfig("http://127.0.0.1:1", most_requests=10, most_tokens=None), 0, 4)
    assert (shared.most_requests, shared.most_tokens) == (2, None)


def test_busy_servers_are_asked_again_and_the_rate_holds(server: FakeOpenAIServer) -> None:
    replies: list[Any] = [429, 503, None, 429]
    server.answer = lambda body: (replies.pop(0) if replies else None) or honest(body)
    own = writer(server, threads=1, requests_a_minute=120)
    assert [r.writer for r in own.write_many(drafts(3))] == ["fake"] * 3
    assert own.stats["waits"] == 3
    waited: list[float] = own.waited  # type: ignore[attr-defined]
    assert waited == pytest.approx([1.0, 0.5, 2.0, 1.0, 1.5, 1.0, 2.0, 2.5][:len(waited)])
    assert len(waited) == 3 + own.stats["requests"] - 1


def test_a_server_that_stays_away_stops_the_build(server: FakeOpenAIServer) -> None:
    server.answer = lambda body: 503
    with pytest.raises(ServerUnreachable, match="5 times in a row"):
        writer(server, threads=1).write_many(drafts(9))
    fails = writer(server)
    assert fails.write(drafts(2)[1]) == drafts(2)[1]
    assert (fails.stats["failed"], fails.stats["kept: no answer"]) == (1, 1)


def test_wrong_keys_and_addresses_are_told(server: FakeOpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda body: 401
    with pytest.raises(BadReply, match="CONSILIUM_API_KEY"):
        writer(server).write(drafts(2)[1])
    with pytest.raises(BadQuestion, match="address"):
        Endpoint("no address", "m")
    monkeypatch.setenv("CONSILIUM_API_KEY", "secret-key")
    server.answer = honest
    assert writer(server).write(drafts(2)[1]).writer == "fake"
    assert server.headers[-1]["authorization"] == "Bearer secret-key"


def test_refused_fields_are_left_out(server: FakeOpenAIServer) -> None:
    server.refused = {"response_format"}
    own = writer(server, threads=1)
    assert [r.writer for r in own.write_many(drafts(3))] == ["fake"] * 3
    assert own.stats["requests"] == 4
    assert server.requests[-1]["seed"] == server.requests[-1]["seed"] != server.requests[-2]["seed"]
    assert server.requests[-1]["temperature"] == 0.7


def test_nothing_of_patients_leaves(server: FakeOpenAIServer) -> None:
    record = made("Where is the polyp?", "Here is the polyp: {boxes:0}", image="colon/images/patient-77_scan.png",
                  facts=["present: polyp", "compare: colon/images/9.png diagnosis: polyp", "asked: who is it?"])
    own = writer(server)
    assert own.write(record).writer == "fake"
    sent = json.dumps(server.requests)
    assert not any(secret in sent for secret in (*private(record), "images/9.png", "who is it"))
    named = replace(record, messages=made("Is this patient-77?", "Here is the polyp: {boxes:0}").messages)
    assert own.write(named) == named
    assert own.stats["not reworded: holds a name of a file or group"] == 1
    assert "image_url" not in sent


def test_images_leave_only_when_asked(server: FakeOpenAIServer, tmp_path: Path) -> None:
    (tmp_path / "colon/images").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "colon/images/1.png")
    record = made("Where is the polyp?", "Here is the polyp: {boxes:0}")
    config = WriterConfig(server.url, "fake", images=True)
    own = LanguageModelWriter(config, VOCABULARY, data=tmp_path)
    assert own.write(record).writer == "fake"
    assert server.requests[-1]["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    own.close()


def test_other_languages(server: FakeOpenAIServer) -> None:
    server.answer = lambda body: json.dumps({"texts": ["Wo ist der Polyp [polyp]?", "Der Polyp [polyp]: {boxes:0}"]})
    own = writer(server, language="German")
    written = own.write(made("Where is the polyp?", "Here is the polyp: {boxes:0}", facts=["present: polyp"]))
    assert (words(written.messages[-1]), written.language) == ("Der Polyp (polyp): {boxes:0}", "German")
    assert told(server.requests[-1])["texts"][1]["tags"] == ["polyp"]
    assert "Write in German" in server.requests[-1]["messages"][0]["content"]


def test_kinds_by_people_and_tools_are_left_alone(server: FakeOpenAIServer) -> None:
    own = writer(server)
    records = [made("Q?", "A polyp.", kind="vqa"), made("Which?", "B"), made("Q?", "A.", kind="tool_use")]
    assert own.write_many([records[0], records[2]]) == [records[0], records[2]]
    assert own.stats["not reworded: kind"] == 2
    assert not server.requests


def test_all_shares_of_a_budget_are_the_budget() -> None:
    shares = [divided(WriterConfig("http://x", "m", most_requests=50, most_tokens=1001), n, 100) for n in range(100)]
    assert sum(share.most_requests or 0 for share in shares) == 50
    assert sum(share.most_tokens or 0 for share in shares) == 1001
    assert {share.most_requests for share in shares} == {0, 1}


def test_replies_around_the_json() -> None:
    assert texts_of('<think>{no}</think>```json\n{"texts": ["a"]}\n```') == ["a"]
    assert texts_of('{"texts": [1]}') is None
    assert texts_of("no") is None


def test_templates_and_the_way_in(server: FakeOpenAIServer) -> None:
    record = drafts(2)[1]
    with open_writer(None, Library([])) as own:
        assert isinstance(own, TemplateWriter)
        assert own.write(record) is own.write_many([record])[0] is record
    with open_writer(WriterConfig(server.url, "fake", most_requests=5), Library([]), (0, 5)) as other:
        assert [r.writer for r in other.write_many(drafts(3))] == ["fake", "templates", "templates"]
