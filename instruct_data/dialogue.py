"""Small pieces that every kind of conversation uses: choice of an item, messages, questions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from instruct_data.items import Item
from instruct_data.records import Record

IMAGE = "image:0"
"""Stands for the image in prompts made by the template; becomes an {"type": "image"} part."""

DIAGNOSIS_QUESTIONS = (
    "What is the diagnosis?", "Which option fits best?", "Which diagnosis is most likely?", "What does the image show?",
    "What is the finding?", "Which of these is it?", "What is the most likely diagnosis?", "Which option is right?",
    "Choose the diagnosis.", "Which disease does the image show?", "What do you see?", "Which finding is present?",
)


def pick(groups: Mapping[str, Sequence[Item]], rng: random.Random) -> Item:
    """Return an item: the set by the square root of its images times labels, the label by the root of its count.

    Small sets and rare labels are heard, and a set of many labels, which is harder, is heard more.
    """
    names = sorted(groups)
    name = rng.choices(names, [(len(groups[n]) * max(1, len(groups[n][0].labels))) ** 0.5 for n in names])[0]
    items = groups[name]
    counts = Counter(i.label for i in items)
    labels = sorted(counts)
    label = rng.choices(labels, [counts[x] ** 0.5 for x in labels])[0]
    return rng.choice([i for i in items if i.label == label])


def record(kind: str, rng: random.Random, item: Item | None, messages: Sequence[Mapping[str, Any]], answer: str,
           tools: Sequence[Mapping[str, Any]] = (), *, see: bool = True) -> Record:
    """Return the record of prompt messages and the answer; `see=False` leaves the image out."""
    shown = [_parts(m, see and item is not None) for m in messages]
    return finish(kind, rng, item, [*shown, {"role": "assistant", "content": answer}], tools, see=see)


def finish(kind: str, rng: random.Random, item: Item | None, messages: Sequence[Mapping[str, Any]],
           tools: Sequence[Mapping[str, Any]] = (), *, see: bool = True) -> Record:
    """Return the record of whole messages."""
    sample = item.sample if item is not None else None
    return Record(id=f"{kind}-{rng.getrandbits(48):012x}", kind=kind, images=(item.image,) if item and see else (),
                  messages=tuple(messages), tools=tuple(tools), dataset=sample.dataset if sample else "imagined",
                  split=sample.split if sample else "train", license=sample.license if sample else "",
                  tier=sample.tier if sample else "A")


def _parts(message: Mapping[str, Any], see: bool) -> dict[str, Any]:
    """Return the message with the template's image URLs as image parts, or without them."""
    content = message["content"]
    if isinstance(content, str):
        return dict(message)
    parts = [{"type": "image"} if p["type"] == "image_url" else p for p in content if see or p["type"] != "image_url"]
    return {**message, "content": parts}
