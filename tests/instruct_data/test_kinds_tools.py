"""Tool use: what is recorded is what serving shows, only offered tools are called, failures are answered."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from PIL import Image
from transformers import AutoTokenizer

from assistant import template
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.generalist.turns import to_chat
from instruct_data import recorded, stand_ins
from instruct_data.items import Item, Library
from instruct_data.kinds import tool_use
from instruct_data.records import Record, words
from specialists.core.findings import Masks
from specialists.core.study import read_study
from tests.instruct_data import known

Call = tuple[list[BaseMessage], list[dict[str, Any]]]
"""Messages and tools of one call of the model."""
NANO = Path(template.__file__).parent / "generalist" / "nano"


@pytest.fixture(scope="module")
def library() -> Library:
    return known.items()


@pytest.fixture(scope="module")
def records(library: Library) -> list[tuple[Item, Record]]:
    return [(item, r) for n in range(6) for item in library.items
            for r in tool_use.make(item, library, random.Random(f"{n}/{item.image}"))]


def calls(record: Record) -> list[Mapping[str, Any]]:
    return [c for m in record.messages for c in m.get("tool_calls") or ()]


def answers(record: Record) -> list[str]:
    return [str(m["content"]) for m in record.messages if m["role"] == "tool"]


def offered(record: Record) -> dict[str, str]:
    return {t["function"]["name"]: t["function"]["description"] for t in record.tools}


def test_only_offered_and_fitting_tools_are_called(records: list[tuple[Item, Record]]) -> None:
    kinds = Counter[str]()
    for item, record in records:
        known_tools = offered(record)
        assert len(known_tools) == len(record.tools)
        for call in calls(record):
            name = call["function"]["name"]
            assert name in known_tools
            assert name == "similar_cases" or f" {item.kind}:" in known_tools[name]
            kinds[known_tools[name].split(" on ")[0]] += 1
    assert {"Opinion", "Where", "How many and where", "How far along"} <= set(kinds)


def test_every_call_is_answered_and_the_answer_comes_last(records: list[tuple[Item, Record]]) -> None:
    for _, record in records:
        ids = [c["id"] for c in calls(record)]
        assert len(set(ids)) == len(ids)
        assert ids == [m["tool_call_id"] for m in record.messages if m["role"] == "tool"]
        assert record.messages[-1]["role"] == "assistant"
        assert record.messages[-1]["content"]
        assert [m["role"] for m in record.messages[:2]] == ["system", "user"]


def test_shapes_of_a_conversation_all_occur(records: list[tuple[Item, Record]]) -> None:
    seen = Counter[str]()
    for _, record in records:
        rounds = [m for m in record.messages if m.get("tool_calls")]
        seen["in turn"] += len(rounds) > 1
        seen["parallel"] += any(len(m["tool_calls"]) > 1 for m in rounds)
        seen["no call"] += not rounds
        seen["distractor"] += len(offered(record)) > len(calls(record))
        seen["k"] += any("k" in c["function"]["arguments"] for c in calls(record))
        seen["invented"] += any(n.rpartition("_")[2] in tool_use.NOUNS for n in offered(record))
        seen["failed"] += any(a.startswith(recorded.REFUSED) for a in answers(record))
    assert min(seen.values()) >= 5


def test_failures_are_said_and_others_counted(records: list[tuple[Item, Record]]) -> None:
    checked = 0
    for item, record in records:
        heard, last = answers(record), record.messages[-1]["content"]
        failed = sum(a.startswith(recorded.REFUSED) for a in heard)
        if not failed:
            assert "no answer" not in last
            assert "could not" not in last
            continue
        checked += 1
        opinions = [m for m in record.messages if m["role"] == "tool" and m["name"] != "similar_cases"
                    and not m["content"].startswith(recorded.REFUSED)]
        if failed == len(heard):
            assert "answer" in last
            assert "specialists say" not in last
        elif item.opinions and opinions:
            assert f" of {len(opinions)} specialists say the same." in last
            assert "answer" in last
    assert checked >= 10


def test_counts_of_opinions_are_those_of_the_record(records: list[tuple[Item, Record]]) -> None:
    for item, record in records:
        last = record.messages[-1]["content"]
        if " specialists say the same" not in last:
            continue
        said = [m["content"] for m in record.messages if m["role"] == "tool" and m["name"] != "similar_cases"
                and not m["content"].startswith(recorded.REFUSED)]
        agree = sum(s.startswith(f"{item.label} ") for s in said)
        assert f"{agree} of {len(said)} specialists say the same." in last
        assert f"Most likely {item.label}." in last
        assert f"diagnosis: {item.label}" in record.facts


def test_k_cases_are_shown_and_never_the_image_itself(records: list[tuple[Item, Record]]) -> None:
    seen = 0
    for item, record in records:
        for call, message in zip(calls(record), [m for m in record.messages if m["role"] == "tool"], strict=True):
            if call["function"]["name"] != "similar_cases" or message["content"].startswith(recorded.REFUSED):
                continue
            shown = message["content"].split(", ")
            assert len(shown) == min(call["function"]["arguments"].get("k", 10), len(item.cases) - 1)
            assert not any(s.startswith("99 ") for s in shown)  # of these items the image itself is the most similar
            seen += 1
    assert seen > 10


def test_boxes_counts_and_grades_are_the_annotators(records: list[tuple[Item, Record]]) -> None:
    seen = Counter[str]()
    for item, record in records:
        for fact in record.facts:
            what, _, rest = fact.partition(": ")
            seen[what] += 1
            if what == "count":
                name, _, number = rest.rpartition(" ")
                assert item.counts.get(name, 0) == int(number)
            elif what == "absent":
                assert rest in item.absent
            elif what == "grade":
                assert item.grade is not None
                assert rest.endswith(item.grade.levels[item.grade.value])
                assert item.grade.levels[item.grade.value] in record.messages[-1]["content"]
        if record.boxes:
            assert {b.box for b in record.boxes} <= {r.box for r in item.regions}
            assert "{boxes:" in record.messages[-1]["content"]
    assert {"box", "count", "absent", "grade", "kind", "diagnosis"} <= set(seen)


def test_located_things_are_moved_by_less_than_stated() -> None:
    item = known.colon(2)
    for seed in range(20):
        (tool,) = stand_ins.measuring_tools(item, random.Random(seed))
        finding = tool.answer({}).finding
        assert isinstance(finding, Masks)
        boxes = sorted(finding.boxes(), key=lambda b: b.xyxy)
        assert len(boxes) == 2
        for box, region in zip(boxes, item.regions, strict=True):
            sides = (region.box[2] - region.box[0], region.box[3] - region.box[1]) * 2
            for got, wanted, side, of in zip(box.xyxy, region.box, sides, (200, 160, 200, 160), strict=True):
                assert abs(got / of - wanted) <= stand_ins.JITTER * side + 1 / of
        assert abs(finding.masks["polyp"].mean() - 0.22) < 0.03


def test_same_seed_gives_the_same_record(library: Library) -> None:
    for item in library.items[::4]:
        one, two = (list(tool_use.make(item, library, random.Random(7))) for _ in range(2))
        assert one == two


def test_nothing_is_recorded_of_an_unknown_kind(library: Library) -> None:
    item = Item(**{**known.brain(0).__dict__, "kind": ""})
    assert not list(tool_use.make(item, library, random.Random(0)))


class Watched(ScriptedGeneralist):
    """Keeps what reached the model, as a local generalist is given it."""

    served: ClassVar[list[Call]] = []

    def _next(self, messages: list[BaseMessage], kwargs: Mapping[str, Any]) -> AIMessage:
        Watched.served.append((list(messages), list(kwargs.get("tools") or ())))
        return super()._next(messages, kwargs)


def test_what_is_recorded_is_byte_for_byte_what_serving_shows(
        library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    url = template.png_url(read_study(tmp_path / "a.png"))
    monkeypatch.setattr(recorded, "ScriptedGeneralist", Watched)
    compared = 0
    for item in library.items[::2]:
        for kind_of in range(2):
            Watched.served = []
            made = tool_use.make(item, library, random.Random(kind_of))
            for record in made:
                whole = str(tokenizer.apply_chat_template([dict(m) for m in record.messages],
                                                          tools=list(record.tools) or None, tokenize=False))
                prompts = list(rendered(tokenizer, Watched.served, url))
                assert all(whole.startswith(prompt) for prompt in prompts)
                compared += len(prompts)
                assert whole == prompts[-1] + words(record.messages[-1]) + "<|im_end|>\n"
                Watched.served = []
    assert compared > 60


def rendered(tokenizer: Any, served: Sequence[Call], url: str) -> Iterator[str]:
    """Yield the prompt of each call as a local generalist renders it."""
    for messages, tools in served:
        shown = [_with_image(m, url) for m in messages]
        turns, images = to_chat(shown)
        assert len(images) == 1
        yield str(tokenizer.apply_chat_template(turns, tools=tools or None, tokenize=False, add_generation_prompt=True))


def _with_image(message: BaseMessage, url: str) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    part = {"type": "image_url", "image_url": {"url": url}}
    parts = [part if isinstance(p, dict) and p["type"] == "image_url" else p for p in message.content]
    return message.model_copy(update={"content": parts})
