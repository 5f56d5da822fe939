"""The arms: each turns a case with its evidence into probabilities over the options; it computes no figure.

`gsco` and its parts are the generalist's own option probabilities, never the pool's; the pool is `arbiter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from assistant import template
from assistant.collaboration.arbiter import Arbiter, Judged
from assistant.collaboration.fitted import Fitted
from assistant.collaboration.look import own_looks
from assistant.collaboration.rotations import joined, rotations
from assistant.collaboration.shortlist import Shortlist, shortlist
from assistant.evaluation.cases import BATCH, QUESTION, CaseEvidence, Domain
from assistant.steps import Case, Evidence, Opinion, Style

Floats = NDArray[np.floating]

GENERALIST_ARMS = ("generalist", "rad", "moed", "gsco", "gsco_published")
DECIDED = "gsco"
"""The arm that users are told."""
ARMS = (*GENERALIST_ARMS, "best_specialist", "majority", "mean_probability", "knn", "arbiter")

View = Callable[[int], str]
"""The image of the case at a place, as the generalist is shown it: a data URL."""
Prompt = tuple[list[template.Message], list[str]]
"""Messages, and the letters that are scored."""


class Scores(Protocol):
    """A generalist as far as evaluation needs it."""

    def score(self, messages: Sequence[Any], options: Sequence[str]) -> dict[str, float]:
        """Return log-probabilities over the options, renormalized."""
        ...


def shown(arm: str, evidence: Evidence) -> tuple[Evidence | None, Style]:
    """Return the part of the evidence that a generalist's arm puts in the prompt, and the style."""
    if arm == "generalist":
        return None, "calibrated"
    if arm == "rad":
        return replace(evidence, moed=()), "calibrated"
    if arm == "moed":
        return replace(evidence, rad=(), no_similar_case=False), "calibrated"
    return evidence, "published" if arm == "gsco_published" else "calibrated"


def shortlisted(arm: str, case: CaseEvidence, own: str) -> tuple[Shortlist, Style]:
    """Return what a generalist's arm is shown of a case: options, evidence in them, and the style.

    `own` is what it said of the image alone. The published prompt names all options.
    """
    evidence, style = shown(arm, case.evidence)
    if evidence is not None and not (evidence.moed or evidence.rad):
        evidence = None  # nobody spoke: the assistant decides by the image alone
    all_shown = Shortlist(case.options, evidence)
    return (shortlist(case.options, evidence, own) if style == "calibrated" else all_shown), style


def prompts(short: Shortlist, style: Style, url: str, kind: str, question: str = QUESTION,
            look: Opinion | None = None) -> list[Prompt]:
    """Return the prompts of a generalist's arm: with evidence one a rotation of the options, but the published one."""
    turned = style == "calibrated" and short.evidence is not None
    orders = rotations(short.options) if turned else [short.options]
    letters = template.letters(len(short.options))
    return [(template.decision(question, [url], order, evidence=short.evidence, style=style, kind=kind, look=look),
             letters) for order in orders]


def ask(cases: Sequence[CaseEvidence], domain: Domain, generalist: Scores, view: View, arms: Sequence[str], *,
        question: str = QUESTION, advance: Callable[[int], Any] = lambda count: None) -> dict[str, Floats]:
    """Return the generalist's probabilities (N, L) over the domain's labels for each of its arms.

    First it is asked without evidence; the arms with evidence choose from the shortlist, as the assistant does.
    """
    column = {label: i for i, label in enumerate(domain.labels)}
    result: dict[str, Floats] = {arm: np.zeros((len(cases), len(column))) for arm in ("generalist", *arms)}
    for start in range(0, len(cases), BATCH):
        places = range(start, min(start + BATCH, len(cases)))
        urls = {place: view(place) for place in places}
        seen = own_looks(generalist, [[urls[p]] for p in places], domain.kind, [cases[p].options for p in places])
        looks = dict(zip(places, seen, strict=True))
        own = dict.fromkeys(places, "")
        for turn in (["generalist"], [arm for arm in arms if arm != "generalist"]):
            asked = [(place, arm, *shortlisted(arm, cases[place], own[place])) for place in places for arm in turn]
            turned = [prompts(short, style, urls[p], domain.kind, question, looks[p]) for p, _, short, style in asked]
            scored = iter(_score(generalist, [prompt for some in turned for prompt in some]))
            for (place, arm, short, _), some in zip(asked, turned, strict=True):
                result[arm][place] = _over_labels(list(islice(scored, len(some))), short, column)
            own = {p: max(cases[p].options, key=lambda o: result["generalist"][p][column[o]]) for p in places}
        advance(len(places))
    return {arm: result[arm] for arm in arms}


def as_fitted(cases: Sequence[CaseEvidence], domain: Domain, fitted: Fitted, wanted: Sequence[str],
              asked: Callable[[Sequence[CaseEvidence], Sequence[str]], Mapping[str, Floats]]) -> dict[str, Floats]:
    """Return what `asked` returns for cases and arms; the decision alone is shown the evidence that was fitted."""
    shown = [replace(c, evidence=fitted.shown(domain.name, c.options, c.evidence)) for c in cases]
    less = {DECIDED} if shown != [*cases] else set()
    found: dict[str, Floats] = {}
    for some, names in ((cases, [arm for arm in wanted if arm not in less]),
                        (shown, [arm for arm in wanted if arm in less])):
        if names:
            found |= asked(some, names)
    return found


def _score(generalist: Scores, prompts: Sequence[Prompt]) -> list[Mapping[str, float]]:
    """Score all prompts, the shortest first, in one call where the generalist takes many."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i][0][-1]["content"][-1]["text"]))
    many = getattr(generalist, "score_many", None)
    if many is None:
        found = [generalist.score(*prompts[i]) for i in order]
    else:
        found = many([prompts[i][0] for i in order], [prompts[i][1] for i in order])
    placed: list[Mapping[str, float]] = [{}] * len(prompts)
    for i, scored in zip(order, found, strict=True):
        placed[i] = scored
    return placed


def _over_labels(scored: Sequence[Mapping[str, float]], short: Shortlist, column: Mapping[str, int]) -> Floats:
    decided = joined([_shares(one, order) for one, order in zip(scored, rotations(short.options), strict=False)])
    found = np.zeros(len(column))
    for option, share in short.whole(decided).items():
        found[column[option]] = share
    return found


def _shares(scored: Mapping[str, float], order: Sequence[str]) -> dict[str, float]:
    log = np.array([scored.get(letter, -np.inf) for letter in template.letters(len(order))])
    shares = _normalized(np.exp(log - log.max())) if np.isfinite(log.max()) else _uniform(len(log))
    return dict(zip(order, shares.tolist(), strict=True))


def opinion_arms(cases: Sequence[CaseEvidence], domain: Domain) -> dict[str, Floats]:
    """Return the probabilities (N, L) of the arms that need no generalist, but the arbiter's."""
    best, labels = domain.best, domain.labels
    rules: dict[str, Callable[[Evidence], Floats]] = {
        "best_specialist": lambda e: best_specialist(e.moed, best, labels),
        "majority": lambda e: majority(e.moed, labels),
        "mean_probability": lambda e: mean_probability(e.moed, labels),
        "knn": lambda e: neighbors_vote(e.rad, labels),
    }
    return {arm: np.array([rule(c.evidence) for c in cases]).reshape(len(cases), len(labels))
            for arm, rule in rules.items()}


def best_specialist(opinions: Sequence[Opinion], best: str, labels: Sequence[str]) -> Floats:
    """Return what the best specialist says; where it refused, the mean of the others."""
    return mean_probability([o for o in opinions if o.specialist == best] or opinions, labels)


def mean_probability(opinions: Sequence[Opinion], labels: Sequence[str]) -> Floats:
    """Return the mean of the opinions; without any, the same for each label."""
    if not opinions:
        return _uniform(len(labels))
    return _normalized(np.mean([[o.probabilities.get(x, 0.0) for x in labels] for o in opinions], axis=0))


def majority(opinions: Sequence[Opinion], labels: Sequence[str]) -> Floats:
    """Return the shares of the votes; a trace of the mean probability breaks ties."""
    if not opinions:
        return _uniform(len(labels))
    votes = np.array([sum(o.label == x for o in opinions) for x in labels], dtype=float)
    return _normalized(votes / len(opinions) + 1e-6 * mean_probability(opinions, labels))


def neighbors_vote(cases: Sequence[Case], labels: Sequence[str]) -> Floats:
    """Return the votes of the similar cases by similarity; without any, the same for each label."""
    return _normalized(np.array([sum(max(c.similarity, 0.0) for c in cases if c.label == x) for x in labels]))


def judged(cases: Sequence[CaseEvidence], labels: Sequence[str],
           probabilities: Mapping[str, Floats]) -> list[Judged]:
    """Return the cases as the arbiter takes them; needs the arm "generalist", takes "gsco" too."""
    alone, decided = probabilities["generalist"], probabilities.get("gsco")

    def said(row: Floats, case: CaseEvidence) -> dict[str, float]:
        column = dict(zip(labels, row.tolist(), strict=True))
        return {option: column[option] for option in case.options}
    return [Judged(case.truth, said(alone[i], case), case.evidence,
                   None if decided is None else said(decided[i], case)) for i, case in enumerate(cases)]


def pooled(known: Sequence[Judged], labels: Sequence[str], arbiter: Arbiter) -> Floats:
    """Return the arbiter's pool (N, L)."""
    pools = [arbiter.pool(case.alone, case.evidence).probabilities for case in known]
    return np.array([[p[x] for x in labels] for p in pools]).reshape(len(known), len(labels))


@dataclass(frozen=True)
class Settled:
    """What a user is told of a decision with evidence."""

    believed: Mapping[str, float]
    """Calibrated probability of each option."""
    label: str
    """The decision."""
    refer: bool
    """Whether it goes to a human."""

    @property
    def confidence(self) -> float:
        """How far the decision is to be believed, 0..1."""
        return self.believed[self.label]


def settle(known: Judged, arbiter: Arbiter) -> Settled:
    """Return what the arbiter makes of a decision; where nothing was decided with evidence, of the image alone."""
    decided = known.decided or known.alone
    conflict = arbiter.conflict(known.alone, decided, known.evidence)
    believed = arbiter.believed(known.alone, decided, known.evidence, conflict)
    label = max(decided, key=decided.__getitem__)
    pool = arbiter.pool(known.alone, known.evidence) if known.evidence.moed or known.evidence.rad else None
    return Settled(believed, label, arbiter.refer_reason(believed[label], conflict, pool) is not None)


def truths(cases: Sequence[CaseEvidence], labels: Sequence[str]) -> NDArray[np.integer]:
    """Return the number of each case's true label (N,)."""
    return np.array([list(labels).index(c.truth) for c in cases], dtype=int)


def places_shown(cases: Sequence[CaseEvidence], labels: Sequence[str]) -> NDArray[np.integer]:
    """Return the place (N, L) of each label among the options of its case."""
    places = [[c.options.index(x) for x in labels] for c in cases]
    return np.array(places, dtype=int).reshape(len(cases), len(labels))


def _uniform(count: int) -> Floats:
    return np.full(count, 1 / count)


def _normalized(weights: Floats) -> Floats:
    total = weights.sum()
    return weights / total if total > 0 else _uniform(len(weights))
