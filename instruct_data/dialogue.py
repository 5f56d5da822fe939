"""Small pieces that every kind of conversation uses: the record of messages, prompts as serving writes them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from assistant import template
from instruct_data.items import Item
from instruct_data.records import Marked, Record

IMAGE = "image:0"
"""Stands for an image in prompts made by the template; becomes an {"type": "image"} part."""
TOLD = 0.5
"""Share of prompts that tell the kind of image, as serving does once triage has named it."""

OPEN_QUESTIONS = (
    "What is the diagnosis?", "Which diagnosis is most likely?", "What does the image show?", "What is the finding?",
    "What is the most likely diagnosis?", "Which disease does the image show?", "What do you see?",
    "Which finding is present?",
    "(What|Which) (diagnosis|disease|condition|finding|illness|disorder) (do you (suspect|suggest|favor|propose|see)"
    "|would you (name|go for|put first)|seems likely|comes to mind|fits( best|)|would explain (this|it))( here|)?",
    "(What|Which) is your (diagnosis|impression|best guess|leading diagnosis|conclusion)( here| for this one|)?",
    "(What|Which (disease|condition)) (could|might|may) (this|it) be?",
    "(Please |)(diagnose|label|name|classify) (this|it|what is shown|the (condition|disease|finding)).",
)
"""Questions for a diagnosis, as patterns; those that name no options need none."""

DIAGNOSIS_QUESTIONS = (
    *OPEN_QUESTIONS, "Which option fits best?", "Which of these is it?", "Which option is right?",
    "Choose the diagnosis.",
)
"""Questions beside options; those before them need none."""


def told(item: Item, rng: random.Random, share: float = TOLD) -> str | None:
    """Return the kind of image in a share of the cases: a prompt's first line; None leaves it out."""
    return item.kind if item.kind and rng.random() < share else None


def opened(question: str, images: int = 1, **how: Any) -> list[dict[str, Any]]:
    """Return `template.opening` over a number of images: system turn and question, as serving writes them."""
    return template.opening(question, [IMAGE] * images, **how)


def turns(first: Sequence[Mapping[str, Any]], answer: str, *more: tuple[str, str]) -> list[dict[str, Any]]:
    """Return a prompt, its answer, and further (question, answer) turns; the images stay in the first turn."""
    said = [{"role": role, "content": text} for pair in more
            for role, text in zip(("user", "assistant"), pair, strict=True)]
    return [*(dict(m) for m in first), {"role": "assistant", "content": answer}, *said]


def record(kind: str, item: Item | None, messages: Sequence[Mapping[str, Any]], *, facts: Sequence[str] = (),
           boxes: Sequence[Marked] = (), tools: Sequence[Mapping[str, Any]] = (), others: Sequence[Item] = ()
           ) -> Record:
    """Return the record of whole messages, answers included; a prompt without image parts makes one without images.

    `others` are further images after the item's own, in the order of the image parts. The id depends on the content.
    """
    shown = tuple(_parts(m) for m in messages)
    count = sum(p["type"] == "image" for m in shown if isinstance(m["content"], list) for p in m["content"])
    seen = [i for i in (item, *others) if i is not None][:count]
    sample = item.sample if item is not None else None
    about = {} if item is None or sample is None else {
        "dataset": sample.dataset, "modality": item.kind, "split": sample.split, "group": sample.group,
        "source": sample.source, "license": sample.license, "tier": sample.tier}
    images = tuple(i.image for i in seen)
    return Record(id=named(kind, images, shown, tools), kind=kind, images=images, messages=shown,
                  tools=tuple(tools), facts=tuple(facts), boxes=tuple(boxes),
                  sizes=tuple(i.size for i in seen) if all(i.size[0] for i in seen) else (),
                  **{"dataset": "imagined", "tier": "A", **about})


def named(kind: str, images: Sequence[str], messages: Sequence[Any], tools: Sequence[Any]) -> str:
    """Return a record's id, by its content."""
    return f"{kind}-{sha256(repr((kind, list(images), tuple(messages), tuple(tools))).encode()).hexdigest()[:16]}"


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


def _parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message with the template's image URLs as image parts."""
    content = message["content"]
    if isinstance(content, str):
        return dict(message)
    return {**message, "content": [{"type": "image"} if p["type"] == "image_url" else p for p in content]}
