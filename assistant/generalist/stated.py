"""Arguments of calls bound to what was said: numbers and texts of a tool are those that the conversation states.

A small generalist calls the right tool with a number of its own (docs/log.md). So where its consilium.json says
`"arguments": "stated"`, a free number may only be one that was said (beside the argument's own words or unit, where
some are: 59 in "weighs 59 kg" for weight_kg), a free text only words of the question as they stand there, and a value
of a list one that was said, where one was. It chooses no tool; nested schemas stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
TEXTUAL = frozenset({"text", "message", "sentence", "phrase", "note", "content", "words", "body"})
"""Names of arguments that take what is quoted."""
MOST_NUMBERS = 100
"""Numbers of the end of a text that may be meant."""
NEAR = 80
"""Characters before and after a number that may name it."""
BREAK = re.compile(r"[,;!?\n]|\.(?!\d)|\b(?:and|with|if|when|is|are)\b")
"""Ends what is said of one number."""
LONGEST = 12
"""Words of a text that is not quoted."""


def stated(tools: Sequence[Mapping[str, Any]], messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the tools (OpenAI's form) with their free numbers and texts bound to what the conversation says.

    The last line of the last question is searched first, then its other lines, what tools told, and earlier questions.
    A value that nobody said is the tool's default, or left out; where the tool requires it, it stays open.
    """
    turns = convert_to_messages(list(messages))
    asked = [turn.text for turn in turns if isinstance(turn, HumanMessage)]
    before = [turn.text for turn in turns if isinstance(turn, ToolMessage)] + asked[:-1]
    told, _, question = (asked[-1] if asked else "").strip().rpartition("\n")
    said = (question, "\n".join([told, *before]))
    return [_bound(tool, said) for tool in tools]


def _bound(tool: Mapping[str, Any], said: tuple[str, str]) -> dict[str, Any]:
    function = dict(tool["function"])
    schema = function.get("parameters")
    if isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping):
        required = schema.get("required") or ()
        kept = {name: _values(name, value, said, needed=name in required)
                for name, value in schema["properties"].items()}
        function["parameters"] = {**schema, "properties": {name: v for name, v in kept.items() if v is not None}}
    return {**tool, "function": function}


def _values(name: str, schema: Any, said: tuple[str, str], *, needed: bool) -> Any:
    """Return the schema of a property with its values listed; None where it is to be left out."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind == "string" and isinstance(schema.get("enum"), list):
        return _listed(schema, said)
    if kind not in ("integer", "number", "string") or not set(schema) <= FREE:
        return schema
    fits = Draft202012Validator(schema).is_valid
    found: list[Any] = next((values for text in said if (values := [
        v for v in (_spoken(name, text) if kind == "string" else _near(name, text, fits)) if fits(v)])), [])
    if found:
        return {"enum": found}
    if needed:
        return schema
    return {"const": schema["default"]} if "default" in schema else None


def _listed(schema: Mapping[str, Any], said: tuple[str, str]) -> Mapping[str, Any]:
    """Return the schema with those of its values that were said, or as it is."""
    for text in said:
        found = [v for v in schema["enum"] if isinstance(v, str) and len(v) > 1 and re.search(
            rf"(?<!\w){re.escape(v)}(?!\w)", text, re.IGNORECASE if len(v) > 2 else 0)]
        if found:
            return {**schema, "enum": found}
    return schema


def _own(name: str) -> set[str]:
    """Return the words of an argument's name."""
    return {word.lower() for word in re.split(r"_|(?<=[a-z])(?=[A-Z])", name) if word}


def _spoken(name: str, text: str) -> Sequence[str]:
    """Return what a text hands on for an argument: what it quotes is what a text is about, and nothing else."""
    quoted = [a or b for a, b in QUOTED.findall(text)]
    if quoted and _own(name) & TEXTUAL:
        return quoted
    return [said for said in texts(text) if said not in quoted]


def _near(name: str, text: str, fits: Callable[[Any], bool]) -> list[float]:
    """Return the numbers of a text that fit, of them those that stand beside words of the argument's name, or all."""
    own = _own(name)
    beside: dict[float, int] = {}
    for start, end, number in _placed(text)[-MOST_NUMBERS:]:
        before, after = text[max(0, start - NEAR):start], text[end:end + NEAR]
        clause = BREAK.split(before)[-1] + " " + BREAK.split(after, maxsplit=1)[0]
        hits = len(own & set(re.findall(r"[^\W\d_]+", clause.lower())))
        if fits(number):
            beside[number] = max(hits, beside.get(number, 0))
    most = max(beside.values(), default=0)
    return [number for number, hits in beside.items() if hits == most]


@lru_cache(maxsize=256)
def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a text, whole ones as int, in their order; small ones in English words, too."""
    return tuple(dict.fromkeys(number for _, _, number in _placed(text)))


def _placed(text: str) -> list[tuple[int, int, float]]:
    """Return where each number begins and ends, and the number."""
    found = [(match.start(), match.end(), _value(match[0])) for match in NUMBER.finditer(text)]
    found += [(m.start(), m.end(), IN_WORDS[m[0].lower()]) for m in WORD.finditer(text) if m[0].lower() in IN_WORDS]
    return sorted(found)


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
