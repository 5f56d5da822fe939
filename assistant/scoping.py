"""What kind of image a question is about, and who may be asked about it: triage first, then each card's word.

Who asks may state the kind; that holds, and what triage says stands beside it. Where triage knows no such image, an
adapter that was taught exactly one kind beyond triage's is taken at its word. Nothing else overrules triage, and what
was told without it never says how sure an answer is. It asks no specialist but triage, and no generalist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from assistant.collaboration.evidence import match
from assistant.steps import Declined, Question, Triaged
from specialists.core import registry
from specialists.core.card import Card
from specialists.core.errors import SpecialistsError
from specialists.core.findings import Classification, Refusal, percent
from specialists.core.scope import EVEN, UNKNOWN, in_scope


@dataclass(frozen=True)
class Scoping:
    """Who may be asked about a study, and who declines before seeing it."""

    triaged: Triaged
    declined: tuple[Declined, ...]
    """One a specialist when no specialist is made for this kind of image, else empty."""
    made_for_it: bool
    """Some specialist is made for this very kind of image, not for one that it might be, too."""


def scoping(question: Question, skill: frozenset[str] = frozenset()) -> Scoping:
    """Tell the kind of the first image and who may be asked; `skill` are kinds that the generalist's adapter knows."""
    seen, declined = _kinds(question)
    kinds = _told(question, seen, skill)
    cards = [card for card in registry.cards().values() if card.task != "triage"]
    refused = {card.name: in_scope(card, kinds) for card in cards}
    admitted = [card for card in cards if refused[card.name] is None]
    asked = tuple(card.name for card in admitted if card.name not in question.without)
    if not admitted:
        declined += [Declined(name, r.reason) for name, r in refused.items()
                     if r is not None and name not in question.without]
    triaged = Triaged(kinds.label, seen.probabilities.get(kinds.label, 0.0),
                      _domain(admitted, question.options, kinds.label), asked)
    if kinds.specialist != seen.specialist:
        known = seen.label != UNKNOWN
        triaged = replace(triaged, source="question" if question.kind else "adapter",
                          looks_like=f"{seen.label} ({percent(seen.probability)})" if known else "")
    return Scoping(triaged, tuple(declined), any(kinds.label in card.kinds for card in admitted))


def _told(question: Question, seen: Classification, skill: frozenset[str]) -> Classification:
    """Return triage's finding, or that of another who tells the kind; a stated kind leaves no room for another."""
    if question.kind is not None:
        specialists = (kind for card in registry.cards().values() for kind in card.kinds)
        known = {name.casefold(): name for name in (*specialists, *seen.probabilities, *skill)}
        stated = known.get(question.kind.strip().casefold(), question.kind.strip())
        return Classification(seen.specialist if stated == seen.label else "question", {stated: 1.0})
    beyond = skill - set(seen.probabilities)
    shows = int(np.ptp(question.studies[0].rgb())) >= EVEN
    if seen.label == UNKNOWN and len(beyond) == 1 and shows:
        return Classification("adapter", {next(iter(beyond)): 1.0})
    return seen


def _kinds(question: Question) -> tuple[Classification, list[Declined]]:
    """Return triage's finding; without triage every image is of an unknown kind."""
    try:
        finding = registry.triage().predict(question.studies[0])
    except SpecialistsError as error:
        finding = Refusal("triage", str(error))
    if isinstance(finding, Classification):
        return finding, []
    reason = finding.reason if isinstance(finding, Refusal) else "it named no kind of image"
    return Classification("triage", {UNKNOWN: 1.0}), [Declined("triage", reason)]


def _domain(cards: Sequence[Card], options: Sequence[str] | None, kind: str) -> str | None:
    """Return the domain to retrieve from: whose labels cover most options, is of the kind, has most specialists."""
    classifiers = [card for card in cards if card.task == "classification"]
    if not classifiers:
        return None
    covered = {card.domain: sum(match(label, options or ()) is not None for label in card.label_names)
               for card in classifiers}
    count = {domain: sum(card.domain == domain for card in classifiers) for domain in covered}
    of_it = {card.domain for card in classifiers if kind in card.kinds}
    return min(covered, key=lambda domain: (-covered[domain], domain not in of_it, -count[domain], domain))
