"""Paraphrase grammars: patterns with alternatives, expanded by a seeded generator; they know no images.

A pattern holds alternatives in round brackets, parted by "|", nested as deep as one likes; an empty alternative leaves
the part out: "(Where is|Please (find|locate)) the {name}( on this image|)?". Braces are slots.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

Part = str | tuple["Choice", ...]
Choice = tuple["Part", ...]


def say(patterns: str | Sequence[str], rng: random.Random, **slots: object) -> str:
    """Return one expansion of one pattern with its slots filled; every alternative is as likely as its sisters."""
    pattern = patterns if isinstance(patterns, str) else rng.choice(patterns)
    return _sentence(_expanded(_parsed(pattern), rng), slots)


def forms(patterns: str | Sequence[str], **slots: object) -> list[str]:
    """Return all different expansions of all patterns, in a fixed order."""
    several = [patterns] if isinstance(patterns, str) else list(patterns)
    return list(dict.fromkeys(_sentence(text, slots) for p in several for text in _all(_parsed(p))))


def _sentence(text: str, slots: dict[str, object]) -> str:
    """Fill the slots; placeholders of boxes such as {boxes:0} are no slots and stay."""
    filled = re.sub(r"\{(\w+)\}", lambda m: str(slots[m[1]]), text)
    plain = re.sub(r" +([.,?!])", r"\1", re.sub(r" {2,}", " ", filled)).strip()
    # The name of a specialist stays as it is written.
    return plain if "_" in plain.partition(" ")[0] else plain[:1].upper() + plain[1:]


@lru_cache(maxsize=4096)
def _parsed(pattern: str) -> Choice:
    parts, at = _sequence(pattern, 0)
    if at != len(pattern):
        raise ValueError(f"Unbalanced brackets in the pattern {pattern!r}.")
    return parts


def _sequence(pattern: str, at: int) -> tuple[Choice, int]:
    """Return the parts from `at` to the next "|" or ")" of the same depth, and where it stands."""
    parts: list[Part] = []
    while at < len(pattern) and pattern[at] not in "|)":
        if pattern[at] != "(":
            end = next((i for i in range(at, len(pattern)) if pattern[i] in "(|)"), len(pattern))
            parts.append(pattern[at:end])
            at = end
            continue
        choices: list[Choice] = []
        while True:
            choice, at = _sequence(pattern, at + 1)
            choices.append(choice)
            if at >= len(pattern):
                raise ValueError(f"Unbalanced brackets in the pattern {pattern!r}.")
            if pattern[at] == ")":
                break
        parts.append(tuple(choices))
        at += 1
    return tuple(parts), at


def _expanded(parts: Choice, rng: random.Random) -> str:
    return "".join(p if isinstance(p, str) else _expanded(rng.choice(p), rng) for p in parts)


def _all(parts: Choice) -> Iterator[str]:
    if not parts:
        yield ""
        return
    first, rest = parts[0], parts[1:]
    heads = [first] if isinstance(first, str) else [text for choice in first for text in _all(choice)]
    for head in heads:
        for tail in _all(rest):
            yield head + tail
