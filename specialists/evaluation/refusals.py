"""Which images a specialist answers and which it refuses, as it is used: triage first, then its own distance.

It counts; figures of the answers stand in `profile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specialists.core.card import Card
from specialists.core.errors import BadStudy
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.scope import in_scope
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study
from specialists.datasets.kinds import HELD_OUT, KIND_OF
from specialists.datasets.layout import Sample, read_set, set_names
from specialists.evaluation.measure import rounded

BATCH = 16
EACH = 60
"""Images of one set at most that a specialist of another kind is shown."""
KIND = {**KIND_OF, **HELD_OUT}
"""Kind of every set that has one, those that triage was not taught from too."""


@dataclass(frozen=True)
class Shown:
    """One test image with its truth, and what triage said of it."""

    sample: Sample
    kind: str
    study: Study
    triaged: Classification


@dataclass(frozen=True)
class Asked:
    """What one specialist did with one image."""

    dataset: str
    kind: str
    group: str
    by_triage: bool
    """Refused for its kind, before the specialist saw it."""
    by_distance: bool
    """Refused by the specialist itself."""


def shown(root: Path, names: Iterable[str], triage: Specialist | Any, split: str = "test",
          each: Mapping[str, int | None] | None = None) -> Iterator[list[Shown]]:
    """Yield the images of the sets in batches of one set, read once; one that cannot be read is left out.

    `each` limits the images of a set; the same are chosen every time.
    """
    for name in names:
        samples = chosen(read_set(root / name, (split,)), (each or {}).get(name))
        for start in range(0, len(samples), BATCH):
            pairs = list(readable(samples[start:start + BATCH]))
            findings = triage.predict_many([study for _, study in pairs]) if pairs else []
            yield [Shown(sample, KIND[name], study, finding)
                   for (sample, study), finding in zip(pairs, findings, strict=True)
                   if isinstance(finding, Classification)]


def chosen(samples: Sequence[Sample], most: int | None) -> list[Sample]:
    """Return at most so many samples, spread by a fixed draw."""
    if most is None or len(samples) <= most:
        return list(samples)
    return [samples[i] for i in sorted(np.random.default_rng(0).permutation(len(samples))[:most])]


def readable(samples: Iterable[Sample]) -> Iterator[tuple[Sample, Study]]:
    """Yield samples with their studies, without those that cannot be read."""
    for sample in samples:
        try:
            yield sample, read_study(sample.path)
        except BadStudy:
            continue


def kinds_under(root: Path) -> list[str]:
    """Return the sets under the data folder whose kind of image is known."""
    return [name for name in set_names(root) if name in KIND]


def asked(card: Card, images: Sequence[Shown], answers: Sequence[Finding]) -> list[Asked]:
    """Return what a specialist did with images, given its answers about them."""
    return [Asked(one.sample.dataset, one.kind, one.sample.group, in_scope(card, one.triaged) is not None,
                  isinstance(answer, Refusal)) for one, answer in zip(images, answers, strict=True)]


def refusals(card: Card, rows: Sequence[Asked]) -> dict[str, Any]:
    """Return {n, kept, refused, others, by_triage, by_distance, by_kind, other_sources} over images of its own sets.

    `kept` and `refused` are as it is used: an image is answered when neither triage nor its distance refuses it.
    `by_triage` and `by_distance` are the same two figures with one of the two alone; `by_kind` counts the refused
    of each other kind. Images of its kind from sets that it was not taught from are in `other_sources` alone.
    """
    sets = {row["set"] for row in card.data}
    own = [row for row in rows if row.dataset in sets]
    others = [row for row in rows if row.kind not in card.kinds]
    elsewhere = [row for row in rows if row.kind in card.kinds and row.dataset not in sets]
    ways = {"": lambda row: row.by_triage or row.by_distance, "by_triage": lambda row: row.by_triage,
            "by_distance": lambda row: row.by_distance}
    shares = {way: {"kept": _share([not refused(row) for row in own]), "refused": _share(list(map(refused, others)))}
              for way, refused in ways.items()}
    either = ways[""]
    by_kind = {kind: [sum(either(row) for row in others if row.kind == kind), sum(row.kind == kind for row in others)]
               for kind in sorted({row.kind for row in others})}
    sources = {name: [sum(not either(row) for row in elsewhere if row.dataset == name),
                      sum(row.dataset == name for row in elsewhere)]
               for name in sorted({row.dataset for row in elsewhere})}
    return {"n": len(own), **shares[""], "others": len(others), "by_triage": shares["by_triage"],
            "by_distance": shares["by_distance"], "by_kind": by_kind, "other_sources": sources}


def _share(said: Sequence[bool]) -> float | None:
    return rounded(np.mean(said)) if said else None
