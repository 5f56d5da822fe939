"""The tool that a question asks for in its own words: the one whose description shares several rare words with it.

A small generalist knows the tools that it was taught; what an unseen one is for it does not read from its description
(docs/log.md). So where its consilium.json says `"tools": "matched"`, its calls may name that one tool alone. Whether a
tool is called is not decided here, and where none stands out all of them stay. Words weigh by how few of the tools on
offer have them (Spärck Jones, Journal of Documentation 28, 1972).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage, convert_to_messages

from assistant.generalist.stated import QUOTED

FEWEST = 2
"""Rare words that a question must share with a tool; one is enough that stands in this tool's name alone."""
ENDINGS = {"ing": "", "ies": "y", "es": "", "ed": "", "s": "", "e": ""}
SHORTEST = 3
"""Letters that are left of a word without its ending."""
EMPTY = frozenset(re.findall(r"\w+", """
    a all an and any are as at be been by can could did do does for from give had has have here how i if in into is
    it its made many me much my no not of on one or our please should show some such tell that the their them there
    these they this those to up us was we were what when where which who will with would you your
"""))
"""Words that tell nothing of what a tool is for."""


def matched(tools: Sequence[Mapping[str, Any]], messages: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return the one tool (OpenAI's form) that the last line of the last question asks for; all where none stands out.

    What it quotes is handed on and asks for nothing. Once tools have answered, any may be called.
    """
    turns = convert_to_messages(list(messages))
    asked = next((turn for turn in reversed(turns) if isinstance(turn, HumanMessage | ToolMessage)), None)
    if not isinstance(asked, HumanMessage) or len(tools) < 2:
        return list(tools)
    question = stems(QUOTED.sub(" ", asked.text.strip().rpartition("\n")[2]))
    written = [stems(_description(tool["function"])) for tool in tools]
    shared = Counter(word for words in written for word in words)
    scores = [sum(math.log(len(tools) / shared[word]) for word in question & words) for words in written]
    best = max(range(len(tools)), key=scores.__getitem__)
    rare = {word for word in question & written[best] if shared[word] < len(tools)}
    own = {word for word in rare & stems(_words(tools[best]["function"]["name"])) if shared[word] == 1}
    first = sorted(scores)[-2] < scores[best]
    return [tools[best]] if first and (len(rare) >= FEWEST or own) else list(tools)


@lru_cache(maxsize=1024)
def stems(text: str) -> frozenset[str]:
    """Return the words of a text without their endings; empty ones are left out."""
    return frozenset(_stem(word) for word in re.findall(r"[^\W\d_]{2,}", text.lower()) if word not in EMPTY)


def _stem(word: str) -> str:
    for ending, instead in ENDINGS.items():
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST:
            return word[:-len(ending)] + instead
    return word


def _description(function: Mapping[str, Any]) -> str:
    """Return all words of a tool: its name, what it says of itself, its arguments and the values they list."""
    schema = function.get("parameters")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    arguments = properties.items() if isinstance(properties, Mapping) else ()
    told = [_words(name) + " " + _told(value) for name, value in arguments]
    return " ".join([_words(function["name"]), str(function.get("description") or ""), *told])


def _told(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return ""
    values = schema.get("enum")
    return " ".join([str(schema.get("description") or ""), *map(str, values if isinstance(values, list) else ())])


def _words(name: str) -> str:
    return re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", name)
