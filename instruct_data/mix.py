"""How much of each kind of conversation: shares chosen on validation images (docs/log.md)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping

from instruct_data.items import Library
from instruct_data.kinds import (
    diagnosis,
    evidence,
    findings,
    grounding,
    image_kind,
    imagined,
    looking,
    refusal,
    tool_use,
)
from instruct_data.records import Record
from specialists.core.errors import BadData

Make = Callable[[Library, random.Random], Record]

KINDS: dict[str, tuple[Make, float]] = {
    "evidence": (evidence.make, 0.38),
    "weighing": (evidence.make_blind, 0.10),
    "imagined": (imagined.make, 0.07),
    "diagnosis": (diagnosis.make, 0.16),
    "looking": (looking.make, 0.02),
    "image_kind": (image_kind.make, 0.05),
    "findings": (findings.make, 0.08),
    "grounding": (grounding.make, 0.05),
    "tool_use": (tool_use.make, 0.08),
    "refusal": (refusal.make, 0.03),
}
"""Kind -> (its make, its share of the mixture)."""

LOOKING = {"looking": 0.50, "evidence": 0.26, "weighing": 0.03, "imagined": 0.02, "diagnosis": 0.04, "image_kind": 0.04,
           "findings": 0.03, "grounding": 0.02, "tool_use": 0.05, "refusal": 0.01}
"""Shares of the last stage: half of it is looking, which the stage before hardly teaches (docs/log.md)."""

NEEDS_EVIDENCE = frozenset({"evidence", "weighing", "tool_use"})


def build(library: Library, count: int, seed: int, kinds: Iterable[str] | None = None,
          shares: Mapping[str, float] | None = None) -> Iterator[Record]:
    """Yield `count` records; the same library, count, kinds, shares and seed give the same records."""
    names = sorted(kinds or KINDS)
    unknown = [n for n in names if n not in KINDS]
    if unknown:
        raise BadData(f"No kind of conversation named {', '.join(unknown)}. Known: {', '.join(sorted(KINDS))}.")
    if not library.with_evidence:
        names = [n for n in names if n not in NEEDS_EVIDENCE]
    if not names:
        raise BadData("These kinds need out-of-fold evidence: name its folder with --evidence.")
    weights = [(shares or {}).get(n, KINDS[n][1]) for n in names]
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        yield KINDS[rng.choices(names, weights)[0]][0](library, rng)
