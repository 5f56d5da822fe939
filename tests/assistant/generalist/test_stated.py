"""Arguments bound to what was said: numbers, texts, what nobody said, and a whole reply of a tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistant.generalist.habits import FILE, read_habits
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.stated import numbers, stated, texts
from assistant.tools import SIMILAR_CASES_SCHEMA
from tests.fakes import tiny_qwen3vl


def tool(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "dose", "parameters": {
        "type": "object", "properties": properties, "required": list(required)}}}


def narrowed(offered: dict[str, Any], *turns: dict[str, Any] | str) -> dict[str, Any]:
    messages = [{"role": "user", "content": turn} if isinstance(turn, str) else turn for turn in turns]
    return stated([offered], messages)[0]["function"]["parameters"]["properties"]


@pytest.mark.parametrize(("text", "said"), [
    ("68kg and 1.73 m tall", (68, 1.73)), ("the three nearest, like this one", (3,)), ("-5 degrees, 007", (-5, 7)),
    ("patient A77, 1,000 cells", ()), ("12 and 12", (12,))])
def test_the_numbers_of_a_text(text: str, said: tuple[float, ...]) -> None:
    assert numbers(text) == said


def test_texts_are_what_is_quoted_and_words_in_a_row() -> None:
    found = texts('Translate "no fracture is seen" into German.')
    assert found[0] == "no fracture is seen"
    assert {"German", "into German"} <= set(found)
    assert not {"Translate into", "fracture"} & set(found)


def test_a_free_number_is_one_of_those_said_that_fit() -> None:
    k = narrowed(SIMILAR_CASES_SCHEMA, "A woman of 61: show the 4 most similar cases.")["k"]
    assert k == {"enum": [4]}, "61 is above the most that the tool allows"
    assert narrowed(tool(days={"type": "integer"}), "2.5 or 3?")["days"] == {"enum": [3]}


def test_a_number_stands_beside_the_words_or_the_unit_of_its_argument() -> None:
    said = "The patient weighs 59 kg and is 1.76 m tall; 40 days in the ward, temperature: 38.5, 4 mg/dl of glucose."
    number = {"type": "number"}
    for name, value in (("weight_kg", 59), ("height_m", 1.76), ("days", 40), ("temperature", 38.5), ("glucoseMgDl", 4)):
        assert narrowed(tool(**{name: number}), said)[name] == {"enum": [value]}
    assert narrowed(tool(dose=number), "5 or 6?")["dose"] == {"enum": [5, 6]}


def test_of_very_many_numbers_those_at_the_end_are_meant() -> None:
    said = " ".join(map(str, range(20000)))
    assert narrowed(tool(dose={"type": "number"}), said)["dose"] == {"enum": list(range(19900, 20000))}


def test_of_a_list_it_is_what_was_said() -> None:
    clinic = {"type": "string", "enum": ["eye clinic", "skin clinic"]}
    assert narrowed(tool(clinic=clinic), "Book the Skin Clinic.")["clinic"]["enum"] == ["skin clinic"]
    assert narrowed(tool(clinic=clinic), "Book a clinic.") == {"clinic": clinic}
    view = {"type": "string", "enum": ["PA", "AP"]}
    assert narrowed(tool(view=view), "ap or what?") == {"view": view}


def test_what_is_quoted_is_the_text_and_nothing_else() -> None:
    free, asked = {"type": "string"}, 'Translate "no fracture" into German.'
    bound = narrowed(tool(text=free, language=free), asked)
    assert bound["text"] == {"enum": ["no fracture"]}
    assert "German" in bound["language"]["enum"]
    assert "no fracture" not in bound["language"]["enum"]
    shown = narrowed(tool(language=free), f"Image: chest X-ray.\n{asked}")
    assert shown["language"] == bound["language"]


def test_what_nobody_said_is_the_default_or_left_out_or_open() -> None:
    weight = {"type": "number"}
    assert narrowed(SIMILAR_CASES_SCHEMA, "Show similar cases.")["k"] == {"const": 10}
    assert narrowed(tool(weight=weight), "How much?") == {}
    assert narrowed(tool(("weight",), weight=weight), "How much?") == {"weight": weight}


def test_earlier_turns_count_where_the_question_says_nothing() -> None:
    answer = {"role": "tool", "content": '{"weight": 81}', "tool_call_id": "call_0"}
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call_0", "type": "function", "function": {"name": "scale", "arguments": "{}"}}]}
    weight = tool(("weight",), weight={"type": "number"})
    assert narrowed(weight, "Weigh him.", call, answer, "And the dose?")["weight"] == {"enum": [81]}
    assert narrowed(weight, "He weighs 70 kg.", "No: 74.")["weight"] == {"enum": [74]}


@pytest.mark.parametrize("schema", [
    {"type": "string", "enum": ["a", "b"]}, {"type": "string", "format": "date"}, {"anyOf": [{"type": "number"}]},
    {"type": "array", "items": {"type": "number"}}, {"type": "boolean"}, True])
def test_other_schemas_stay_as_they_are(schema: Any) -> None:
    assert narrowed(tool(value=schema), "Take 5 of a.") == {"value": schema}


def test_what_is_offered_is_not_changed() -> None:
    before = json.dumps(SIMILAR_CASES_SCHEMA)
    stated([SIMILAR_CASES_SCHEMA, {"type": "function", "function": {"name": "bare"}}], [])
    assert json.dumps(SIMILAR_CASES_SCHEMA) == before


def test_a_checkpoint_that_says_so_is_bound(tmp_path: Path) -> None:
    folder = tiny_qwen3vl(tmp_path / "tiny")
    question = [{"role": "user", "content": "Show the 7 most similar cases."}]
    free = LocalGeneralist(folder, max_new_tokens=60)

    def asked(generalist: LocalGeneralist) -> list[Any]:
        reply = generalist.bind_tools([SIMILAR_CASES_SCHEMA], tool_choice="similar_cases").invoke(question)
        return [call["args"] for call in reply.tool_calls]

    assert asked(free) != [{"k": 7}]
    told = json.loads((folder / FILE).read_text()) if (folder / FILE).is_file() else {}
    (folder / FILE).write_text(json.dumps({**told, "arguments": "stated"}))
    assert read_habits(folder).stated
    assert asked(LocalGeneralist(folder, max_new_tokens=60)) in ([{"k": 7}], [{}])
