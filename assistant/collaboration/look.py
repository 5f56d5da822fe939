"""The generalist's own look: what it says in words about the image alone, handed to it in letters when it decides.

A small generalist learns to name what it sees long before it learns to find the name's letter among options
(docs/log.md); so its own words are scored first and stand in its prompt as an opinion with its validated record. It is
asked only of generalists whose checkpoint carries such a record; a large one looks while it decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from assistant import template
from assistant.collaboration.evidence import match
from assistant.steps import Opinion

NAME = "own_look"


def own_looks(generalist: Any, urls: Sequence[Sequence[str]], kind: str | None, options: Sequence[Sequence[str]]
              ) -> list[Opinion | None]:
    """Return the generalist's shares of each image's options, or None where its look was never validated on them."""
    record: Mapping[str, float] = getattr(generalist, "look_record", None) or {}
    known = [bool(record) and _all_apart([match(o, list(record)) for o in some]) for some in options]
    asked = [i for i, yes in enumerate(known) if yes]
    prompts = [template.look(urls[i], kind) for i in asked]
    replies = [[template.looked(str(match(o, list(record))), kind) for o in options[i]] for i in asked]
    found: list[Opinion | None] = [None] * len(options)
    for i, said, scores in zip(asked, replies, generalist.score_many(prompts, replies) if asked else (), strict=True):
        shares = {o: math.exp(scores[text]) for o, text in zip(options[i], said, strict=True)}
        validated = {o: float(record[str(match(o, list(record)))]) for o in options[i]}
        found[i] = Opinion(NAME, max(shares, key=lambda x: shares[x]), shares, validated)
    return found


def _all_apart(matched: Sequence[str | None]) -> bool:
    """Tell whether every option is a label of the record, and none the same as another."""
    return None not in matched and len(set(matched)) == len(matched)
