"""What becomes of the decision when its evidence is changed: figures under conditions beside the natural ones.

It changes no evidence itself (conditions.py does) and reads no image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from assistant.collaboration.fitted import Fitted
from assistant.evaluation import arms, figures
from assistant.evaluation.cache import Cache
from assistant.evaluation.cases import QUESTION, CaseEvidence
from assistant.evaluation.conditions import Condition, conditions_of, forced_label
from assistant.evaluation.report import Measured, mean_of, predicted, scores_of, trust_of
from assistant.evaluation.wrapped import CachedScores

Changed = Mapping[str, tuple[Condition, Measured]]
"""Condition's name -> the condition and what was measured under it, of one set."""


@dataclass(frozen=True)
class Asking:
    """Who is asked, with which words and images."""

    generalist: Any
    """It scores (`arms.Scores`) and tells its revision."""
    view: arms.View
    question: str = QUESTION
    seed: int = 0
    advance: Callable[[int], Any] = lambda count: None
    fitted: Fitted = field(default_factory=Fitted)
    """What the natural ones were asked with, too."""


def under(condition: Condition, natural: Measured, cases: Sequence[CaseEvidence], asking: Asking) -> Measured:
    """Return the arms of a set under a condition; the generalist alone is as it was, for it sees no evidence.

    `cases` are those of `natural` in their order, collected under the condition's damage with
    `conditions.MOST_CASES` neighbors.
    """
    assert [c.sample.id for c in cases] == [c.sample.id for c in natural.cases]
    domain = natural.domain
    changed = condition.change(cases, domain, asking.seed)
    found = {"generalist": natural.arms["generalist"]} if "generalist" in natural.arms else {}

    def ask(some: Sequence[CaseEvidence], names: Sequence[str]) -> Mapping[str, arms.Floats]:
        return arms.ask(some, domain, asking.generalist, asking.view, names, question=asking.question,
                        advance=asking.advance if arms.DECIDED in names else lambda count: None)
    found |= arms.as_fitted(changed, domain, asking.fitted, condition.arms, ask)
    found |= arms.opinion_arms(changed, domain)
    if "generalist" in found:
        known = arms.judged(changed, domain.labels, found)
        found["arbiter"] = arms.pooled(known, domain.labels, asking.fitted.arbiter)
    return Measured(natural.name, domain, changed, natural.left_out, found)


def all_under(families: Sequence[str], natural: Measured, collect: Callable[[str | None], Sequence[CaseEvidence]],
              asking: Asking) -> Changed:
    """Return what was measured of a set under each condition of some families.

    `collect` returns the set's cases, given the damage done to what specialists see; it is asked once a damage. What
    the generalist says of the image alone is the same under most conditions and is asked once.
    """
    collected: dict[str | None, Sequence[CaseEvidence]] = {}
    found = {}
    with TemporaryDirectory() as folder:
        scores = CachedScores(asking.generalist, Cache(Path(folder) / "scores.jsonl"))
        remembering = replace(asking, generalist=scores)
        for condition in conditions_of(natural.domain, families):
            if condition.damage not in collected:
                collected[condition.damage] = collect(condition.damage)
            measured = under(condition, natural, collected[condition.damage], remembering)
            found[condition.name] = condition, measured
    return found


def figures_of(natural: Sequence[Measured], changed: Sequence[Changed], seed: int = 0) -> dict[str, Any]:
    """Return the figures of each condition by set and arm, each beside its natural ones; one `changed` a set."""
    names = dict.fromkeys(name for one in changed for name in one)
    return {name: _condition([(m, *one[name]) for m, one in zip(natural, changed, strict=True) if name in one], seed)
            for name in names}


def _condition(sets: Sequence[tuple[Measured, Condition, Measured]], seed: int) -> dict[str, Any]:
    before = [scores_of(natural, seed) for natural, *_ in sets]
    after = [scores_of(changed, seed) for *_, changed in sets]
    names = [arm for arm in after[0] if all(arm in row for row in [*before, *after])]
    found: dict[str, Any] = {"what": sets[0][1].what, "sets": {}, "mean": {}}
    for (natural, *_), old, new in zip(sets, before, after, strict=True):
        found["sets"][natural.name] = {arm: _row([old[arm]], [new[arm]]) for arm in names}
    found["mean"] = {arm: _row([old[arm] for old in before], [new[arm] for new in after]) for arm in names}
    found["trust"] = trust_of([changed for *_, changed in sets])
    if sets[0][1].name == "forced":
        found["still_found"] = {arm: _still_found([changed for *_, changed in sets], arm) for arm in names}
    return found


def _row(before: Sequence[figures.Scores], after: Sequence[figures.Scores]) -> dict[str, Any]:
    mean = mean_of(after)
    difference, ci95 = figures.paired(after, before)
    return {"macro_f1": mean["macro_f1"], "ci95": mean["ci95"], "accuracy": mean["accuracy"],
            "minus_natural": difference, "minus_natural_ci95": list(ci95)}


def _still_found(sets: Sequence[Measured], arm: str) -> dict[str, Any]:
    """Return how many cases of the other labels are right although every specialist says the forced one."""
    right = np.concatenate([_others_right(m, arm) for m in sets])
    return {"n": len(right), "rate": float(right.mean()) if len(right) else None,
            "ci95": list(figures.wilson(int(right.sum()), len(right)))}


def _others_right(measured: Measured, arm: str) -> figures.Flags:
    truth = arms.truths(measured.cases, measured.domain.labels)
    others = truth != measured.domain.labels.index(forced_label(measured.cases, measured.domain))
    return (predicted(measured, arm) == truth)[others]
