"""Tests of specialists and retrieval as tools."""

from __future__ import annotations

import pytest
from langchain_core.utils.function_calling import convert_to_openai_tool

from assistant import tools
from specialists.core.findings import Refusal
from tests.assistant.stand_ins import install, study


def call(tool, **arguments):
    return tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments})


def test_tools_are_offered_as_the_cards_say(monkeypatch):
    zoo = install(monkeypatch)
    names = ["brain_mri_hybrid", "brain_mri_residual"]
    offered = tools.langchain_tools(study(), names, domain="brain_mri")
    assert [t.name for t in offered] == [*names, "similar_cases"]
    assert [convert_to_openai_tool(t) for t in offered] == tools.schemas(names, similar=True)
    assert tools.schemas(names, similar=False) == [zoo.cards[n].tool_schema() for n in names]
    assert [t.name for t in tools.langchain_tools(study(), names)] == names


def test_a_specialist_answers_in_words_with_its_finding(monkeypatch):
    zoo = install(monkeypatch)
    message = call(tools.langchain_tools(study(), ["brain_mri_hybrid"])[0])
    assert message.content == "glioma 70, meningioma 10, no tumour 10, pituitary tumour 10; validated 80"
    assert message.artifact.finding is zoo.answers["brain_mri_hybrid"]
    assert message.artifact.seconds > 0
    assert message.status == "success"


def test_a_refusal_is_an_observation(monkeypatch):
    install(monkeypatch).answers["brain_mri_hybrid"] = Refusal("brain_mri_hybrid", "too far")
    message = call(tools.langchain_tools(study(), ["brain_mri_hybrid"])[0])
    assert message.content == "refused: too far"
    assert isinstance(message.artifact.finding, Refusal)


def test_similar_cases(monkeypatch):
    zoo = install(monkeypatch)
    tool = tools.langchain_tools(study(), [], domain="brain_mri", patient="p")[0]
    message = call(tool, k=2)
    assert message.content == "90 glioma, 80 glioma"
    assert len(message.artifact.retrieved.cases) == 2
    call(tool)
    assert zoo.retrieved == [("brain_mri", 2, "p"), ("brain_mri", 10, "p")]
    zoo.neighbors = []
    assert call(tool).content == "no similar case"


@pytest.mark.parametrize("arguments", [{"k": 0}, {"k": 51}, {"k": "3"}, {"k": True}, {"k": 2.5}, {"n": 3}])
def test_wrong_arguments_are_an_error_the_model_reads(monkeypatch, arguments):
    zoo = install(monkeypatch)
    message = call(tools.langchain_tools(study(), [], domain="brain_mri")[0], **arguments)
    assert message.status == "error"
    assert "wanted" in message.content
    assert zoo.retrieved == []


def test_a_specialist_takes_no_arguments(monkeypatch):
    zoo = install(monkeypatch)
    message = call(tools.langchain_tools(study(), ["brain_mri_hybrid"])[0], image="x")
    assert message.status == "error"
    assert "no arguments" in message.content
    assert zoo.asked == []
