"""The generalist behind a server, against a fake one on loopback."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from assistant.collaboration.fitted import shipped
from assistant.errors import BadQuestion, BadReply, ServerUnreachable, ToolsUnsupported
from assistant.generalist.batching import LEFT
from assistant.generalist.boxes import JsonPixels
from assistant.generalist.open import NANO, open_generalist
from assistant.generalist.served import ServedGeneralist
from tests.fakes import FakeOpenAIServer

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUFB"}}
ASKED = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "Which?"}]}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "brain",
            "description": "Opinion",
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "similar_cases",
            "description": "Cases",
            "parameters": {"type": "object", "properties": {"k": {"type": "integer"}}, "required": []},
        },
    },
]
CALL = {
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "brain", "arguments": "{}"}}],
}


def _probabilities(scores: dict[str, float]) -> list[float]:
    return [round(math.exp(value), 3) for value in scores.values()]


def _opened(server: FakeOpenAIServer) -> ServedGeneralist:
    return ServedGeneralist(server.url, retries=0)


def test_letters_come_from_the_first_token():
    with FakeOpenAIServer("B", logprobs={"B": math.log(0.6), "A": math.log(0.2), "Z": -9.0}) as server:
        assert _probabilities(_opened(server).score(ASKED, ["A", "B"])) == [0.25, 0.75]
        (sent,) = server.requests
    assert sent["structured_outputs"] == {"choice": ["A", "B"]}
    assert sent["logprobs"] is True
    assert sent["max_completion_tokens"] == 1
    assert sent["model"] == "fake"
    assert sent["messages"][0]["content"][0] == IMAGE


def test_a_server_that_ignores_or_refuses_the_choice():
    top = {" A": math.log(0.3), "A": math.log(0.3), "B": math.log(0.2), "The": math.log(0.1)}
    with FakeOpenAIServer("The", logprobs=top) as server:
        assert _probabilities(_opened(server).score(ASKED, ["A", "B"])) == [0.75, 0.25]
        server.refused = {"structured_outputs"}
        assert _probabilities(_opened(server).score(ASKED, ["A", "B"])) == [0.75, 0.25]
        assert "structured_outputs" not in server.requests[-1]


def test_many_keep_their_order():
    with FakeOpenAIServer(logprobs={"A": math.log(0.6), "B": math.log(0.2)}) as server:
        many = _opened(server).score_many([ASKED] * 9, [["A", "B"], ["B", "A"], ["A", "C"]] * 3)
    assert [list(scores) for scores in many] == [["A", "B"], ["B", "A"], ["A", "C"]] * 3
    assert _probabilities(many[1]) == [0.25, 0.75]


def test_an_option_outside_the_list_is_at_most_as_likely_as_its_last():
    with FakeOpenAIServer("A", logprobs={"A": math.log(0.9), "x": math.log(0.1)}) as server:
        assert _probabilities(_opened(server).score(ASKED, ["A", "B"])) == [0.9, 0.1]


def test_texts_give_the_chosen_ones_probability():
    with FakeOpenAIServer("no tumour", logprobs={"no": math.log(0.8), "tumour": 0.0}) as server:
        scores = _opened(server).score(ASKED, ["glioma", "no tumour", "meningioma"])
    assert _probabilities(scores) == [0.1, 0.8, 0.1]


def test_scores_that_cannot_be():
    with FakeOpenAIServer("A") as server, pytest.raises(BadReply, match="no log-probabilities"):
        _opened(server).score(ASKED, ["A", "B"])
    with (
        FakeOpenAIServer("What?", logprobs={"What?": 0.0}) as server,
        pytest.raises(BadReply, match="none of the options"),
    ):
        _opened(server).score(ASKED, ["A", "B"])
    with pytest.raises(BadQuestion, match="two or more"):
        ServedGeneralist("http://127.0.0.1:9").score(ASKED, ["A"])


def test_text_and_streaming():
    with FakeOpenAIServer("It is a glioma.") as server:
        generalist = _opened(server)
        assert generalist.invoke(ASKED).content == "It is a glioma."
        pieces = [str(chunk.content) for chunk in generalist.stream(ASKED)]
        assert "".join(pieces) == "It is a glioma."
        assert len([piece for piece in pieces if piece]) == 4
        assert server.requests[0]["temperature"] == 0
        assert server.requests[1]["stream"] is True


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(streamed: bool):
    with FakeOpenAIServer(replies=[CALL]) as server:
        asked = _opened(server).bind_tools(TOOLS, tool_choice="any")
        if streamed:
            first, *rest = asked.stream(ASKED)
            reply = first
            for chunk in rest:
                reply = reply + chunk
        else:
            reply = asked.invoke(ASKED)
        assert isinstance(reply, AIMessage)
        assert [(call["name"], call["args"], call["id"]) for call in reply.tool_calls] == [
            ("brain", {}, "c1")
        ]
        sent = server.requests[0]
    assert sent["tool_choice"] == "required"
    assert sent["tools"][0]["function"]["strict"] is True
    assert sent["tools"][0]["function"]["parameters"]["additionalProperties"] is False
    assert "strict" not in sent["tools"][1]["function"]  # an optional argument: OpenAI's rules forbid it


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("choice", "names"), [(None, ["similar_cases"]), ("any", ["similar_cases"]),
                                               ("brain", ["brain"])])
def test_calls_are_held_to_what_was_said(tmp_path, streamed, choice, names):
    """As in this process: the tool that the question's words ask for, with numbers that it states."""
    (tmp_path / "consilium.json").write_text('{"arguments": "stated", "tools": "matched"}')
    with FakeOpenAIServer(replies=[CALL]) as server:
        server.owner, server.root = "vllm", str(tmp_path)
        asked = _opened(server).bind_tools(TOOLS, **({"tool_choice": choice} if choice else {}))
        question = "Show me 4 similar cases."
        _ = list(asked.stream(question)) if streamed else asked.invoke(question)
        (sent,) = server.requests
    assert (sent["tools"], sent["tool_choice"]) == (TOOLS, "auto")
    form = json.loads(sent["structured_outputs"]["structural_tag"])["format"]
    assert form["at_least_one"] is form["stop_after_first"] is (choice is not None)
    assert [json.loads(tag["begin"].removeprefix("<tool_call>\n") + "{}}")["name"] for tag in form["tags"]] == names
    schema = form["tags"][0]["content"]["json_schema"]
    assert schema["additionalProperties"] is False
    assert schema["properties"] == ({"k": {"enum": [4]}} if names == ["similar_cases"] else {})


@pytest.mark.parametrize("owner", ["vllm", "somebody"])
def test_calls_are_not_held_where_nothing_asks_for_it(tmp_path, owner):
    (tmp_path / "consilium.json").write_text('{"tools": "matched"}' if owner == "somebody" else "{}")
    with FakeOpenAIServer("no") as server:
        server.owner, server.root = owner, str(tmp_path)
        _opened(server).bind_tools(TOOLS).invoke("Show me similar cases.")
        assert "structured_outputs" not in server.requests[0]


def test_images_of_tools_go_to_a_user_turn():
    turns = [
        HumanMessage("?"),
        AIMessage("", tool_calls=[{"name": "brain", "args": {}, "id": "1", "type": "tool_call"}]),
        ToolMessage([{"type": "text", "text": "seen"}, IMAGE], tool_call_id="1"),
    ]
    with FakeOpenAIServer() as server:
        _opened(server).invoke(turns)
        sent = server.requests[0]["messages"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "tool", "user"]
    assert sent[2]["content"] == "seen"
    assert sent[3]["content"] == [IMAGE]


def test_no_server():
    with FakeOpenAIServer() as server:
        url = server.url
    for model in (None, "fake"):
        with pytest.raises(ServerUnreachable, match="is it running"):
            ServedGeneralist(url, model, retries=0).invoke(ASKED)
    with pytest.raises(ServerUnreachable, match="is it running"):
        list(ServedGeneralist(url, "fake", retries=0).stream(ASKED))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, BadReply, "400"),
        (401, BadReply, "CONSILIUM_API_KEY"),
        (404, BadReply, "fake"),
        (500, BadReply, "500"),
        (503, ServerUnreachable, "try again"),
    ],
)
def test_statuses_say_what_to_do(status: int, kind: type[Exception], words: str):
    with FakeOpenAIServer(replies=[status, status]) as server:
        generalist = _opened(server)
        with pytest.raises(kind, match=words):
            generalist.invoke(ASKED)
        with pytest.raises(kind, match=words):
            list(generalist.stream(ASKED))


def test_a_busy_server_is_asked_again():
    with FakeOpenAIServer("yes", replies=[503]) as server:
        assert ServedGeneralist(server.url, retries=1).invoke(ASKED).content == "yes"
        assert len(server.requests) == 2


def test_a_server_without_tools():
    with FakeOpenAIServer() as server:
        server.refused = {"tools"}
        with pytest.raises(ToolsUnsupported, match="enable-auto-tool-choice"):
            _opened(server).bind_tools(TOOLS).invoke(ASKED)


def test_a_stream_that_breaks_off():
    with FakeOpenAIServer("It is a glioma.", chunks=2) as server, pytest.raises(BadReply, match="broke off"):
        list(_opened(server).stream(ASKED))


def test_something_that_is_no_chat_server():
    with FakeOpenAIServer() as server, pytest.raises(BadReply, match="/v1"):
        ServedGeneralist(server.url.replace("/v1", "/other"), retries=0).invoke(ASKED)


def test_addresses_and_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "not for you")
    with FakeOpenAIServer() as server:
        host = server.url.removesuffix("/v1")
        generalist = ServedGeneralist(host + "/", "Qwen/Qwen2.5-VL-7B-Instruct", retries=0)
        assert generalist.revision() == {
            "model": "Qwen/Qwen2.5-VL-7B-Instruct",
            "url": server.url,
            "adapter": None,
        }
        assert isinstance(generalist.boxes, JsonPixels)
        generalist.invoke(ASKED)
        ServedGeneralist(host, api_key="mine", retries=0).invoke(ASKED)
        assert [headers["authorization"] for headers in server.headers] == ["Bearer none", "Bearer mine"]
        assert "mine" not in json.dumps(server.requests)
    assert "mine" not in repr(ServedGeneralist(host, api_key="mine"))
    with pytest.raises(BadQuestion, match="address"):
        ServedGeneralist("ftp://somewhere")


def test_weights_behind_a_server_are_known_where_its_folder_is_here(monkeypatch: pytest.MonkeyPatch):
    with FakeOpenAIServer() as server:
        server.root = str(NANO)
        served, local = ServedGeneralist(server.url, retries=0).revision(), open_generalist(None).revision()
        assert served["sha256"] == local["sha256"]
        assert shipped().fits(served) is shipped().fits(local) is True
        assert not shipped().fits({**served, "sha256": "0" * 64})
        monkeypatch.setattr("assistant.generalist.served.MOST_HASHED", 1000)
        assert "sha256" not in ServedGeneralist(server.url, retries=0).revision()


def test_many_are_answered_at_the_same_time_in_their_order():
    meeting, most, under_way = threading.Barrier(4), [0], [0]
    counting = threading.Lock()

    def answer(body: Mapping[str, Any]) -> str:
        with counting:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        meeting.wait(20)        # nobody is answered before four have asked
        with counting:
            under_way[0] -= 1
        return f"reply to {body['messages'][0]['content']}"
    with FakeOpenAIServer() as server:
        server.answer = answer
        generalist = ServedGeneralist(server.url, retries=0, parallel=4)
        replies = generalist.reply_many([[HumanMessage(f"{i}")] for i in range(8)], tools=TOOLS, max_tokens=5)
        assert [reply.text for reply in replies] == [f"reply to {i}" for i in range(8)]
        assert most == [4]
        assert all(len(sent["tools"]) == 2 and sent["max_completion_tokens"] == 5 for sent in server.requests)
        server.answer = lambda body: 500 if body["messages"][0]["content"] == "1" else "yes"
        with pytest.raises(BadReply):
            generalist.reply_many([[HumanMessage(f"{i}")] for i in range(4)])


def test_who_leaves_lets_go_of_the_server():
    left: Future[None] = Future()
    token = LEFT.set(left)
    try:
        with FakeOpenAIServer("a long reply") as server:
            generalist = _opened(server)
            assert generalist.invoke(ASKED).text == "a long reply"
            assert server.requests[-1]["stream"] is True
            left.set_result(None)
            with pytest.raises(CancelledError):
                generalist.invoke(ASKED)
    finally:
        LEFT.reset(token)
