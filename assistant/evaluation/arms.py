"""The arms: each turns a case with its evidence into probabilities over the options; it computes no figure.

`gsco` and its parts are the generalist's own option probabilities, never the pool's; the pool is `arbiter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from assistant import template
from assistant.collaboration.arbiter import Arbiter, Judged
from assistant.collaboration.look import own_looks
from assistant.evaluation.cases import BATCH, QUESTION, CaseEvidence, Domain, cycle
from assistant.steps import Case, Evidence, Opinion, Style
from specialists.core.study import read_study

Floats = NDArray[np.floating]

GENERALIST_ARMS = ("generalist", "rad", "moed", "gsco", "gsco_published")
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


def views(cases: Sequence[CaseEvidence], control: str | None, seed: int) -> View:
    """Return what the generalist sees of each case: its image, or a blank, noise, or another case's image."""
    rng = np.random.default_rng(seed)
    other = cycle(len(cases), rng)

    def view(place: int) -> str:
        if control == "shuffled":
            return template.png_url(read_study(cases[other[place]].sample.path))
        study = read_study(cases[place].sample.path)
        if control is None:
            return template.png_url(study)
        width, height = study.size
        if control == "blank":
            pixels = np.full((height, width, 3), 128, dtype=np.uint8)
        else:
            pixels = np.random.default_rng([seed, place]).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return template.png_url(read_study(pixels))
    return view


def shown(arm: str, evidence: Evidence) -> tuple[Evidence | None, Style]:
    """Return the part of the evidence that a generalist's arm puts in the prompt, and the style."""
    if arm == "generalist":
        return None, "calibrated"
    if arm == "rad":
        return replace(evidence, moed=()), "calibrated"
    if arm == "moed":
        return replace(evidence, rad=(), no_similar_case=False), "calibrated"
    return evidence, "published" if arm == "gsco_published" else "calibrated"


def prompt(case: CaseEvidence, url: str, arm: str, kind: str, question: str = QUESTION, look: Opinion | None = None
           ) -> Prompt:
    """Return the messages of a generalist's arm, and the letters of the options."""
    evidence, style = shown(arm, case.evidence)
    messages = template.decision(question, [url], case.options, evidence=evidence, style=style, kind=kind, look=look)
    return messages, template.letters(len(case.options))


def ask(cases: Sequence[CaseEvidence], domain: Domain, generalist: Scores, view: View, arms: Sequence[str], *,
        question: str = QUESTION, advance: Callable[[int], Any] = lambda count: None) -> dict[str, Floats]:
    """Return the generalist's probabilities (N, L) over the domain's labels for each of its arms."""
    column = {label: i for i, label in enumerate(domain.labels)}
    result: dict[str, Floats] = {arm: np.zeros((len(cases), len(column))) for arm in arms}
    for start in range(0, len(cases), BATCH):
        places = range(start, min(start + BATCH, len(cases)))
        urls = {place: view(place) for place in places}
        seen = own_looks(generalist, [[urls[p]] for p in places], domain.kind, [cases[p].options for p in places])
        looks = dict(zip(places, seen, strict=True))
        asked = [(place, arm, prompt(cases[place], urls[place], arm, domain.kind, question, looks[place]))
                 for place in places for arm in arms]
        for (place, arm, _), scored in zip(asked, _score(generalist, [p for *_, p in asked]), strict=True):
            result[arm][place] = _over_labels(scored, cases[place].options, column)
        advance(len(places))
    return result


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


def _over_labels(scored: Mapping[str, float], options: Sequence[str], column: Mapping[str, int]) -> Floats:
    log = np.full(len(column), -np.inf)
    for letter, option in zip(template.letters(len(options)), options, strict=True):
        log[column[option]] = scored.get(letter, -np.inf)
    return _normalized(np.exp(log - log.max())) if np.isfinite(log.max()) else _uniform(len(column))


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


def confidences(known: Sequence[Judged], arbiter: Arbiter) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the confidence of each decision with evidence (N,), and whether it refers to a human (N,)."""
    found, refers = [], []
    for case in known:
        assert case.decided is not None
        conflict = arbiter.conflict(case.alone, case.decided, case.evidence)
        has_evidence = bool(case.evidence.moed or case.evidence.rad)
        found.append(arbiter.confidence(case.decided, conflict, evidence=has_evidence))
        pool = arbiter.pool(case.alone, case.evidence)
        refers.append(arbiter.refer_reason(found[-1], conflict, pool) is not None)
    return np.array(found), np.array(refers, dtype=bool)


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
