"""Weigh opinions and similar cases about a real image that is not shown: what evidence is worth, apart from seeing.

It never misleads: without the image nothing could tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from instruct_data.items import Item, Library
from instruct_data.kinds.diagnosis import offered
from instruct_data.kinds.evidence import RENAMED, decide, gathered, given, renamed, spoken_in, weighable
from instruct_data.records import Record


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield one decision on the evidence alone; nothing where no evidence speaks in the options."""
    if not weighable(item):
        return
    options = offered(item, item.label, rng)
    whole = spoken_in(item, options)
    opinions, cases = given(*whole, rng)
    if not opinions and not cases:
        opinions, cases = whole
    if not opinions and not cases:
        return
    if rng.random() < RENAMED:
        yield replace(renamed(item, opinions, cases, options, rng, see=False), facts=())
    else:
        yield decide(item, gathered(opinions, cases, rng), options, item.label, rng, see=False)
