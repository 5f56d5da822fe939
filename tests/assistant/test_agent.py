"""Tests of the loop over LangChain's agent."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage

from assistant import agent, tools
from assistant.errors import ServerUnreachable
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.steps import Evidence, Observation, TextDelta, ToolCall
from tests.assistant.stand_ins import install, study

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]


def asks(*calls: tuple[str, dict], text: str = "") -> AIMessage:
    return AIMessage(text, tool_calls=[{"id": f"{name}-{i}", "name": name, "args": given, "type": "tool_call"}
                                       for i, (name, given) in enumerate(calls)])


def steps_of(replies, monkeypatch, rounds=6, first=()):
    install(monkeypatch)
    generalist = ScriptedGeneralist(replies)
    offered = tools.langchain_tools(study(), ["brain_mri_hybrid", "brain_mri_residual"], domain="brain_mri")
    collaboration = agent.Collaboration(lambda: (PROMPT, first), rounds)
    return list(agent.run(generalist, offered, collaboration)), generalist, collaboration


def text_of(steps):
    return "".join(s.text for s in steps if isinstance(s, TextDelta))


def test_plain_text_is_streamed(monkeypatch):
    steps, generalist, _ = steps_of(["It is a glioma."], monkeypatch)
    assert len(steps) > 1
    assert text_of(steps) == "It is a glioma."
    assert [m.text for m in generalist.seen[0].messages] == ["Be brief.", "What is it?"]
    assert generalist.seen[0].tools == ("brain_mri_hybrid", "brain_mri_residual", "similar_cases")


def test_calls_and_observations_in_order(monkeypatch):
    replies = [asks(("brain_mri_hybrid", {}), ("similar_cases", {"k": 1})), "A glioma."]
    steps, generalist, collaboration = steps_of(replies, monkeypatch)
    kinds = [type(s) for s in steps if not isinstance(s, TextDelta)]
    assert kinds == [ToolCall, ToolCall, Observation, Observation]
    observations = [s for s in steps if isinstance(s, Observation)]
    assert observations[0].finding is not None
    assert observations[1].cases[0].id == "c0"
    assert observations[0].error is None
    assert text_of(steps) == "A glioma."
    assert len(collaboration.results) == 2
    assert "glioma 70" in generalist.seen[1].text


def test_unknown_tools_and_bad_arguments_are_observations_and_the_loop_goes_on(monkeypatch):
    replies = [asks(("lesion_finder", {}), ("similar_cases", {"k": 900})), "I do not know."]
    steps, _, _ = steps_of(replies, monkeypatch)
    errors = [s.error for s in steps if isinstance(s, Observation)]
    assert "lesion_finder" in errors[0]
    assert "1 to 50" in errors[1]
    assert text_of(steps) == "I do not know."


def test_a_call_that_cannot_be_read_is_answered(monkeypatch):
    bad = AIMessage("", invalid_tool_calls=[{"id": "x", "name": "similar_cases", "args": "k=3", "type":
                                             "invalid_tool_call", "error": "no JSON"}])
    steps, generalist, _ = steps_of([bad, "Well."], monkeypatch)
    observations = [s for s in steps if isinstance(s, Observation)]
    assert [(o.call_id, o.error) for o in observations] == [("x", "Error: the arguments are no JSON object.")]
    assert text_of(steps) == "Well."
    assert len(generalist.seen) == 2


def test_the_last_round_is_offered_no_tools(monkeypatch):
    replies = [asks(("brain_mri_hybrid", {})), asks(("brain_mri_hybrid", {})),
               asks(("brain_mri_hybrid", {}), text="Enough.")]
    steps, generalist, _ = steps_of(replies, monkeypatch, rounds=3)
    assert generalist.seen[-1].tools == ()
    assert len([s for s in steps if isinstance(s, ToolCall)]) == 2
    assert text_of(steps) == "Enough."


def test_first_steps_come_before_the_text(monkeypatch):
    steps, _, _ = steps_of(["Yes."], monkeypatch, first=[Evidence()])
    assert isinstance(steps[0], Evidence)
    assert text_of(steps) == "Yes."


def test_errors_of_the_generalist_end_the_run(monkeypatch):
    with pytest.raises(ServerUnreachable):
        steps_of([ServerUnreachable("gone")], monkeypatch)


def test_earlier_turns_are_not_streamed_again(monkeypatch):
    install(monkeypatch)
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "id": "a1"}]
    collaboration = agent.Collaboration(lambda: ([*before, *PROMPT[1:]], ()), 1)
    steps = list(agent.run(ScriptedGeneralist(["Fine."]), (), collaboration))
    assert text_of(steps) == "Fine."
