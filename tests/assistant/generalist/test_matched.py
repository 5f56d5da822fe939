"""The tool that a question asks for in its own words, and where none stands out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from assistant.generalist.habits import FILE, read_habits
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.matched import matched, stems
from assistant.tools import SIMILAR_CASES_SCHEMA
from instruct_data.kinds import imagined_tools
from instruct_data.records import words
from tests.fakes import tiny_qwen3vl
from tests.instruct_data import known


def tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {
        "type": "object", "properties": properties}}}


BIOPSY = tool("order_biopsy", "Orders a needle biopsy.", site={"type": "string", "enum": ["liver", "kidney"]})
CLEARANCE = tool("creatinine_clearance", "Clearance of creatinine by age and weight.", age={"type": "integer"})
SUMMARY = tool("summarize", "Shortens a text.", text={"type": "string"})
BRAIN = tool("brain_mri_net", "Opinion on a brain MRI: glioma, meningioma.")
CHEST = tool("chest_net", "Opinion on a chest X-ray: pneumonia, no finding.")
ALL = [BIOPSY, CLEARANCE, SUMMARY, BRAIN, CHEST, SIMILAR_CASES_SCHEMA]


def found(*turns: dict[str, Any] | str, tools: list[dict[str, Any]] = ALL) -> list[str]:
    messages = [{"role": "user", "content": turn} if isinstance(turn, str) else turn for turn in turns]
    return [one["function"]["name"] for one in matched(tools, messages)]


@pytest.mark.parametrize(("question", "name"), [
    ("Please order a biopsy of the kidney.", "order_biopsy"), ("Show me the 4 most similar cases.", "similar_cases"),
    ("He is 71: what is his creatinine clearance?", "creatinine_clearance"),
    ('Summarize "order a biopsy of the liver".', "summarize")])
def test_a_tool_is_found_by_its_own_words(question: str, name: str) -> None:
    assert found(question) == [name]


@pytest.mark.parametrize("question", ["What is the diagnosis?", "", "Is it a meningioma?", "I want a second opinion."])
def test_where_none_stands_out_all_stay(question: str) -> None:
    assert len(found(question)) == len(ALL)


def test_options_and_the_kind_of_image_ask_for_nothing() -> None:
    assert len(found("Image: brain MRI.\nOptions: glioma, meningioma.\nWhich is it?")) == len(ALL)


def test_once_a_tool_has_answered_any_may_be_called() -> None:
    asked = "Please order a biopsy of the kidney."
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call_0", "type": "function", "function": {"name": "order_biopsy", "arguments": "{}"}}]}
    assert len(found(asked, call, {"role": "tool", "content": "ordered", "tool_call_id": "call_0"})) == len(ALL)
    assert found("What is it?", {"role": "assistant", "content": "A kidney."}, asked) == ["order_biopsy"]


def test_one_tool_or_none_or_odd_schemas_are_no_fault() -> None:
    assert found("Order it.", tools=[]) == []
    assert found("Order it.", tools=[BIOPSY]) == ["order_biopsy"]
    odd = [{"type": "function", "function": {"name": "bare"}}, tool("odd", "", value=True, other={"enum": 3})]
    assert found("Take the other value, odd.", tools=odd) == ["odd"]


def test_words_lose_their_endings() -> None:
    assert stems("Books visits, booking a visit; biopsies of the biopsy") == {"book", "visit", "biopsy"}


def test_of_imagined_tools_the_right_one_is_found() -> None:
    library, right, wrong = known.items(), 0, 0
    for number in range(40):
        for item in library.items:
            for record in imagined_tools.make(item, library, random.Random(number)):
                asked, said = record.messages[1], record.messages[2]
                calls = {call["function"]["name"] for call in said.get("tool_calls", ())}
                tools = [{"type": "function", "function": one.get("function", one)} for one in record.tools]
                names = found(words(asked), tools=tools)
                if calls and len(names) == 1 < len(tools):
                    right, wrong = right + (names[0] in calls), wrong + (names[0] not in calls)
    assert right > 100
    assert wrong < 0.05 * right


def test_a_checkpoint_that_says_so_calls_it(tmp_path: Path) -> None:
    folder = tiny_qwen3vl(tmp_path / "tiny")
    question = [{"role": "user", "content": "Please order a biopsy of the kidney."}]

    def called() -> set[str]:
        reply = LocalGeneralist(folder, max_new_tokens=60).bind_tools(ALL, tool_choice="any").invoke(question)
        return {call["name"] for call in reply.tool_calls}

    told = json.loads((folder / FILE).read_text()) if (folder / FILE).is_file() else {}
    assert called() != {"order_biopsy"}
    (folder / FILE).write_text(json.dumps({**told, "tools": "matched"}))
    assert read_habits(folder).matched
    assert called() == {"order_biopsy"}
    forced = LocalGeneralist(folder, max_new_tokens=60).bind_tools(ALL, tool_choice="summarize").invoke(question)
    assert {call["name"] for call in forced.tool_calls} <= {"summarize"}
