"""Responses, files and embeddings through the stock openai client; each key sees its own alone."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from langchain_core.messages import AIMessage

from assistant.assistant import Assistant
from assistant.errors import NotFound
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.server import embeddings
from assistant.server.app import Limits
from assistant.server.asked import Reply
from assistant.server.keys import Key, hashed
from assistant.server.responses_wire import Envelope, ResponsesRequest
from assistant.server.store import Store
from specialists.core import registry
from specialists.core.errors import BadData
from tests.assistant.server.test_app import create, data_url, started
from tests.assistant.server.test_chat import CALL, FINDING

TOOL: dict[str, Any] = {"type": "function", "name": "bed_free", "parameters": {"type": "object", "properties": {}}}
PNG = base64.b64decode(data_url(200).partition(",")[2])


@pytest.fixture
def script() -> ScriptedGeneralist:
    return ScriptedGeneralist()


@pytest.fixture
def url(script: ScriptedGeneralist, tmp_path: Path) -> Iterator[str]:
    keys = [Key(name, hashed(name)) for name in ("anna", "bert")]
    consilium = Assistant(generalist=script, home=tmp_path)
    with started(consilium, keys=keys, limits=Limits(file_bytes=5000)) as url:
        yield url


@pytest.fixture
def anna(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="anna", max_retries=0) as client:
        yield client


@pytest.fixture
def bert(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="bert", max_retries=0) as client:
        yield client


def shown(text: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an input with parts and a text."""
    return [{"role": "user", "content": [*parts, {"type": "input_text", "text": text}]}]


IMAGE = {"type": "input_image", "image_url": data_url()}


def test_a_response_goes_on_from_an_earlier_one(anna: Any, bert: Any, script: ScriptedGeneralist) -> None:
    script._replies += ["A ring.", "Left.", "Right."]
    first = anna.responses.create(model="consilium-generalist", input=shown("What?", IMAGE))
    assert first.output_text.startswith("A ring.")
    assert (first.status, first.consilium["text"]) == ("completed", first.output_text)
    more = {"model": "consilium-generalist", "previous_response_id": first.id}
    second = anna.responses.create(input="Where?", **more)
    assert second.output_text.startswith("Left.")
    assert [m.type for m in script.seen[1].messages] == ["system", "human", "ai", "human"]
    assert "A ring." in script.seen[1].text
    other = anna.responses.create(input="Which side?", **more)     # a branch: the second turn is not in it
    assert other.output_text.startswith("Right.")
    assert "Where?" not in script.seen[2].text
    assert anna.responses.retrieve(second.id).output_text == second.output_text
    with pytest.raises(openai.NotFoundError):
        bert.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        bert.responses.create(input="Where?", **more)
    anna.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        anna.responses.retrieve(second.id)
    script._replies.append("Good day.")
    unkept = anna.responses.create(model="consilium", input="Hello", store=False)
    with pytest.raises(openai.NotFoundError):
        anna.responses.retrieve(unkept.id)


def test_a_streamed_response_has_its_events_in_order(anna: Any, script: ScriptedGeneralist) -> None:
    script._replies.append("A thin ring.")
    events = list(anna.responses.create(model="consilium-generalist", input=shown("What?", IMAGE), stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(e.type.removeprefix("response.") for e in events))
    assert kinds == ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
                     "output_text.done", "content_part.done", "output_item.done", "completed"]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    assert anna.responses.retrieve(events[-1].response.id).output_text == text


def test_tools_and_json_pass_through_responses(anna: Any, script: ScriptedGeneralist) -> None:
    script._replies += [CALL, AIMessage("", tool_calls=CALL.tool_calls), "Yes.", '{"sure": true, "grade": 1}']
    events = list(anna.responses.create(model="consilium", input="Is a bed free?", tools=[TOOL], stream=True))
    message, call = events[-1].response.output
    assert message.content[0].text == "I look it up."
    assert (call.type, call.call_id, call.arguments) == ("function_call", "c1", '{"ward": "B"}')
    assert "response.function_call_arguments.done" in {e.type for e in events}
    only, = anna.responses.create(model="consilium", input="Again?", tools=[TOOL]).output
    assert only.type == "function_call"
    told = anna.responses.create(model="consilium", tools=[TOOL], previous_response_id=events[-1].response.id, input=[
        {"type": "function_call_output", "call_id": "c1", "output": "yes"}])
    assert told.output_text == "Yes."
    assert [m.type for m in script.seen[2].messages] == ["human", "ai", "tool"]
    form = {"format": {"type": "json_schema", "name": "finding", "schema": FINDING}}
    assert anna.responses.create(model="consilium", input="How sure?", text=form, instructions="Be brief."
                                 ).output_text == '{"sure": true, "grade": 1}'
    assert script.seen[-1].text.startswith("Be brief.")


@pytest.mark.parametrize(("more", "param"), [
    ({"input": []}, "input"), ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input"),
    ({"input": [{"content": "Hi"}]}, "input"), ({"input": "Hi", "tools": [{"type": "web_search"}]}, "tools"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": data_url()}}]}]},
     "input.0.content.0.image_url"),
    ({"input": [{"role": "user", "content": ["Hi"]}]}, "input.0.content.0"),
    ({"input": [{"role": "user", "content": "Hi"}, {"type": "function_call", "call_id": "c", "name": "f",
                                                    "arguments": "[1]"}]}, "messages"),
    ({"input": "Hi", "top_logprobs": 2}, "top_logprobs")])
def test_what_responses_lack_is_refused(anna: Any, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        anna.responses.create(model="consilium", **more)
    assert str(caught.value.param).startswith(param)


def test_what_only_a_chat_has_is_named_and_has_no_effect(anna: Any, script: ScriptedGeneralist) -> None:
    script._replies += ["Yes.", AIMessage("", tool_calls=[{**CALL.tool_calls[0], "id": name} for name in "AB"])]
    extra = {"n": 3, "messages": [{"role": "user", "content": "Other?"}], "stop": "Y", "reasoning": {}}
    made = anna.responses.create(model="consilium", input="Sure?", extra_body=extra, text={"verbosity": "low"},
                                 include=["reasoning.encrypted_content"])
    assert made.output_text == "Yes."
    assert made.consilium["ignored"] == ["messages", "n", "reasoning", "stop", "text.verbosity",
                                         "include: reasoning.encrypted_content"]
    assert script.seen[0].text == "Sure?"
    one = anna.responses.create(model="consilium", input="Free?", tools=[TOOL], parallel_tool_calls=False)
    assert ([call.call_id for call in one.output], one.parallel_tool_calls) == (["A"], False)


def test_log_probabilities_are_included_where_they_are_asked_for(anna: Any, script: ScriptedGeneralist) -> None:
    top = [{"token": "Yes", "logprob": -0.1, "bytes": [89]}]
    script._replies.append(AIMessage("Yes", response_metadata={"logprobs": {"content": [
        {**top[0], "top_logprobs": top}]}}))
    made = anna.responses.create(model="consilium", input="Sure?", include=["message.output_text.logprobs"],
                                 top_logprobs=1)
    token, = made.output[0].content[0].logprobs
    assert (token.token, token.logprob, token.top_logprobs[0].token) == ("Yes", -0.1, "Yes")
    assert made.top_logprobs == 1
    assert made.consilium["ignored"] == []
    envelope = Envelope(ResponsesRequest(model="consilium", input="Sure?"), 0, ())
    streamed = {e["type"]: e for e in envelope.pieces(Reply("Yes", logprobs=tuple(top)), began=False)}
    assert streamed["response.output_text.done"]["logprobs"] == top
    assert streamed["response.content_part.done"]["part"]["logprobs"] == top
    assert streamed["response.content_part.added"]["part"]["logprobs"] == []


def test_files_are_listed_by_purpose_and_page_by_page(anna: Any) -> None:
    kept = [anna.files.create(file=(f"{number}.png", PNG), purpose=purpose).id
            for number, purpose in enumerate(["vision", "user_data", "vision", "vision"])]
    first = anna.files.list(limit=2)
    assert ([f.id for f in first.data], first.has_more) == ([kept[3], kept[2]], True)
    assert [f.id for f in anna.files.list(limit=1)] == kept[::-1], "the client turns the pages"
    assert [f.id for f in anna.files.list(order="asc", after=kept[1])] == kept[2:]
    assert [f.id for f in anna.files.list(purpose="user_data")] == [kept[1]]
    for wrong in ({"limit": 0}, {"after": "none"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError) as caught:
            anna.files.list(**wrong)
        assert caught.value.param in wrong


def test_a_file_is_seen_by_its_own_key_alone(anna: Any, bert: Any, script: ScriptedGeneralist) -> None:
    kept = anna.files.create(file=("scan.png", PNG), purpose="user_data")
    assert (kept.bytes, kept.filename, kept.status) == (len(PNG), "scan.png", "processed")
    assert [f.id for f in anna.files.list()] == [kept.id]
    assert anna.files.content(kept.id).read() == PNG
    assert list(bert.files.list()) == []
    for forbidden in (bert.files.retrieve, bert.files.content, bert.files.delete):
        with pytest.raises(openai.NotFoundError):
            forbidden(kept.id)
    script._replies += ["A ring."] * 3
    part = {"type": "file", "file": {"file_id": kept.id}}
    asked = {"role": "user", "content": [part, {"type": "text", "text": "What?"}]}
    with pytest.raises(openai.NotFoundError):
        create(bert, asked, model="consilium-generalist")
    create(anna, asked, model="consilium-generalist")
    anna.responses.create(model="consilium-generalist", input=shown("What?", {"type": "input_file",
                                                                              "file_id": kept.id}))
    inline = {"type": "file", "file": {"filename": "a.png", "file_data": data_url()}}
    create(anna, {"role": "user", "content": [inline, {"type": "text", "text": "?"}]}, model="consilium-generalist")
    assert len(script.seen) == 3
    with pytest.raises(openai.BadRequestError, match="allowed are 5000"):
        anna.files.create(file=("large.nii.gz", b"x" * 5000), purpose="user_data")
    assert anna.files.delete(kept.id).deleted
    assert list(anna.files.list()) == []


def test_embeddings_of_texts_and_images(anna: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "triage", lambda: SimpleNamespace(
        embed_many=lambda studies: np.stack([np.full(4, study.pixels.mean()) for study in studies])))
    monkeypatch.setattr(embeddings, "_encoder", lambda: SimpleNamespace(
        encode=lambda texts: np.array([[3.0, len(t)] for t in texts], np.float32)))
    found = anna.embeddings.create(model="consilium", input=["ring", data_url(51)])     # the client asks for base64
    assert found.data[0].embedding == pytest.approx([0.6, 0.8])
    assert found.data[1].embedding == pytest.approx([0.2] * 4, abs=1e-6)
    assert found.consilium["spaces"] == ["text: all-MiniLM-L6-v2", "image: triage"]
    plain = anna.embeddings.create(model="consilium", input="ring", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx([0.6, 0.8])
    with pytest.raises(openai.BadRequestError, match="empty"):
        anna.embeddings.create(model="consilium", input=" ")
    half = httpx.post(f"{anna.base_url}embeddings", content=json.dumps({"model": "consilium", "input": "half \ud83d"}),
                      headers={"Authorization": "Bearer anna", "Content-Type": "application/json"})
    assert half.json()["data"][0]["embedding"] == pytest.approx([3 / 45 ** 0.5, 6 / 45 ** 0.5])
    with pytest.raises(openai.BadRequestError, match="wanted an object with url") as caught:
        anna.embeddings.create(model="consilium", input=[{"type": "image_url", "image_url": data_url()}])
    assert caught.value.param == "input.0.image_url"

    def missing() -> Any:
        raise BadData("needs sentence_transformers; pip install -e '.[text]'")
    monkeypatch.setattr(embeddings, "_encoder", missing)
    with pytest.raises(openai.BadRequestError, match="pip install"):
        anna.embeddings.create(model="consilium", input="ring")


def test_what_is_kept_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(Assistant(generalist=ScriptedGeneralist(["Hm."]), home=tmp_path)) as url, \
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        kept = client.files.create(file=io.BytesIO(PNG), purpose="vision")
        response = client.responses.create(model="consilium", input="Hello")
        on_disk = tmp_path / "server" / "files" / kept.id
        assert on_disk.stat().st_mode & 0o77 == 0
        now = time.time()
        monkeypatch.setattr("assistant.server.store.time.time", lambda: now + 25 * 3600)
        assert list(client.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id)
        assert not on_disk.exists()


def test_responses_make_room_and_what_an_earlier_run_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Store(tmp_path, most_bytes=5000, hours=1)
    said = [{"role": "user", "content": "x" * 2000}]
    for number in range(5):
        kept.remember("anna", {"id": f"r{number}"}, said)
    kept.remember("ben", {"id": "his"}, said)
    assert kept.response("anna", "r4") == ({"id": "r4"}, said)
    assert kept.response("anna", "r3")
    assert kept.response("ben", "his")
    for number in range(3):
        with pytest.raises(NotFound, match="up to 5000 bytes"):
            kept.response("anna", f"r{number}")
    uploaded = kept.add("anna", "a.png", "vision", b"x")
    (tmp_path / "files" / "half").write_bytes(b"x")
    later = time.time() + 2 * 3600
    monkeypatch.setattr("assistant.server.store.time.time", lambda: later)
    Store(tmp_path, most_bytes=5000, hours=1)
    assert not list((tmp_path / "files").iterdir()), uploaded


def test_a_server_that_starts_removes_old_uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "server"
    uploaded = Store(home, most_bytes=5000, hours=24).add("", "a.png", "vision", b"x")
    later = time.time() + 25 * 3600
    monkeypatch.setattr("assistant.server.store.time.time", lambda: later)
    with started(Assistant(generalist=ScriptedGeneralist(["Hm."]), home=tmp_path)):
        until = time.monotonic() + 10
        while (home / "files" / uploaded.id).exists():
            assert time.monotonic() < until
            time.sleep(0.01)
