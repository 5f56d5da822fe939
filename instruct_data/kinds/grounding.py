"""Where is it? Boxes in the convention of Qwen3-VL, "not present" when the image has none, and what a box holds."""

from __future__ import annotations

import random

from assistant import template
from assistant.generalist.boxes import JsonThousandths
from instruct_data.dialogue import IMAGE, pick, record
from instruct_data.items import SIDE, Library
from instruct_data.records import Record

WHERE = ("Where is the {name}?", "Locate the {name}.", "Draw a box around the {name}.", "Show me the {name}.",
         "Find the {name}.")
WHAT = ("What is in the box {box}?", "What does the region {box} show?", "Name the structure in {box}.")
MOST_BOXES = 4
CODEC = JsonThousandths()


def make(library: Library, rng: random.Random) -> Record:
    """Return a where question, one about a thing that is not there, or one about a box."""
    boxed = {n: found for n, items in library.by_set.items()
             if (found := [i for i in items if i.boxes and len(i.boxes) <= 40])}
    item = pick(boxed, rng)
    name = rng.choice(sorted({b.label for b in item.boxes}))
    own = [b for b in item.boxes if b.label == name]
    draw = rng.random()
    elsewhere = sorted({i[0].boxes[0].label for i in boxed.values()} - {b.label for b in item.boxes})
    if draw < 0.25 and elsewhere:
        absent = rng.choice(elsewhere)
        return _ask(rng, item, rng.choice(WHERE).format(name=absent), f"There is no {absent} on this image.")
    if draw < 0.4:
        box = rng.choice(own)
        text = CODEC.encode([box], (SIDE, SIDE))
        where = text[text.index('"bbox_2d":') + len('"bbox_2d":'):].split("]")[0].strip() + "]"
        return _ask(rng, item, rng.choice(WHAT).format(box=where), f"This is a {name}.")
    own = sorted(own, key=lambda b: -(b.xyxy[2] - b.xyxy[0]) * (b.xyxy[3] - b.xyxy[1]))[:MOST_BOXES]
    return _ask(rng, item, rng.choice(WHERE).format(name=name), CODEC.encode(own, (SIDE, SIDE)))


def _ask(rng: random.Random, item: object, question: str, answer: str) -> Record:
    return record("grounding", rng, item, template.opening(question, [IMAGE]), answer)  # type: ignore[arg-type]
