"""The generalist's own look: which label, in words, from the image alone; the words are those that serving scores."""

from __future__ import annotations

import random
from collections.abc import Iterator

from assistant import template
from instruct_data.dialogue import IMAGE, record, turns
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.records import Record


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield the look at an image whose label is of a diagnosis set."""
    if item.label not in item.labels:
        return
    kind = item.kind or None
    said = [facts.kind(item)] if kind else []
    yield record("looking", item, turns(template.look([IMAGE], kind), template.looked(item.label, kind)),
                 facts=[*said, facts.diagnosis(item.label)])
