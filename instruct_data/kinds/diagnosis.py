"""Which option? From the image alone, options lettered and shuffled."""

from __future__ import annotations

import random

from assistant import template
from instruct_data.dialogue import DIAGNOSIS_QUESTIONS, IMAGE, pick, record
from instruct_data.items import Library
from instruct_data.records import Record


def make(library: Library, rng: random.Random) -> Record:
    """Return a decision between all labels of the set, or in a quarter of the cases between some of them."""
    item = pick({name: items for name, items in library.by_set.items() if items[0].labels}, rng)
    options = list(item.labels)
    if len(options) > 2 and rng.random() < 0.25:
        others = [label for label in options if label != item.label]
        options = [item.label, *rng.sample(others, rng.randint(1, len(others) - 1))]
    rng.shuffle(options)
    style = "published" if rng.random() < 0.3 else "calibrated"
    prompt = template.decision(rng.choice(DIAGNOSIS_QUESTIONS), [IMAGE], options, evidence=None, style=style,
                               kind=item.kind if rng.random() < 0.9 else None)
    return record("diagnosis", rng, item, prompt, template.letters(len(options))[options.index(item.label)])
