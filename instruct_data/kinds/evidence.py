"""Weigh opinions and similar cases against the image: both styles, out-of-fold, absent in part, wrong in part.

Options are renamed in part, so that weighing evidence is learned apart from knowing a disease.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from assistant import template
from assistant.steps import Case, Evidence, Opinion
from instruct_data.dialogue import DIAGNOSIS_QUESTIONS, IMAGE, pick, record
from instruct_data.items import Item, Library
from instruct_data.records import Record

BLIND = 0.15
"""Share without the image, where only the evidence can tell."""
RENAMED, WRONG, PUBLISHED, SUBSET = 0.2, 0.06, 0.3, 0.15
SYLLABLES = ("ba", "den", "lo", "mir", "ta", "ko", "ris", "u", "ne", "fal", "gor", "shi", "pel", "an", "dro", "vex")


def make(library: Library, rng: random.Random, blind_share: float = BLIND) -> Record:
    """Return one decision with evidence about a real image."""
    item = pick(library.with_evidence, rng)
    opinions, cases = given(item.opinions, item.cases, rng)
    labels = list(item.labels)
    if rng.random() < WRONG:
        opinions, cases = misled(opinions, cases, labels, rng)
    if len(labels) > 3 and rng.random() < SUBSET:
        labels = [item.label, *rng.sample([x for x in labels if x != item.label], rng.randint(2, len(labels) - 2))]
        opinions, cases = [narrowed(o, labels) for o in opinions], [c for c in cases if c.label in labels]
    blind = rng.random() < blind_share
    names = {x: x for x in labels}
    if rng.random() < RENAMED:
        names = dict(zip(labels, invented(len(labels), rng), strict=True))
    evidence = gathered([named(o, names) for o in opinions], [replace(c, label=names[c.label]) for c in cases], rng)
    return decide(rng, item, evidence, list(names.values()), names[item.label], see=not blind)


def make_blind(library: Library, rng: random.Random) -> Record:
    """Return one decision on the evidence alone: what is learned before the tower can see, and kept in mind later."""
    return replace(make(library, rng, 1.0), kind="weighing")


def gathered(opinions: Sequence[Opinion], cases: Sequence[Case], rng: random.Random) -> Evidence:
    """Return the evidence; where there is no case, retrieval was asked in a part of the records."""
    return Evidence(moed=tuple(opinions), rad=tuple(cases), no_similar_case=not cases and rng.random() < 0.3)


def decide(rng: random.Random, item: Item | None, evidence: Evidence, options: list[str], truth: str, *, see: bool
           ) -> Record:
    """Return the decision as a record, options shuffled; without an item it is an imagined one."""
    rng.shuffle(options)
    style = "published" if rng.random() < PUBLISHED else "calibrated"
    prompt = template.decision(rng.choice(DIAGNOSIS_QUESTIONS), [IMAGE] if see else [], options, evidence=evidence,
                               style=style, kind=item.kind if item is not None else None)
    letter = template.letters(len(options))[options.index(truth)]
    return record("evidence" if item else "imagined", rng, item, prompt, letter, see=see)


def given(opinions: Sequence[Opinion], cases: Sequence[Case], rng: random.Random) -> tuple[list[Opinion], list[Case]]:
    """Return part of the evidence: all of it in half of the records, else some opinions or some cases or neither."""
    if rng.random() < 0.5:
        return list(opinions), list(cases)
    some = rng.sample(list(opinions), rng.randint(0, len(opinions)))
    few = list(cases)[:rng.choice((0, 1, 3, 5, 10))] if rng.random() < 0.7 else []
    return some, few


def misled(opinions: Sequence[Opinion], cases: Sequence[Case], labels: Sequence[str], rng: random.Random
           ) -> tuple[list[Opinion], list[Case]]:
    """Return evidence whose labels are exchanged at random, as of another image."""
    other = dict(zip(labels, rng.sample(list(labels), len(labels)), strict=True))
    return [named(o, other) for o in opinions], [replace(c, label=other[c.label]) for c in cases]


def named(opinion: Opinion, names: Mapping[str, str]) -> Opinion:
    """Return the opinion with its labels renamed."""
    return replace(opinion, label=names[opinion.label],
                   probabilities={names[x]: p for x, p in opinion.probabilities.items()},
                   validated={names.get(x, x): f for x, f in opinion.validated.items()})


def narrowed(opinion: Opinion, labels: Sequence[str]) -> Opinion:
    """Return the opinion over fewer labels, its probabilities summing to 1 again."""
    kept = {x: opinion.probabilities[x] + 1e-6 for x in labels}
    total = sum(kept.values())
    shares = {x: p / total for x, p in kept.items()}
    return replace(opinion, label=max(shares, key=lambda x: shares[x]), probabilities=shares,
                   validated={x: f for x, f in opinion.validated.items() if x in kept or x == "macro"})


def invented(count: int, rng: random.Random) -> list[str]:
    """Return different words that name no disease."""
    words: set[str] = set()
    while len(words) < count:
        words.add("".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))))
    return sorted(words, key=lambda _: rng.random())
