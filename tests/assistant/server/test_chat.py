"""Chat with the generalist as it is, and what a consultation's text and object hold: tools, JSON, overlays, limits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from assistant.assistant import Assistant
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.server import wire
from tests.assistant import stand_ins
from tests.assistant.server.test_app import create, data_url, started, turn
from tests.fakes import FakeOpenAIServer, tiny_qwen3vl

WEATHER = {"type": "function", "function": {
    "name": "bed_free", "description": "Whether a ward has a free bed.",
    "parameters": {"type": "object", "properties": {"ward": {"type": "string"}}, "required": ["ward"]}}}
CALL = AIMessage("I look it up.", tool_calls=[{"name": "bed_free", "args": {"ward": "B"}, "id": "c1"}])
FINDING = {"type": "object", "properties": {"sure": {"type": "boolean"}, "grade": {"enum": [1, 2]}},
           "required": ["sure", "grade"], "additionalProperties": False}
JSON = {"type": "json_schema", "json_schema": {"name": "finding", "schema": FINDING, "strict": True}}


@pytest.fixture
def script() -> ScriptedGeneralist:
    return ScriptedGeneralist(scores={"A": 0.9, "B": 0.1})


@pytest.fixture
def client(script: ScriptedGeneralist, tmp_path: Path) -> Iterator[openai.OpenAI]:
    with started(Assistant(generalist=script, home=tmp_path)) as url, \
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A client of a real, if tiny, local generalist."""
    root = tmp_path_factory.mktemp("local")
    generalist = LocalGeneralist(tiny_qwen3vl(root / "tiny"), max_new_tokens=8)
    with started(Assistant(generalist=generalist, home=root / "home")) as url, \
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_clients_tool_is_called_by_the_generalist_and_run_by_the_client(
        client: openai.OpenAI, script: ScriptedGeneralist) -> None:
    script._replies += [CALL, "Ward B has a bed."]
    question = {"role": "user", "content": "Is a bed free in ward B?"}
    asked = create(client, {"role": "system", "content": "Be brief."}, question, tools=[WEATHER])
    choice = asked.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look it up.")
    call = choice.message.tool_calls[0]
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("c1", "bed_free", {"ward": "B"})
    told = create(client, question, choice.message.model_dump(exclude_none=True),
                  {"role": "tool", "tool_call_id": call.id, "content": "yes"}, tools=[WEATHER])
    assert told.choices[0].message.content == "Ward B has a bed."
    assert script.seen[0].tools == ("bed_free",)
    assert script.seen[0].text.startswith("Be brief.")
    assert [m.type for m in script.seen[1].messages] == ["human", "ai", "tool"]


@pytest.mark.parametrize(("arguments", "read"), [("", {}), (" ", {}), ('{"ward": "B"}', {"ward": "B"}), ("{bad", None),
                                                 ("[1]", None), ("null", None), ("[" * 100_000, None)])
def test_arguments_of_an_earlier_call_are_a_json_object(client: openai.OpenAI, script: ScriptedGeneralist,
                                                        arguments: str, read: Any) -> None:
    script._replies.append("Yes.")
    call = {"id": "c1", "type": "function", "function": {"name": "bed_free", "arguments": arguments}}
    told = [{"role": "user", "content": "Free?"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "yes"}]
    if read is None:
        with pytest.raises(openai.BadRequestError, match="'bed_free'.* wanted a JSON object") as caught:
            create(client, *told)
        assert caught.value.param == "messages"
    else:
        create(client, *told)
        called: Any = script.seen[0].messages[1]
        assert called.tool_calls[0]["args"] == read


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_a_time_where_the_client_wants_that(client: openai.OpenAI, script: ScriptedGeneralist,
                                                        stream: bool) -> None:
    script._replies.append(AIMessage("", tool_calls=[
        {"name": "bed_free", "args": {"ward": ward}, "id": ward} for ward in "AB"]))
    made = create(client, turn("Free?"), tools=[WEATHER], parallel_tool_calls=False, stream=stream)
    calls = ([call for c in made for call in c.choices[0].delta.tool_calls or ()] if stream
             else made.choices[0].message.tool_calls)
    assert [call.id for call in calls] == ["A"]


def test_a_streamed_call_comes_as_a_delta(client: openai.OpenAI, script: ScriptedGeneralist) -> None:
    script._replies.append(CALL)
    chunks = list(create(client, turn("Is a bed free?", data_url()), tools=[WEATHER], stream=True))
    deltas = [c.choices[0].delta for c in chunks]
    assert "".join(d.content or "" for d in deltas) == "I look it up."
    called = [call for d in deltas for call in d.tool_calls or ()]
    assert [(c.index, c.id, c.function.name, c.function.arguments) for c in called] == [
        (0, "c1", "bed_free", '{"ward": "B"}')]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_an_image_in_a_talk_is_shown_without_its_metadata(client: openai.OpenAI, script: ScriptedGeneralist) -> None:
    script._replies.append("Gray.")
    create(client, turn("What color?", data_url()), tools=[WEATHER], tool_choice="none")
    (image, words), = [m.content for m in script.seen[0].messages]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert words["text"] == "What color?"
    assert script.seen[0].tools == ()


def test_a_talk_without_an_image_goes_to_the_generalist(client: openai.OpenAI, script: ScriptedGeneralist) -> None:
    script._replies += ["Good day.", "One.", "Two."]
    assert create(client, {"role": "user", "content": "Hello"}).choices[0].message.content == "Good day."
    two = create(client, {"role": "user", "content": "Count"}, n=2)
    assert [(c.index, c.message.content) for c in two.choices] == [(0, "One."), (1, "Two.")]


def test_json_of_a_schema_is_written_by_a_local_generalist(local: openai.OpenAI) -> None:
    said = turn("How sure?", data_url())
    found = json.loads(create(local, said, response_format=JSON, max_tokens=40).choices[0].message.content)
    assert set(found) == {"sure", "grade"}
    assert (type(found["sure"]), found["grade"] in (1, 2)) == (bool, True)
    chunks = list(create(local, said, response_format=JSON, max_tokens=40, stream=True))
    assert json.loads("".join(c.choices[0].delta.content or "" for c in chunks)) == found
    with pytest.raises(openai.BadRequestError, match="response_format"):
        create(local, said, response_format={"type": "json_schema", "json_schema": {
            "name": "x", "schema": {"type": "no such type"}}})


def test_the_openai_client_parses_into_a_pydantic_model(local: openai.OpenAI) -> None:
    class Finding(BaseModel):
        sure: bool

    said: Any = [turn("How sure?", data_url())]
    parsed = local.chat.completions.parse(model="consilium", messages=said, response_format=Finding, max_tokens=40)
    assert isinstance(parsed.choices[0].message.parsed, Finding)


def test_log_probabilities_of_tokens_are_those_of_the_generalist(local: openai.OpenAI) -> None:
    reply = create(local, turn("Which?", data_url()), logprobs=True, top_logprobs=2, max_tokens=4)
    content = reply.choices[0].logprobs.content
    assert "".join(t.token for t in content).strip() == reply.choices[0].message.content
    assert all(t.top_logprobs[0].logprob == pytest.approx(t.logprob) for t in content)   # greedy: the likeliest
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 4
    assert reply.usage.prompt_tokens > 8


def test_log_probabilities_of_options_are_those_of_the_decision(client: openai.OpenAI) -> None:
    reply = create(client, turn("Which?", data_url()), model="consilium-generalist", logprobs=True,
                   extra_body={"consilium": {"options": ["glioma", "no tumour"]}})
    only, = reply.choices[0].logprobs.content
    assert only.token == reply.consilium["label"]
    assert math.exp(only.logprob) == pytest.approx(0.9)
    assert {t.token: math.exp(t.logprob) for t in only.top_logprobs} == pytest.approx(reply.consilium["options"])


@pytest.mark.parametrize(("more", "text", "finish"), [
    ({"stop": "gold"}, "A ring of", "stop"), ({"max_completion_tokens": 3}, "A ring of", "length"),
    ({"max_tokens": 400}, "A ring of gold.", "stop")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_consultations_text_ends_where_the_request_says(
        client: openai.OpenAI, script: ScriptedGeneralist, more: dict[str, Any], text: str, finish: str,
        stream: bool) -> None:
    script._replies.append("A ring of gold.")
    reply = create(client, turn("What?", data_url()), model="consilium-generalist", stream=stream, **more)
    if stream:
        chunks = list(reply)
        found, end = "".join(c.choices[0].delta.content or "" for c in chunks), chunks[-1].choices[0].finish_reason
        whole = chunks[-1].consilium
    else:
        found, end, whole = reply.choices[0].message.content, reply.choices[0].finish_reason, reply.consilium
    assert (found.split("\n\n")[0].strip(), end) == (text, finish)
    assert whole["text"].startswith("A ring of gold.")


def test_overlays_are_markdown_images_and_runs_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = stand_ins.install(monkeypatch)
    zoo.kind = "breast ultrasound"
    script = ScriptedGeneralist(["It shows a lesion.", "Yes.", "Yes."])
    png = data_url(height=32)
    with started(Assistant(generalist=script, home=tmp_path)) as url, \
            openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        full = {"consilium": {"collaboration": "full"}}
        first = create(client, turn("What?", png), extra_body=full)
        text = first.choices[0].message.content
        more = create(client, turn("What?", png), {"role": "assistant", "content": text}, turn("Sure?"),
                      extra_body={"consilium": {"collaboration": "full", "overlays": False}})
        less = create(client, turn("What?", png), extra_body={"consilium": {**full["consilium"], "detail": "less"}})
    assert "![Found by breast_lesion_unet](data:image/jpeg;base64," in text
    assert "base64" not in first.consilium["text"]
    mask, = first.consilium["masks"]
    assert (mask["label"], mask["rle"]["size"]) == ("lesion", [32, 32])
    assert "data:image" not in more.choices[0].message.content
    assert not any("jpeg;base64" in seen.text for seen in script.seen), "a picture of an earlier answer came back"
    assert set(less.consilium) == {"label", "confidence", "refer", "refer_reason", "kind", "trace_id", "notice",
                                   "ignored"}


def test_a_generalist_on_a_server_gets_all_that_it_can_do(tmp_path: Path) -> None:
    reply = {"content": None, "tool_calls": [{"id": "c7", "type": "function", "function": {
        "name": "bed_free", "arguments": '{"ward": "B"}'}}]}
    with FakeOpenAIServer("Yes.", replies=[reply, '{"sure": true, "grade": 1}', "Hm."],
                          logprobs={"Hm.": -0.1}) as server:
        consilium = Assistant(f"{server.url}#fake", home=tmp_path)
        with started(consilium) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            called = create(client, turn("Free?", data_url()), tools=[WEATHER], tool_choice="auto", temperature=0.5)
            create(client, turn("Sure?", data_url()), response_format=JSON, stop=["x"], seed=7, max_tokens=9)
    assert called.choices[0].message.tool_calls[0].id == "c7"
    tools, form = server.requests
    assert (tools["tools"][0]["function"]["name"], tools["temperature"]) == ("bed_free", 0.5)
    assert form["response_format"]["json_schema"]["schema"] == FINDING
    assert (form["stop"], form["seed"], form["max_completion_tokens"]) == (["x"], 7, 9)


def test_langchains_client_works_as_with_openai(client: openai.OpenAI, script: ScriptedGeneralist) -> None:
    script._replies += [CALL, "Good day.", "It shows a ring.", "It shows a ring."]
    chat: Any = ChatOpenAI(model="consilium", base_url=str(client.base_url), api_key="none", max_retries=0)
    called = chat.bind_tools([WEATHER]).invoke("Is a bed free?")
    assert called.tool_calls[0]["args"] == {"ward": "B"}
    assert "".join(str(c.content) for c in chat.stream("Hello")) == "Good day."
    image: Any = HumanMessage([{"type": "text", "text": "What?"}, {"type": "image_url",
                                                                  "image_url": {"url": data_url()}}])
    assert "It shows a ring." in chat.invoke([image]).content


@pytest.mark.parametrize("text", ["![" * 20_000, "\n" * 20_000, "![a](data:image/" * 5_000, "![" + "a" * 20_000])
def test_what_only_begins_like_a_picture_stays(text: str) -> None:
    """Also where it does so twenty thousand times: a pattern that looked ahead from each took seconds."""
    assert wire.OVERLAY.sub("", text) == text
    drawn = "\n\n![Found by a](data:image/jpeg;base64,QUJD)\n\n![Found by b](data:image/png;x)"
    assert wire.OVERLAY.sub("", f"Seen.{drawn}") == "Seen."
