"""How people say it: a greeting, where the image is from, haste, thanks, no capitals, other words, mistypes.

It says nothing about the image and asks nothing else; prompts that serving writes itself stay as they are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from instruct_data.dialogue import named
from instruct_data.records import Record
from instruct_data.writers.templates import say

SHARE = 0.3
"""Share of the conversations that get some."""
PLAIN = re.compile(r'"[^"]*"|\b[a-z]+\b')
"""A plain word; or all that is quoted, which stays."""
OTHER_WORDS = 0.3
"""Share whose question has some of its words changed for others of the same meaning, or mistyped."""
MISTYPED = 0.15
"""Share of these in which a plain word is mistyped, too."""
UNBRIEFED = 0.15
"""Share of the conversations without the system turn: whoever calls the model by itself sends none."""
FIXED = frozenset({"looking", "weighing", "imagined", "evidence"})
"""Kinds whose prompts serving writes itself."""

GREETING = ("(Hello|Hi|Hi there|Good (morning|afternoon|evening)|Dear colleague|Hey|Excuse me)",)
PLACE = ("(A friend|A colleague|My doctor|Our (clinic|archive)|The lab|Somebody|A student|The night shift|My aunt)"
         " (gave me|handed me|mailed me|left me|passed on|forwarded) (this|this one|this file|this picture|the image)"
         "(, without any (note|comment|further word)|, no name on it| yesterday|)",
         "(I found|We found|There was) this( one| picture| file|) (in (a folder|an old box|my mail|the archive))"
         "( without a (name|label)|)",
         "I (am|'m) (new here|in a hurry|a student|not a doctor|only learning|writing a thesis)",
         "(This|The next one|Here) is (case|number|file) {number}( of today| of the set|)",
         "(Sorry for the (quality|bother)|I have one (more |)question|One (more|thing)|Quick question)",
         "(We need|I need) (this|it|an answer) for (a lecture|the board|our files|a report|homework)",
         "(Take your time|Look (closely|carefully|again)|Please be brief|In a few words, please)")
THANKS = ("Thanks", "Thank you( very much| in advance|)", "Please( keep it short| be careful|)", "Many thanks",
          "I (appreciate it|would be grateful)", "(It is|It's) (urgent|for teaching|not urgent)")


WORDS = {
    "image": ("picture", "scan", "photo", "file", "study"), "images": ("pictures", "scans", "photos"),
    "picture": ("image", "photo"), "please": ("kindly",), "visible": ("to be seen", "recognizable"),
    "shows": ("displays", "reveals", "has"), "locate": ("find", "spot", "localize"), "mark": ("frame", "indicate"),
    "box": ("frame", "rectangle"), "boxes": ("frames", "rectangles"), "kind": ("sort", "type"), "largest": ("biggest",),
    "diagnosis": ("disease", "condition"), "describe": ("characterize",), "write": ("compose",),
    "short": ("brief", "concise"), "report": ("write-up",), "specialists": ("experts",), "similar": ("comparable",),
    "likely": ("probable",), "abnormal": ("pathological",), "patient": ("person",), "more": ("a greater number of",),
}
"""Plain words of questions -> what else people say; no name of a finding is among them."""
MISTYPES = frozenset({*WORDS, "what", "which", "where", "this", "there", "here", "tell", "show", "find", "does",
                      "about", "give", "would", "could", "look", "many", "such", "most"}) - {"more", "most"}
"""Plain words that may be mistyped."""


def around(record: Record, rng: random.Random) -> Record:
    """Return the record with its first question said as somebody might say it, or as it is."""
    at = next((i for i, m in enumerate(record.messages) if m["role"] == "user"), None)
    if at is None or record.kind in FIXED:
        return record
    messages = list(record.messages)
    if rng.random() < OTHER_WORDS:
        messages[at] = _reworded(messages[at], other_words, rng)
    if rng.random() < SHARE:
        messages[at] = _reworded(messages[at], spoken, rng)
    if messages[at] == record.messages[at]:
        return record
    return replace(record, messages=tuple(messages), id=named(record.kind, record.images, messages, record.tools))


def unbriefed(record: Record) -> Record:
    """Return the record without its system turn, or as it is; always so for the same record."""
    part = int(sha256(record.id.encode()).hexdigest()[:8], 16) / 16 ** 8
    if record.kind in FIXED or record.messages[0]["role"] != "system" or part >= UNBRIEFED:
        return record
    messages = record.messages[1:]
    return replace(record, messages=messages, id=named(record.kind, record.images, messages, record.tools))


def _reworded(message: Mapping[str, Any], how: Callable[[str, random.Random], str], rng: random.Random
              ) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": how(content, rng)}
    last = max((i for i, p in enumerate(content) if p["type"] == "text"), default=-1)
    parts = [{**p, "text": how(p["text"], rng)} if i == last else p for i, p in enumerate(content)]
    return {**message, "content": parts}


def other_words(text: str, rng: random.Random) -> str:
    """Return a prompt's text with some plain words of its question, the last line, changed or mistyped."""
    *lines, question = text.split("\n")
    if question.startswith("Answer with"):
        return text
    said = PLAIN.sub(lambda m: rng.choice(WORDS[m[0]]) if m[0] in WORDS and rng.random() < 0.5 else m[0], question)
    plain = [m for m in PLAIN.finditer(said) if m[0] in MISTYPES and len(m[0]) > 3]
    if plain and rng.random() < MISTYPED:
        word = rng.choice(plain)
        said = said[:word.start()] + mistyped(word[0], rng) + said[word.end():]
    return "\n".join([*lines, said])


def mistyped(word: str, rng: random.Random) -> str:
    """Return the word with a letter left out, doubled, or two letters in each other's place."""
    at = rng.randrange(1, len(word) - 1)
    return rng.choice((word[:at] + word[at + 1:], word[:at] + word[at] + word[at:],
                       word[:at] + word[at + 1] + word[at] + word[at + 2:]))


def spoken(text: str, rng: random.Random) -> str:
    """Return a prompt's text with its question, the last line, said in one of these ways; options stay untouched."""
    *lines, question = text.split("\n")
    if question.startswith("Answer with"):
        return text
    if rng.random() < 0.15:
        first = question.partition(" ")[0]
        begins = first.lower() if first[1:].isalpha() and first[1:].islower() else first
        return "\n".join([*lines, begins + question[len(first):].rstrip("?.")])
    before = ". ".join(say(p, rng, number=rng.randint(2, 99)) for p, share in ((GREETING, 0.35), (PLACE, 0.6))
                       if rng.random() < share)
    after = say(THANKS, rng) + rng.choice(".!") if rng.random() < 0.25 else ""
    said = [before + "." if before else "", question, after]
    return "\n".join([*lines, " ".join(s for s in said if s)])
