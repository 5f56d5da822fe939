"""Weigh opinions and similar cases against the image: both styles, out-of-fold, absent or wrong in part.

Options are renamed in part, so that weighing evidence is learned apart from knowing a disease. The evidence itself is
made elsewhere: opinions by specialists that did not see the image, cases of other patients.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from assistant import template
from assistant.collaboration.evidence import expressed_in
from assistant.steps import Case, Evidence, Opinion
from instruct_data.dialogue import IMAGE, record, turns
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.kinds.diagnosis import PUBLISHED, QUESTIONS, lettered, offered
from instruct_data.records import Record
from instruct_data.writers.templates import say

WHOLE = 0.5
"""Share with all evidence there is; the rest get some opinions, some cases, or neither."""
RENAMED = 0.2
"""Share whose options are invented words: what they mean only the evidence tells."""
WRONG = 0.04
"""Share with evidence as of another image: all its labels exchanged."""
ADVERSARIAL = 0.04
"""Share in which all specialists are sure of the same wrong label while the image says otherwise."""
NONE_SIMILAR = 0.3
"""Share of the records without cases in which retrieval was asked and found nothing similar."""
SYLLABLES = ("ba", "den", "lo", "mir", "ta", "ko", "ris", "u", "ne", "fal", "gor", "shi", "pel", "an", "dro", "vex")


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield one decision with evidence about the image."""
    if not weighable(item):
        return
    draw = rng.random()
    options = offered(item, item.label, rng)
    opinions, cases = given(*spoken_in(item, options), rng)
    if draw < ADVERSARIAL:
        yield decide(item, Evidence(moed=tuple(against(item, options, rng))), options, item.label, rng)
    elif draw < ADVERSARIAL + WRONG:
        yield decide(item, gathered(*misled(opinions, cases, options, rng), rng), options, item.label, rng)
    elif draw < ADVERSARIAL + WRONG + RENAMED:
        yield renamed(item, opinions, cases, options, rng)
    else:
        yield decide(item, gathered(opinions, cases, rng), options, item.label, rng)


def weighable(item: Item) -> bool:
    """Tell whether there is evidence about the image's label."""
    return bool(item.opinions) and item.label in item.labels and len(item.labels) > 1


def spoken_in(item: Item, options: Sequence[str]) -> tuple[list[Opinion], list[Case]]:
    """Return the item's opinions and cases in the words of the options, as serving does; others are left out."""
    said = [expressed_in(o, options) for o in item.opinions]
    return [o for o in said if isinstance(o, Opinion)], [c for c in others(item) if c.label in options]


def others(item: Item) -> list[Case]:
    """Return the similar cases that are not the image itself; those of its group the evidence's maker left out."""
    return [c for c in item.cases if c.id != item.sample.id]


def renamed(item: Item, opinions: Sequence[Opinion], cases: Sequence[Case], options: Sequence[str],
            rng: random.Random, *, see: bool = True) -> Record:
    """Return the decision between invented words; its letter states nothing of the image."""
    names = dict(zip(options, invented(len(options), rng), strict=True))
    evidence = gathered([named(o, names) for o in opinions], [replace(c, label=names[c.label]) for c in cases], rng)
    made = decide(item, evidence, list(names.values()), names[item.label], rng, see=see)
    return replace(made, facts=())


def decide(item: Item, evidence: Evidence, options: Sequence[str], truth: str, rng: random.Random, *, see: bool = True
           ) -> Record:
    """Return the decision as a record, its letter the answer; without the image it is of the kind `weighing`."""
    prompt = prompted(evidence, options, rng, kind=item.kind or None, see=see)
    return record("evidence" if see else "weighing", item, turns(prompt, lettered(options, truth)),
                  facts=[facts.diagnosis(truth)] if see else ())


def prompted(evidence: Evidence, options: Sequence[str], rng: random.Random, *, kind: str | None, see: bool
             ) -> list[template.Message]:
    """Return the prompt of a decision in one of the two styles."""
    style = "published" if rng.random() < PUBLISHED else "calibrated"
    return template.decision(say(QUESTIONS, rng), [IMAGE] if see else [], options, evidence=evidence, style=style,
                             kind=kind)


def gathered(opinions: Sequence[Opinion], cases: Sequence[Case], rng: random.Random) -> Evidence:
    """Return the evidence; where there is no case, retrieval was asked in a part of the records."""
    return Evidence(moed=tuple(opinions), rad=tuple(cases), no_similar_case=not cases and rng.random() < NONE_SIMILAR)


def given(opinions: Sequence[Opinion], cases: Sequence[Case], rng: random.Random) -> tuple[list[Opinion], list[Case]]:
    """Return part of the evidence: all of it, else some opinions or some cases or neither."""
    if rng.random() < WHOLE:
        return list(opinions), list(cases)
    some = rng.sample(list(opinions), rng.randint(0, len(opinions)))
    few = list(cases)[:rng.choice((0, 1, 3, 5, 10))] if rng.random() < 0.7 else []
    return some, few


def misled(opinions: Sequence[Opinion], cases: Sequence[Case], labels: Sequence[str], rng: random.Random
           ) -> tuple[list[Opinion], list[Case]]:
    """Return evidence whose labels are exchanged, each for another."""
    order = rng.sample(list(labels), len(labels))
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [named(o, other) for o in opinions], [replace(c, label=other[c.label]) for c in cases]


def against(item: Item, options: Sequence[str], rng: random.Random) -> list[Opinion]:
    """Return the item's specialists, all sure of one wrong option."""
    wrong = rng.choice([x for x in options if x != item.label])
    found = []
    for one in item.opinions:
        sure = rng.uniform(0.8, 0.98)
        rest = [rng.random() + 0.05 for _ in options]
        total = sum(r for r, x in zip(rest, options, strict=True) if x != wrong)
        shares = {x: sure if x == wrong else (1 - sure) * r / total for r, x in zip(rest, options, strict=True)}
        kept = {x: f for x, f in one.validated.items() if x in shares or x == "macro"}
        found.append(replace(one, label=wrong, probabilities=shares, validated=kept))
    return found


def named(opinion: Opinion, names: Mapping[str, str]) -> Opinion:
    """Return the opinion with its labels renamed."""
    return replace(opinion, label=names[opinion.label],
                   probabilities={names[x]: p for x, p in opinion.probabilities.items()},
                   validated={names.get(x, x): f for x, f in opinion.validated.items()})


def invented(count: int, rng: random.Random) -> list[str]:
    """Return different words that name no disease."""
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))] = None
    return list(words)
