"""The generalist's own look: which label, in words, from the image alone."""

from __future__ import annotations

import random

from assistant import template
from instruct_data.dialogue import IMAGE, pick, record
from instruct_data.items import Library
from instruct_data.records import Record


def make(library: Library, rng: random.Random) -> Record:
    """Return the look at an image of a diagnosis set."""
    item = pick({name: items for name, items in library.by_set.items() if items[0].labels}, rng)
    return record("looking", rng, item, template.look([IMAGE], item.kind), template.looked(item.label, item.kind))
