"""Call specialists and similar cases as tools, read their answers, and answer: the agent's own turns.

Tools are a random part of those in scope, renamed in part, so that the offered list is really read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from assistant import template
from assistant.steps import Opinion
from assistant.tools import SIMILAR_CASES_SCHEMA, schemas
from instruct_data.dialogue import IMAGE, finish, pick, record
from instruct_data.items import Item, Library
from instruct_data.kinds.evidence import invented
from instruct_data.kinds.findings import QUESTIONS, spoken
from instruct_data.records import Record

RENAMED = 0.3


def make(library: Library, rng: random.Random) -> Record:
    """Return a conversation with one round of parallel calls, or one where no tool is needed or offered."""
    item = pick(library.with_evidence, rng)
    opinions = rng.sample(list(item.opinions), rng.randint(1, len(item.opinions)))
    similar = bool(item.cases) and rng.random() < 0.7
    tools = _offered(opinions, similar, rng)
    prompt = template.opening(rng.choice(QUESTIONS), [IMAGE], kind=item.kind,
                              options=_options(item, rng) if rng.random() < 0.4 else None)
    head = list(record("tool_use", rng, item, prompt, "").messages[:-1])
    calls = [_call(i, tool["function"]["name"]) for i, tool in enumerate(tools)]
    answers = [_answer(call, _text(call, item, opinions, tools)) for call in calls]
    shown = item.cases if similar else ()
    final = {"role": "assistant", "content": spoken(item, opinions, shown)}
    if rng.random() < 0.35:  # only the calls are learned, at the cost of a short record
        return finish("tool_use", rng, item, [*head, {"role": "assistant", "content": "", "tool_calls": calls}], tools)
    turns = [*head, {"role": "assistant", "content": "", "tool_calls": calls}, *answers, final]
    return finish("tool_use", rng, item, turns, tools)


def _offered(opinions: list[Opinion], similar: bool, rng: random.Random) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = json.loads(json.dumps(schemas([o.specialist for o in opinions], similar=False)))
    for tool, opinion in zip(tools, opinions, strict=True):
        tool["specialist"] = opinion.specialist
        if rng.random() < RENAMED:
            tool["function"]["name"] = f"{invented(1, rng)[0]}_{rng.choice(('net', 'expert', 'opinion', 'reader'))}"
    if similar:
        tools.append({**SIMILAR_CASES_SCHEMA, "specialist": "similar_cases"})
    return tools


def _call(place: int, name: str) -> dict[str, Any]:
    return {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": {}}}


def _text(call: Mapping[str, Any], item: Item, opinions: list[Opinion], tools: list[dict[str, Any]]) -> str:
    tool = next(t for t in tools if t["function"]["name"] == call["function"]["name"])
    if tool["specialist"] == "similar_cases":
        return template.cases(item.cases)
    opinion = next(o for o in opinions if o.specialist == tool["specialist"])
    return template.percentages(opinion)


def _answer(call: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": text}


def _options(item: Item, rng: random.Random) -> list[str]:
    return rng.sample(list(item.labels), len(item.labels))
