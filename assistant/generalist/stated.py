"""Arguments of calls bound to what was said: numbers and texts of a tool are those that the conversation states.

A small generalist calls the right tool with a number of its own (docs/log.md). So where its consilium.json says
`"arguments": "stated"`, a free number may only be one that was said, and a free text only words of the question as
they stand there. It chooses no tool and no argument; schemas that list their values, or nest them, stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from langchain_core.messages import HumanMessage, ToolMessage, convert_to_messages

NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:\.\d+)?(?![\d,]*\d)")
QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
WORD = re.compile(r"\w(?:\S*\w)?")
IN_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
"""Not "one", which is no number in "this one"."""
FREE = {"type", "description", "title", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "multipleOf", "minLength", "maxLength", "pattern", "examples"}
"""Keywords that leave a value open; any other (enum, anyOf, format, ...) is the tool's own way to bind it."""
MOST_WORDS = 40
"""Words of the end of a question that a text is taken from."""
LONGEST = 12
"""Words of a text that is not quoted."""


def stated(tools: Sequence[Mapping[str, Any]], messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the tools (OpenAI's form) with their free numbers and texts bound to what the conversation says.

    The last question is searched first, then earlier questions and what tools told. A value that nobody said is the
    tool's default, or left out; where the tool requires it, it stays open.
    """
    turns = convert_to_messages(list(messages))
    asked = [turn.text for turn in turns if isinstance(turn, HumanMessage)]
    before = [turn.text for turn in turns if isinstance(turn, ToolMessage)] + asked[:-1]
    said = (asked[-1] if asked else "", "\n".join(before))
    return [_bound(tool, said) for tool in tools]


def _bound(tool: Mapping[str, Any], said: tuple[str, str]) -> dict[str, Any]:
    function = dict(tool["function"])
    schema = function.get("parameters")
    if isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping):
        required = schema.get("required") or ()
        kept = {name: _values(value, said, needed=name in required) for name, value in schema["properties"].items()}
        function["parameters"] = {**schema, "properties": {name: v for name, v in kept.items() if v is not None}}
    return {**tool, "function": function}


def _values(schema: Any, said: tuple[str, str], *, needed: bool) -> Any:
    """Return the schema of a property with its values listed; None where it is to be left out."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind not in ("integer", "number", "string") or not set(schema) <= FREE:
        return schema
    find = texts if kind == "string" else numbers
    fits = Draft202012Validator(schema).is_valid
    found = next((values for text in said if (values := [v for v in find(text) if fits(v)])), [])
    if found:
        return {"enum": found}
    if needed:
        return schema
    return {"const": schema["default"]} if "default" in schema else None


@lru_cache(maxsize=256)
def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a text, whole ones as int, in their order; small ones in English words, too."""
    found = [(match.start(), _value(match[0])) for match in NUMBER.finditer(text)]
    found += [(m.start(), IN_WORDS[m[0].lower()]) for m in WORD.finditer(text) if m[0].lower() in IN_WORDS]
    return tuple(dict.fromkeys(number for _, number in sorted(found)))


@lru_cache(maxsize=256)
def texts(text: str) -> tuple[str, ...]:
    """Return what a question may hand on: what it quotes; where it quotes nothing, any of its words in a row."""
    quoted = [a or b for a, b in QUOTED.findall(text)]
    rest = QUOTED.sub("\n", text)
    spans: list[str] = []
    for line in rest.splitlines():
        words = list(WORD.finditer(line))[-MOST_WORDS:]
        spans += [line[first.start():last.end()] for i, first in enumerate(words) for last in words[i:i + LONGEST]]
    return tuple(dict.fromkeys([*quoted, *spans]))


def _value(written: str) -> float:
    return float(written) if "." in written else int(written)
