"""The tools for agents of others: what they take, what they answer, and an agent of LangChain's that uses them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from PIL import Image

from assistant.errors import BadQuestion
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.steps import Answer
from assistant.toolbox import Tool, from_text, from_text_or_path, toolbox
from assistant.tools import langchain_tools
from specialists.core.errors import BadStudy
from specialists.core.findings import Masks
from tests.assistant.stand_ins import Zoo, install, lesion, picture, said


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    return install(monkeypatch)


def url(seed: int = 0) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class Asked:
    """An assistant that finds a lesion whatever it is asked, and remembers how."""

    def __init__(self) -> None:
        self.how: dict[str, Any] = {}

    def ask(self, images: Any, question: str, **how: Any) -> Answer:
        self.how = {"images": len(images), "question": question, **how}
        found = lesion("breast_lesion_unet")
        return Answer("A lesion.", "lesion", 0.9, False, findings=(found,), masks=(found,))


def named(tools: list[Tool]) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools}


def test_there_is_a_tool_for_all_and_its_schema_comes_from_the_card(zoo: Zoo) -> None:
    tools = named(toolbox(Asked(), from_text))
    assert list(tools) == ["consult", "triage", "similar_cases", "brain_mri_hybrid", "brain_mri_residual",
                           "brain_mri_small_cnn", "breast_lesion_unet"]
    assert tools["brain_mri_hybrid"].description == zoo.cards["brain_mri_hybrid"].description()
    assert tools["brain_mri_hybrid"].schema["required"] == ["image"]
    assert tools["similar_cases"].schema["properties"]["k"]["maximum"] == 50
    assert "consult" not in named(toolbox(None, from_text))


def test_a_specialist_answers_in_words_and_as_json(zoo: Zoo) -> None:
    told = named(toolbox(None, from_text))["brain_mri_hybrid"].run({"image": url()})
    assert told.text.startswith("glioma 70, ")
    assert told.json["probabilities"]["glioma"] == 0.7
    assert told.pictures == ()


def test_what_has_a_place_comes_as_a_picture_and_its_run_lengths_only_when_asked(zoo: Zoo) -> None:
    zoo.kind = "breast ultrasound"
    tool = named(toolbox(None, from_text))["breast_lesion_unet"]
    told = tool.run({"image": url()})
    (drawn,) = told.pictures
    plain = Image.fromarray(picture())
    assert drawn.size == plain.size
    assert drawn.getpixel((12, 8)) != plain.getpixel((12, 8))
    assert drawn.getpixel((30, 30)) == plain.getpixel((30, 30))
    assert "rle" not in told.json["masks"][0]
    assert told.json["boxes"]
    assert "rle" in tool.run({"image": url(), "masks": True}).json["masks"][0]


def test_triage_keeps_a_specialist_from_an_image_that_it_is_not_made_for(zoo: Zoo) -> None:
    told = named(toolbox(None, from_text))["breast_lesion_unet"].run({"image": url()})
    assert told.text.startswith("refused: It answers for breast ultrasound")
    assert zoo.asked == []


def test_triage_and_similar_cases(zoo: Zoo) -> None:
    tools = named(toolbox(None, from_text))
    told = tools["triage"].run({"image": url()})
    assert told.text == ("brain MRI (0.90); specialists for it: brain_mri_hybrid, brain_mri_residual, "
                         "brain_mri_small_cnn")
    assert told.json["domain"] == "brain_mri"
    assert [case["id"] for case in tools["similar_cases"].run({"image": url(), "k": 2}).json["cases"]] == ["c0", "c1"]
    zoo.kind = "something"
    assert tools["similar_cases"].run({"image": url()}).text.startswith("refused: ")


def test_the_whole_consultation(zoo: Zoo) -> None:
    assistant = Asked()
    told = named(toolbox(assistant, from_text))["consult"].run(
        {"images": [url(1), url(2)], "question": "What?", "options": ["a", "b"], "without": ["similar_cases"],
         "kind": "orchid leaf"})
    assert assistant.how == {"images": 2, "question": "What?", "options": ["a", "b"], "collaboration": "full",
                             "without": ["similar_cases"], "kind": "orchid leaf"}
    assert told.text == "A lesion."
    assert told.json["confidence"] == 0.9
    assert len(told.pictures) == 1


@pytest.mark.parametrize(("arguments", "said"), [
    ({}, "image: Field required"), ({"image": 3}, "image: "), ({"image": "x", "hue": 1}, "hue: Extra"),
    ({"image": "x", "k": 0}, "k: "), ({"image": "x", "k": True}, "k: ")])
def test_wrong_arguments_are_named_and_not_repeated(zoo: Zoo, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadQuestion, match=said):
        named(toolbox(None, from_text))["similar_cases"].run(arguments)


def test_images_come_as_text_and_paths_only_where_they_may(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    Image.fromarray(picture()).save(file)
    sha256 = from_text(url()).sha256
    assert from_text(url().split(",")[1]).sha256 == sha256
    assert [from_text_or_path(source).sha256 for source in (url(), str(file), f"file://{file}")] == [sha256] * 3
    for source in (str(file), "https://example.org/a.png", "é"):
        with pytest.raises(BadQuestion, match="no base64"):
            from_text(source)
    with pytest.raises(BadStudy):
        from_text("QUFB")


def test_tools_are_bound_to_an_image_and_in_scope(zoo: Zoo) -> None:
    tools = langchain_tools(picture())
    assert [tool.name for tool in tools] == ["brain_mri_hybrid", "brain_mri_residual", "brain_mri_small_cnn",
                                             "similar_cases"]
    zoo.kind = "breast ultrasound"
    assert [tool.name for tool in langchain_tools(picture())] == ["breast_lesion_unet"]


def test_an_agent_of_langchain_with_another_model_uses_them(zoo: Zoo) -> None:
    calls = [{"name": "brain_mri_residual", "args": {"image": url()}, "id": "1", "type": "tool_call"},
             {"name": "similar_cases", "args": {"image": url(), "k": 99}, "id": "2", "type": "tool_call"}]
    model = ScriptedGeneralist([AIMessage("", tool_calls=calls), "Glioma, says the specialist."])
    zoo.answers["brain_mri_residual"] = said("brain_mri_residual", 0.1, 0.7, 0.1, 0.1)
    agent: Any = create_agent(model, langchain_tools(assistant=Asked()))
    turns = agent.invoke({"messages": [{"role": "user", "content": "Which tumour is it?"}]})["messages"]
    answered = [turn for turn in turns if isinstance(turn, ToolMessage)]
    assert answered[0].text.startswith("meningioma 70")
    assert answered[0].artifact.json["specialist"] == "brain_mri_residual"
    assert (answered[1].status, answered[1].text[:30]) == ("error", "similar_cases: k: Input should")
    assert turns[-1].text == "Glioma, says the specialist."


def test_a_picture_is_drawn_for_masks_alone(zoo: Zoo) -> None:
    zoo.kind = "breast ultrasound"
    zoo.answers["breast_lesion_unet"] = Masks("breast_lesion_unet", {}, absent=("lesion",))
    told = named(toolbox(SimpleNamespace(ask=None), from_text))["breast_lesion_unet"].run({"image": url()})
    assert told.json["absent"] == ["lesion"]
