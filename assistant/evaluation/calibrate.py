"""Fits the consilium on someone's validation data: evidence, arbiter, confidence, threshold to refer, label sets.

It takes cases that were asked already and changes nothing that decides: the generalist is shown more or less evidence,
and what it says is believed more or less. Every figure it tells is cross-fitted: of cases that were not fitted on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assistant.collaboration import arbiter as arbiters
from assistant.collaboration.arbiter import HEARD, Arbiter, Judged
from assistant.collaboration.fitted import DomainFit, Fitted, Method, hide, not_ruled_out, strangeness
from assistant.collaboration.rad import SIMILAR_CASES
from assistant.evaluation import arms, figures, knowing
from assistant.evaluation.arms import Floats, Scores, View
from assistant.evaluation.cases import QUESTION, CaseEvidence, Domain
from assistant.evaluation.harness import Advance

FOLDS = 5
SURE = 0.9
"""Share of resamples in which less evidence must decide better before it is chosen."""
FEWEST = 20
"""Groups of a domain under which resamples prove nothing, and all evidence is shown."""

ALL = "nothing hidden"
Hidden = tuple[str, ...]
"""Names of what the generalist is not shown: specialists, "similar_cases"; none is all evidence."""


@dataclass(frozen=True)
class Wanted:
    """What the user wants of the fitted consilium."""

    level: float = 0.9
    """In which share of new patients a label set holds the truth."""
    method: Method = "lac"
    right: float = 0.8
    """Share of right answers among those that are not referred to a human."""
    seed: int = 0
    few: Arbiter | None = None
    """The arbiter where there are too few cases to fit one; None: what ships."""


@dataclass(frozen=True)
class Studied:
    """The cases of one set and what the generalist said of them, over the domain's labels (N, L)."""

    name: str
    domain: Domain
    cases: Sequence[CaseEvidence]
    alone: Floats
    """From the image alone."""
    decided: Mapping[Hidden, Floats]
    """With the evidence, for each choice of what is hidden."""

    def part(self, kept: Callable[[str], bool]) -> Studied:
        """Return the cases of some groups."""
        chosen = np.array([kept(case.group) for case in self.cases], dtype=bool)
        return replace(self, cases=[case for case, yes in zip(self.cases, chosen, strict=True) if yes],
                       alone=self.alone[chosen], decided={names: said[chosen] for names, said in self.decided.items()})

    def judged(self, hidden: Hidden = ()) -> list[Judged]:
        """Return the cases as the arbiter takes them: it hears all the evidence, whatever the generalist was shown."""
        return arms.judged(self.cases, self.domain.labels, {"generalist": self.alone, "gsco": self.decided[hidden]})

    def without(self, source: str) -> list[tuple[CaseEvidence, Judged]]:
        """Return the cases as they are where a source of HEARD cannot be asked; none where that was not decided.

        A case where the other source said nothing either is left out: that is a decision from the image alone.
        """
        names = (SIMILAR_CASES,) if source == "neighbors" else tuple(card.name for card in self.domain.cards)
        if not names or names not in self.decided:
            return []
        shown = [replace(case, evidence=hide(case.evidence, names)) for case in self.cases]
        judged = arms.judged(shown, self.domain.labels, {"generalist": self.alone, "gsco": self.decided[names]})
        return [(case, known) for case, known in zip(shown, judged, strict=True)
                if known.evidence.moed or known.evidence.rad]


@dataclass(frozen=True)
class Asking:
    """Who is asked, with which words and images."""

    generalist: Scores
    view: View
    question: str = QUESTION
    advance: Advance = lambda count: None


# 1) what is asked

def choices(domain: Domain) -> list[Hidden]:
    """Return what may be hidden: nothing, one specialist, all of them, the similar cases."""
    names = tuple(card.name for card in domain.cards)
    less = [(name,) for name in names] if len(names) > 1 else []
    cases = [(SIMILAR_CASES,)] if domain.similar is not None and names else []
    return [(), *less, *cases, *([names] if names and domain.similar is not None else [])]


def study(name: str, cases: Sequence[CaseEvidence], domain: Domain, hidden: Sequence[Hidden], asking: Asking
          ) -> Studied:
    """Ask what the image alone says, and for the decision with each choice of evidence."""
    alone, decided = np.zeros(0), {}
    for names in hidden:
        shown = [replace(case, evidence=hide(case.evidence, names)) for case in cases]
        said = arms.ask(shown, domain, asking.generalist, asking.view, ["generalist", "gsco"],
                        question=asking.question, advance=asking.advance)
        alone, decided[names] = said["generalist"], said["gsco"]
    return Studied(name, domain, cases, alone, decided)


# 2) what is fitted

def choose_evidence(several: Sequence[Studied], seed: int = 0) -> Hidden:
    """Return what to hide in a domain: nothing, unless the decisions are better without it beyond the data's doubt.

    Compared is the macro-F1, mean over the domain's sets, in resamples of whole groups.
    """
    if len({case.group for studied in several for case in studied.cases}) < FEWEST:
        return ()
    scored = {hidden: [_scores(studied, studied.decided[hidden], seed) for studied in several]
              for hidden in several[0].decided}
    best, most = (), 0.0
    for hidden, scores in scored.items():
        gain = figures.paired(scores, scored[()])[0]
        won = np.mean([a.resampled - b.resampled for a, b in zip(scores, scored[()], strict=True)], axis=0) > 0
        if gain > most and float(np.mean(won)) >= SURE:
            best, most = hidden, gain
    return best


def _scores(studied: Studied, said: Floats, seed: int) -> figures.Scores:
    labels = studied.domain.labels
    groups = [case.group for case in studied.cases]
    weights = figures.resample_weights(groups, figures.RESAMPLES, np.random.default_rng(seed))
    return figures.scores(arms.truths(studied.cases, labels), said, arms.places_shown(studied.cases, labels), weights)


@dataclass(frozen=True)
class Believed:
    """One case with what users would be told by an arbiter that was not fitted on it."""

    domain: str
    set: str
    group: str
    known: Judged
    settled: arms.Settled


def fit(studied: Sequence[Studied], wanted: Wanted = Wanted()) -> tuple[Fitted, dict[str, Any]]:
    """Return what is fitted on all cases, and the cross-fitted figures of it; needs decisions without anything hidden.

    Raises ValueError without cases.
    """
    hidden = _hidden(studied, wanted)
    believed = cross_fit(studied, wanted)
    domains = {}
    for domain in {one.domain.name: one.domain for one in studied}.values():
        strange = one_a_group([x for x in believed[ALL] if x.domain == domain.name], wanted)
        domains[domain.name] = DomainFit(domain.labels, hidden[domain.name], quantile(strange, wanted.level),
                                         len(strange))
    fitted = Fitted(_arbiter(studied, hidden, wanted), domains, wanted.level, wanted.method)
    found = _figures(believed[ALL], wanted)
    found["without"] = {source: _figures(cases, wanted)["pooled"] for source, cases in believed.items()
                        if source != ALL and cases}
    return fitted, found


def _hidden(studied: Sequence[Studied], wanted: Wanted) -> dict[str, Hidden]:
    """Return what the generalist is not shown, by domain."""
    of_domain: dict[str, list[Studied]] = defaultdict(list)
    for one in studied:
        of_domain[one.domain.name].append(one)
    return {name: choose_evidence(several, wanted.seed) for name, several in of_domain.items()}


def _arbiter(studied: Sequence[Studied], hidden: Mapping[str, Hidden], wanted: Wanted) -> Arbiter:
    less = {source: [known for one in studied for _, known in one.without(source)] for source in HEARD}
    return arbiters.fit_arbiter([known for one in studied for known in one.judged(hidden[one.domain.name])],
                                kept_accuracy=wanted.right, belief=True, without=less, few=wanted.few)


def cross_fit(studied: Sequence[Studied], wanted: Wanted) -> dict[str, list[Believed]]:
    """Return what is believed of each case by what was chosen and fitted on the other folds; no group is in two.

    Under ALL stand the decisions as users get them, under a name of HEARD those without that source.
    """
    groups = [case.group for one in studied for case in one.cases]
    fold = dict(zip(groups, _folds(groups, wanted.seed), strict=True))
    found: dict[str, list[Believed]] = {ALL: [], **{source: [] for source in HEARD}}
    for number in range(FOLDS):
        others = [one.part(lambda group: fold[group] != number) for one in studied]  # noqa: B023
        if not any(one.cases for one in others):
            continue
        hidden = _hidden(others, wanted)
        arbiter = _arbiter(others, hidden, wanted)
        for one in (one.part(lambda group: fold[group] == number) for one in studied):  # noqa: B023
            told = {ALL: list(zip(one.cases, one.judged(hidden[one.domain.name]), strict=True)),
                    **{source: one.without(source) for source in HEARD}}
            for name, cases in told.items():
                found[name] += [Believed(one.domain.name, one.name, case.group, known, arms.settle(known, arbiter))
                                for case, known in cases]
    return found


def _folds(groups: Sequence[str], seed: int) -> list[int]:
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    place = {name: int(at) % FOLDS for name, at in zip(names, order, strict=True)}
    return [place[group] for group in groups]


def one_a_group(believed: Sequence[Believed], wanted: Wanted) -> list[float]:
    """Return how strange the truth looked in one case of each group, drawn by the seed.

    The guarantee of label sets is over draws that are alike and independent: those are the groups, not their images.
    """
    rng, members = np.random.default_rng(wanted.seed), defaultdict(list)
    for case in believed:
        members[case.group].append(strangeness(case.settled.believed, wanted.method)[case.known.truth])
    return [float(rng.choice(members[group])) for group in sorted(members)]


def quantile(strange: Sequence[float], level: float) -> float | None:
    """Return the ⌈(n + 1) level⌉-th smallest of n; None where n is too small for the level: nothing is ruled out."""
    place = int(np.ceil((len(strange) + 1) * level - 1e-9))
    return sorted(strange)[place - 1] if place <= len(strange) else None


# 3) what it is worth

def _figures(believed: Sequence[Believed], wanted: Wanted) -> dict[str, Any]:
    of_set: dict[str, list[Believed]] = defaultdict(list)
    for case in believed:
        of_set[case.set].append(case)
    told = []
    for name, cases in of_set.items():
        told.append(knowing.Told(
            name, np.array([case.settled.confidence for case in cases]),
            np.array([case.settled.label == case.known.truth for case in cases]), [case.group for case in cases],
            np.array([case.settled.refer for case in cases]),
            cross_fitted_sets(cases, [x for x in believed if x.domain == cases[0].domain], wanted),
            [case.known.truth for case in cases], rankings(cases)))
    return knowing.figures_of(told, wanted.seed)


def rankings(cases: Sequence[Believed]) -> dict[str, Floats]:
    """Return what else the cases of one domain could be ordered by: the decision's own probability, its steadiness."""
    labels = list(cases[0].settled.believed)
    decided = np.array([[(case.known.decided or case.known.alone)[x] for x in labels] for case in cases])  # (N, L)
    alone = np.array([case.known.alone[case.settled.label] for case in cases])
    return {"decision": decided.max(axis=1), "agreement of samples": knowing.agreement(decided), "image alone": alone}


def cross_fitted_sets(cases: Sequence[Believed], domain: Sequence[Believed], wanted: Wanted
                      ) -> list[tuple[str, ...]]:
    """Return the label set of each case, its threshold from the domain's cases in the other folds."""
    groups = sorted({case.group for case in domain})
    fold = dict(zip(groups, _folds(groups, wanted.seed), strict=True))
    thresholds = {number: quantile(one_a_group([x for x in domain if fold[x.group] != number], wanted), wanted.level)
                  for number in range(FOLDS)}
    return [not_ruled_out(case.settled.believed, case.settled.label, thresholds[fold[case.group]], wanted.method)
            for case in cases]
