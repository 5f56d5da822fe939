"""From the labeled sets of a data folder to cases with evidence; it asks no generalist and scores nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from assistant import template
from assistant.collaboration import moed, rad
from assistant.collaboration.evidence import assemble, normalized
from assistant.evaluation.config import BadEvaluation, check_names
from assistant.steps import Case, Declined, Evidence
from specialists.core import registry
from specialists.core.card import Card
from specialists.core.errors import SpecialistsError, UnknownSpecialist
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.index import CaseIndex, joined
from specialists.core.study import Study, read_study
from specialists.datasets.kinds import HELD_OUT, KIND_OF
from specialists.datasets.layout import Sample, read_set, set_names

NEIGHBORS = 10
BATCH = 16
QUESTION = template.DIAGNOSIS


class NoMatchingSet(BadEvaluation):
    """No set of the data folder carries the labels of a domain; the message says what was found."""


class Asked(Protocol):
    """A specialist as far as evaluation needs it."""

    def predict_many(self, studies: Sequence[Study]) -> Sequence[Finding]:
        """Return a finding or a refusal for each study."""
        ...


Similar = Callable[[Sequence[Study], Sequence[Sample]], Sequence[Sequence[Case]]]
"""Similar cases of each sample, most similar first, without its own patient, group and near-duplicates."""


Damage = Callable[[Study], Study]
"""What is done to an image before specialists and index see it."""


@dataclass(frozen=True)
class Domain:
    """The specialists and the index that serve one set of labels."""

    name: str
    kind: str
    """Kind of image that the generalist is told."""
    cards: tuple[Card, ...]
    specialists: Mapping[str, Asked] = field(repr=False)
    similar: Similar | None = field(repr=False)
    """None where the domain has no index."""
    named: tuple[str, ...] = ()
    """Labels of a set that no specialist serves."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the specialists' spelling, sorted: the columns of every distribution."""
        names = (label.name for label in self.cards[0].labels) if self.cards else self.named
        return tuple(sorted(names))

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the specialists by macro-F1 on validation data, as their cards tell; the best first."""
        return tuple(c.name for c in sorted(self.cards, key=lambda c: (-c.validated.get("macro", -1.0), c.name)))

    @property
    def best(self) -> str:
        """Name of the specialist with the highest macro-F1 on validation data; "" without specialists."""
        return self.ranked[0] if self.cards else ""


@dataclass(frozen=True)
class CaseEvidence:
    """One case: its truth, its options in the order shown, and what specialists and index say of it."""

    sample: Sample
    truth: str
    """Label in the specialists' spelling."""
    options: tuple[str, ...]
    evidence: Evidence

    @property
    def group(self) -> str:
        """What a bootstrap draws as a whole: patient, else near-duplicate group, else the case alone."""
        return self.sample.group


@dataclass(frozen=True)
class LeftOut:
    """A sample that could not be measured, and why."""

    id: str
    reason: str


def domains_of(cards: Mapping[str, Card], domains: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Return the label keys of each domain whose cards agree on their labels."""
    served = {}
    for name, members in sorted(domains.items()):
        keys = {frozenset(normalized(label.name) for label in cards[m].labels) for m in members}
        if len(keys) == 1:
            served[name] = keys.pop()
    return served


def match_sets(data: Path, wanted: Sequence[str], cards: Mapping[str, Card],
               domains: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return set name -> domain for the sets whose labels, over all records, equal a domain's.

    A part of the very set that a domain was taught from matches too, though a rare label may be missing in it.
    Among domains of equal labels the one taught from that set goes first. Raises BadEvaluation for an unknown
    set, NoMatchingSet if none matches.
    """
    names = set_names(data)
    check_names("set", wanted, names)
    served, matched, found = domains_of(cards, domains), {}, {}
    for name in wanted or names:
        labels = frozenset(normalized(s.label) for s in read_set(data / name) if s.label is not None)
        found[name] = labels
        taught = [d for d in served if any(name in _taught(cards[m]) for m in domains[d])]
        fitting = [d for d, keys in served.items() if keys == labels or (d in taught and labels and labels < keys)]
        if fitting:
            matched[name] = next((d for d in fitting if d in taught), fitting[0])
    if not matched:
        raise NoMatchingSet(_found(found, served))
    return matched


def _taught(card: Card) -> set[str]:
    return {str(row.get("set")) for row in card.data}


def _found(found: Mapping[str, frozenset[str]], served: Mapping[str, frozenset[str]]) -> str:
    def lines(groups: Mapping[str, frozenset[str]]) -> str:
        return "".join(f"\n  {name}: {_some(sorted(keys)) or 'no labels'}" for name, keys in groups.items())
    return ("No set has the labels of a domain (equal label sets are wanted)."
            f"\nSets found:{lines(found) or ' none'}\nDomains known:{lines(served) or ' none'}")


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def open_domain(name: str, neighbors: int = NEIGHBORS) -> Domain:
    """Load the specialists and the index of a domain."""
    cards = tuple(registry.cards()[member] for member in registry.domains()[name])
    kind = cards[0].kinds[0] if cards[0].kinds else "medical"
    specialists = {c.name: registry.load(c.name) for c in cards}
    try:
        index = registry.load_index(name)
    except UnknownSpecialist:  # a domain may do without similar cases
        return Domain(name, kind, cards, specialists, None)
    return Domain(name, kind, cards, specialists, partial(search, index, neighbors))


def unserved(data: Path, name: str) -> Domain:
    """Return a domain without specialists and index for a labeled set that none serves; raises BadEvaluation."""
    check_names("set", [name], set_names(data))
    labels = {s.label for s in read_set(data / name) if s.label is not None}
    if len(labels) < 2:
        raise BadEvaluation(f"{name} has {len(labels)} label(s); wanted at least two to choose between.")
    return Domain(name, {**KIND_OF, **HELD_OUT}.get(name, "medical"), (), {}, None, tuple(sorted(labels)))


def search(index: CaseIndex, neighbors: int, studies: Sequence[Study],
           samples: Sequence[Sample]) -> list[list[Case]]:
    """Return the similar cases of each sample, its features made for all at once."""
    vectors = joined([registry.load(name).embed_many(studies) for name in index.card.specialists])  # (N, D)
    found = [index.search(vector, neighbors, exclude_patient=sample.patient, exclude_group=sample.group,
                          dhash=study.dhash())
             for vector, study, sample in zip(vectors, studies, samples, strict=True)]
    return [[Case(n.id, n.label, float(n.similarity), n.source, n.license) for n in row] for row in found]


def choose(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """Return at most `limit` samples drawn by the seed, in file order."""
    if limit is None or limit >= len(samples):
        return list(samples)
    rows = np.random.default_rng(seed).permutation(len(samples))[:limit]
    return [samples[i] for i in sorted(rows)]


def collect(samples: Iterable[Sample], domain: Domain, *, batch: int = BATCH, damage: Damage | None = None,
            advance: Callable[[int], Any] = lambda count: None) -> tuple[list[CaseEvidence], list[LeftOut]]:
    """Return every readable labeled sample with its evidence, and those left out with the reason.

    A specialist that refuses a case has no opinion of it; the refusal stands in the evidence. `damage` is done to what
    specialists and index see, not to the order of the options.
    """
    samples = list(samples)
    cases: list[CaseEvidence] = []
    left_out: list[LeftOut] = []
    for start in range(0, len(samples), batch):
        readable = []
        for sample in samples[start:start + batch]:
            try:
                readable.append((sample, read_study(sample.path), _truth(sample, domain)))
            except (SpecialistsError, OSError, BadEvaluation) as error:
                left_out.append(LeftOut(sample.id, reason(error)))
        cases += _consult(readable, domain, damage)
        advance(len(samples[start:start + batch]))
    return cases, left_out


def reason(error: Exception) -> str:
    """Return why an image was left out, without a path of this machine."""
    if isinstance(error, OSError):  # its text may hold a path of this machine
        return f"{type(error).__name__}: {error.strerror or 'cannot be read'}"
    return f"{type(error).__name__}: {error}"


def _truth(sample: Sample, domain: Domain) -> str:
    spelled = {normalized(label): label for label in domain.labels}
    if sample.label is None or normalized(sample.label) not in spelled:
        raise BadEvaluation(f"The label is {sample.label!r}; wanted one of {', '.join(domain.labels)}.")
    return spelled[normalized(sample.label)]


def _consult(readable: Sequence[tuple[Sample, Study, str]], domain: Domain, damage: Damage | None
             ) -> list[CaseEvidence]:
    if not readable:
        return []
    studies = [damage(study) if damage else study for _, study, _ in readable]
    found = {name: specialist.predict_many(studies) for name, specialist in domain.specialists.items()}
    similar = domain.similar(studies, [sample for sample, _, _ in readable]) if domain.similar else None
    cases = []
    for row, (sample, study, truth) in enumerate(readable):
        options = option_order(study, domain.labels)
        retrieved = None
        if similar is not None:
            retrieved = rad.Retrieved(tuple(similar[row]), not similar[row], domain.labels)
        evidence = assemble(_sorted([found[c.name][row] for c in domain.cards], domain), retrieved, options)
        cases.append(CaseEvidence(sample, truth, options, evidence))
    return cases


def _sorted(findings: Sequence[Finding], domain: Domain) -> moed.Consulted:
    cards = {c.name: c for c in domain.cards}
    return moed.Consulted(
        tuple(moed.opinion(f, cards[f.specialist]) for f in findings if isinstance(f, Classification)),
        tuple(Declined(f.specialist, f.reason) for f in findings if isinstance(f, Refusal)))


def option_order(study: Study, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the options in the order that the assistant shows them for this image, with its default seed."""
    return tuple(template.shuffled(labels, "|".join([study.sha256, *sorted(labels), "0"])))


def cycle(count: int, rng: np.random.Generator) -> list[int]:
    """Return for each of `count` places another place, in one random cycle: nothing stays where it is."""
    order = rng.permutation(count)
    target = np.empty(count, dtype=int)
    target[order] = np.roll(order, 1)
    return target.tolist()


def shuffle_evidence(cases: Sequence[CaseEvidence], rng: np.random.Generator) -> list[CaseEvidence]:
    """Return the cases with the evidence of another case each: a control."""
    return [replace(case, evidence=cases[other].evidence)
            for case, other in zip(cases, cycle(len(cases), rng), strict=True)]


def refusal_counts(cases: Sequence[CaseEvidence]) -> dict[str, int]:
    """Return how many cases each specialist refused."""
    return dict(sorted(Counter(r.specialist for case in cases for r in case.evidence.refusals).items()))
