"""Which kind of image is it? In a sentence, or as a letter among other kinds."""

from __future__ import annotations

import random

from assistant import template
from instruct_data.dialogue import IMAGE, pick, record
from instruct_data.items import Library
from instruct_data.records import Record
from specialists.datasets.kinds import KINDS

QUESTIONS = ("What kind of image is this?", "Which modality and organ is shown?", "What am I looking at?",
             "Describe the kind of image.", "Name the type of image.", "What type of medical image is it?")


def make(library: Library, rng: random.Random) -> Record:
    """Return a sentence, or a decision between two to eight kinds."""
    item = pick(library.by_set, rng)
    if rng.random() < 0.4:
        return record("image_kind", rng, item, template.opening(rng.choice(QUESTIONS), [IMAGE]),
                      f"This is a {item.kind} image.")
    others = rng.sample([k for k in KINDS if k != item.kind], rng.randint(1, 7))
    options = [item.kind, *others]
    rng.shuffle(options)
    letter = template.letters(len(options))[options.index(item.kind)]
    prompt = template.decision(rng.choice(QUESTIONS), [IMAGE], options, evidence=None)
    return record("image_kind", rng, item, prompt, letter)
