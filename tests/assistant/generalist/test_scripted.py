"""The generalist that follows a script."""

from __future__ import annotations

import math

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from assistant.errors import ServerUnreachable
from assistant.generalist.scripted import ScriptedGeneralist

CALL = AIMessage("Ask.", tool_calls=[{"name": "brain", "args": {"k": 1}, "id": "1", "type": "tool_call"}])
TOOLS = [
    {
        "type": "function",
        "function": {"name": "brain", "description": "", "parameters": {"type": "object", "properties": {}}},
    }
]


def test_replies_in_their_order():
    generalist = ScriptedGeneralist(
        ["one", CALL, lambda messages: messages[-1].text.upper(), ServerUnreachable("gone")]
    )
    assert generalist.invoke("a").content == "one"
    assert generalist.bind_tools(TOOLS).invoke("b").tool_calls[0]["name"] == "brain"
    assert generalist.invoke("c").content == "C"
    with pytest.raises(ServerUnreachable):
        generalist.invoke("d")
    with pytest.raises(IndexError, match="no replies left"):
        generalist.invoke("e")
    assert [seen.text for seen in generalist.seen] == ["a", "b", "c", "d", "e"]
    assert generalist.seen[1].tools == ("brain",)


def test_streams_word_by_word():
    chunks = list(ScriptedGeneralist([CALL.model_copy(update={"content": "Let me ask."})]).stream("?"))
    assert [chunk.content for chunk in chunks if chunk.content] == ["Let ", "me ", "ask."]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert isinstance(whole, AIMessage)
    assert whole.tool_calls[0]["args"] == {"k": 1}


@pytest.mark.parametrize(
    "scores",
    [
        {"A": 3, "B": 1},
        {"A": math.log(0.75), "B": math.log(0.25)},
        lambda messages, options: {options[0]: 0.75, options[1]: 0.25},
    ],
    ids=["shares", "logs", "function"],
)
def test_scores_of_every_kind(scores):
    generalist = ScriptedGeneralist(scores=scores)
    for _ in range(2):
        assert math.exp(generalist.score([HumanMessage("?")], ["A", "B"])["A"]) == pytest.approx(0.75)


def test_scores_of_a_queue_run_out():
    generalist = ScriptedGeneralist(scores=[{"A": 1.0}])
    scores = generalist.score([{"role": "user", "content": "?"}], ["A", "B"])
    assert scores["A"] > math.log(0.999)
    with pytest.raises(IndexError, match="no scores left"):
        generalist.score([HumanMessage("?")], ["A", "B"])
    assert generalist.seen[0].options == ("A", "B")


def test_score_many_takes_them_one_by_one():
    generalist = ScriptedGeneralist(scores=[{"A": 1}, {"B": 1}])
    first, second = generalist.score_many([[HumanMessage("1")], [HumanMessage("2")]], [["A", "B"]] * 2)
    assert first["A"] > first["B"]
    assert second["B"] > second["A"]
