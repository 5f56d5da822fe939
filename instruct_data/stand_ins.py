"""Tools that answer for an item as its specialists would, without running one.

Opinions and similar cases are out-of-fold: of specialists that did not see the image, and of other patients. What was
measured, located, counted and graded has no out-of-fold run: it is answered from the annotation, corners moved by up to
`JITTER` of the box, grades by up to `GRADE_JITTER` of a step; counts and what is absent are the annotators' own.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assistant.collaboration.rad import SIMILAR_CASES, Retrieved
from assistant.settings import LIMITS
from assistant.steps import Declined, Opinion
from assistant.tools import SIMILAR_CASES_SCHEMA, Result
from instruct_data.items import Item, Region
from instruct_data.recorded import Bound
from specialists.core import registry
from specialists.core.card import Card
from specialists.core.findings import SINGULAR, Box, Boxes, Classification, Finding, Instances, Masks, Score

JITTER = 0.03
"""Corners of located things move by up to this share of their box's width and height."""
GRADE_JITTER = 0.3
"""Grades move by up to this part of a step."""
CARD = re.compile(r"(?P<begins>[A-Z][a-z ]+?) on (?:an? )?(?P<kind>[^:]+): (?P<names>.+)\.")
"""What a tool's description says: which question it answers, on which kind of image, about what."""
NO_COLLECTION = Declined(SIMILAR_CASES, "there is no collection of cases for this domain")
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Says:
    """A tool's description as read."""

    begins: str
    kind: str
    names: tuple[str, ...]


def read(schema: Mapping[str, Any]) -> Says | None:
    """Return what a tool's description says of itself; None where it is about no kind of image."""
    found = CARD.fullmatch(schema["function"].get("description", ""))
    return Says(found["begins"], found["kind"], tuple(found["names"].split(", "))) if found else None


def opinion_tools(item: Item) -> list[Bound]:
    """Return a tool for each out-of-fold opinion about the item."""
    cards = registry.cards()
    found = [(o, Classification(o.specialist, dict(o.probabilities))) for o in item.opinions]
    return [Bound(_schema(o, item, cards.get(o.specialist)), _fixed(finding)) for o, finding in found]


def measuring_tools(item: Item, rng: random.Random) -> list[Bound]:
    """Return a tool for each specialist for this kind of image whose answer the annotation holds."""
    found = []
    for card in registry.cards().values():
        if item.kind in card.kinds and min(item.size) > 0:
            finding = measured(card, item, rng)
            if finding is not None:
                found.append(Bound(card.tool_schema(), _fixed(finding)))
    return found


def distractors(item: Item, count: int, rng: random.Random) -> list[Bound]:
    """Return tools made for other kinds of image; the item knows no answer of theirs."""
    others = [c for c in registry.cards().values() if c.task != "triage" and item.kind not in c.kinds]
    return [Bound(c.tool_schema(), _fixed(Boxes(c.name, ()))) for c in rng.sample(others, min(count, len(others)))]


def similar_cases(item: Item) -> Bound:
    """Return the retrieval tool over the item's leave-group-out cases."""
    def answer(arguments: Mapping[str, Any]) -> Result:
        k = int(arguments.get("k", LIMITS.neighbors))
        cases = tuple(c for c in item.cases if c.id != item.sample.id)[:k]
        return Result(retrieved=Retrieved(cases, none_similar=not cases))

    return Bound(SIMILAR_CASES_SCHEMA, answer)


def failing(tool: Bound, finding: Finding) -> Bound:
    """Return the tool answering with a refusal, in retrieval's words where it is retrieval."""
    if tool.name != SIMILAR_CASES:
        return Bound(tool.schema, _fixed(finding))
    return Bound(tool.schema, lambda _: Result(retrieved=Retrieved(refusals=(NO_COLLECTION,))))


def renamed(tool: Bound, name: str) -> Bound:
    """Return the tool under another name, by which it also calls itself where its words name it."""
    def answer(arguments: Mapping[str, Any]) -> Result:
        result = tool.answer(arguments)
        if result.finding is None or isinstance(result.finding, Classification):
            return result  # an opinion's words do not name it, and its figures are found by its own name
        return replace(result, finding=replace(result.finding, specialist=name))

    return Bound({**tool.schema, "function": {**tool.schema["function"], "name": name}}, answer)


def measured(card: Card, item: Item, rng: random.Random) -> Finding | None:
    """Return what a specialist with this card would answer, None where the item does not know it."""
    if card.task == "segmentation":
        return _masks(card, item, rng)
    if card.task == "detection":
        return _boxes(card, item, rng)
    if card.task == "instances":
        return _instances(card, item)
    return _score(card, item, rng) if card.task == "grading" else None


def _schema(opinion: Opinion, item: Item, card: Card | None) -> dict[str, Any]:
    """Return the schema of an opinion's specialist; of one without a card, in the words a card would have."""
    if card is not None:
        return card.tool_schema()
    description = f"Opinion on a {item.kind or 'medical image'}: {', '.join(opinion.probabilities)}."
    return {"type": "function", "function": {"name": opinion.specialist, "description": description,
                                             "parameters": {"type": "object", "properties": {}, "required": []}}}


def _fixed(finding: Finding) -> Callable[[Mapping[str, Any]], Result]:
    return lambda _: Result(finding=finding)


def _known(card: Card, item: Item) -> bool:
    """Tell whether the annotation holds, of every label of the card, where it is or that it is not there."""
    return all(item.named(_one(name)) or _one(name) in item.absent for name in card.label_names)


def _one(label: str) -> str:
    return SINGULAR.get(label, label)


def _masks(card: Card, item: Item, rng: random.Random) -> Masks | None:
    if not _known(card, item) or any(r.area is None for n in card.label_names for r in item.named(_one(n))):
        return None
    width, height = item.size
    masks = {}
    for label in card.label_names:
        if regions := item.named(_one(label)):
            masks[label] = np.zeros((height, width), dtype=bool)
            for region in regions:
                _draw(masks[label], region, rng)
    return Masks(card.name, masks, absent=tuple(n for n in card.label_names if n not in masks))


def _draw(mask: np.ndarray, region: Region, rng: random.Random) -> None:
    """Fill a shape that touches the sides of the region's moved box and has about the region's area."""
    height, width = mask.shape
    left, top, right, bottom = moved(region.box, rng)
    x1, y1 = min(round(left * width), width - 1), min(round(top * height), height - 1)
    x2, y2 = max(round(right * width), x1 + 1), max(round(bottom * height), y1 + 1)
    across, down = np.meshgrid(np.linspace(-1, 1, x2 - x1), np.linspace(-1, 1, y2 - y1))
    share = (region.area or 0.0) * width * height / ((x2 - x1) * (y2 - y1))
    power = _power(min(0.98, max(0.4, share)))
    shape = np.abs(across) ** power + np.abs(down) ** power <= 1
    shape[shape.shape[0] // 2] = shape[:, shape.shape[1] // 2] = True  # one piece, from side to side
    mask[y1:y2, x1:x2] |= shape


def _power(share: float) -> float:
    """Return the power of the superellipse that fills this share of its box."""
    low, high = 0.3, 60.0
    for _ in range(20):
        middle = math.sqrt(low * high)
        filled = math.gamma(1 + 1 / middle) ** 2 / math.gamma(1 + 2 / middle)
        low, high = (middle, high) if filled < share else (low, middle)
    return low


def moved(box: Corners, rng: random.Random) -> Corners:
    """Return the box with its corners moved by up to `JITTER` of its sides, within the image."""
    x1, y1, x2, y2 = box
    sides = (x2 - x1, y2 - y1)
    a, b, c, d = (min(1.0, max(0.0, v + side * rng.uniform(-JITTER, JITTER)))
                  for v, side in zip(box, (*sides, *sides), strict=True))
    return a, b, c, d


def _boxes(card: Card, item: Item, rng: random.Random) -> Boxes | None:
    if not _known(card, item):
        return None
    (width, height), found = item.size, []
    for label in card.label_names:
        for region in item.named(_one(label)):
            x1, y1, x2, y2 = moved(region.box, rng)
            found.append(Box(label, (x1 * width, y1 * height, x2 * width, y2 * height), rng.uniform(0.6, 0.99)))
    return Boxes(card.name, tuple(found), card.label_names)


def _instances(card: Card, item: Item) -> Instances | None:
    """Return as many things of the regions' areas; where they lie is not told in words and not drawn."""
    label = card.label_names[0]
    regions = item.named(_one(label))
    width, height = item.size
    areas = [max(1, round((r.area or 0.0) * width * height)) for r in regions]
    if not regions or item.counts.get(_one(label)) != len(regions) or sum(areas) > width * height:
        return None
    numbers = np.zeros(width * height, dtype=np.int32)
    numbers[:sum(areas)] = np.repeat(np.arange(1, len(areas) + 1), areas)
    return Instances(card.name, label, numbers.reshape(height, width))


def _score(card: Card, item: Item, rng: random.Random) -> Score | None:
    given = card.input
    needed = {"low", "high", "half_width", "words"}
    if item.grade is None or item.grade.scale not in card.label_names or not needed <= set(given):
        return None
    low, high, half = (float(given[k]) for k in ("low", "high", "half_width"))
    value = min(high, max(low, item.grade.value + rng.uniform(-GRADE_JITTER, GRADE_JITTER)))
    words: Sequence[str] = given["words"]
    return Score(card.name, card.label_names[0], value, low, high, (max(low, value - half), min(high, value + half)),
                 words[math.floor(value + 0.5) - int(low)])
