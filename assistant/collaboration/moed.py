"""Mixture-of-expert diagnosis (MoED): asks several specialists about one study and keeps their opinions.

GSCo, Nature Biomedical Engineering 2026, doi 10.1038/s41551-026-01653-3. No parameters are merged: the
mixture lives in the prompt. What several ask of one specialist at the same time runs in one pass. It neither chooses
the specialists nor weighs what they say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError
from typing import NamedTuple

from assistant.errors import failed, place
from assistant.generalist.batching import Gathering
from assistant.steps import Declined, Opinion
from specialists.core import registry
from specialists.core.card import Card
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.study import Study

log = logging.getLogger(__name__)
AT_ONCE = 8
"""Studies that a specialist sees in one pass."""
_gatherings: dict[str, Gathering] = {}
_opening = threading.Lock()


class Consulted(NamedTuple):
    """What several specialists said about one study, in the order they were asked."""

    opinions: tuple[Opinion, ...] = ()
    refusals: tuple[Declined, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Every finding that is no refusal: classifications, masks, boxes, scores."""
    seconds: Mapping[str, float] = {}


def ask(name: str, study: Study) -> tuple[Finding, float]:
    """Return one specialist's finding and the seconds it took; its failure becomes a Refusal that says so."""
    start = time.perf_counter()
    try:
        finding = _together(name, study)
    except CancelledError:      # whoever asked has left
        raise
    except Exception as error:  # noqa: BLE001 - one broken specialist must not end the consultation
        log.warning("The specialist %s failed: %s", name, place(error))
        finding = Refusal(name, failed(error))
    return finding, time.perf_counter() - start


def _together(name: str, study: Study) -> Finding:
    """Return the finding, made in one pass with those of studies that others ask about at the same time."""
    with _opening:
        gathering = _gatherings.setdefault(name, Gathering(AT_ONCE))
    found, = gathering.ask([(name, study)], lambda studies: _predicted(name, studies))
    if isinstance(found, Exception):
        raise found
    return found


def _predicted(name: str, studies: list[Study]) -> list[Finding | Exception]:
    """Return a finding a study, or what it raised; one that breaks the pass does not harm the others."""
    specialist = registry.load(name)
    try:
        return [specialist.predict(studies[0])] if len(studies) == 1 else list(specialist.predict_many(studies))
    except Exception as error:  # noqa: BLE001 - it is raised again where the finding is wanted
        return [error] if len(studies) == 1 else [_predicted(name, [study])[0] for study in studies]


def consult(names: Iterable[str], study: Study) -> Consulted:
    """Ask each named specialist about the study."""
    found = {name: ask(name, study) for name in names}
    seconds = {name: took for name, (_, took) in found.items()}
    return collect((finding for finding, _ in found.values()), seconds)


def collect(findings: Iterable[Finding], seconds: Mapping[str, float] | None = None) -> Consulted:
    """Sort findings into opinions, refusals and the rest."""
    opinions, refusals, rest = [], [], []
    cards = registry.cards()
    for finding in findings:
        if isinstance(finding, Refusal):
            refusals.append(Declined(finding.specialist, finding.reason))
            continue
        rest.append(finding)
        if isinstance(finding, Classification):
            opinions.append(opinion(finding, cards.get(finding.specialist)))
    return Consulted(tuple(opinions), tuple(refusals), tuple(rest), dict(seconds or {}))


def opinion(finding: Classification, card: Card | None) -> Opinion:
    """Return a classification with the record of its specialist."""
    return Opinion(finding.specialist, finding.label, dict(finding.probabilities), validated(card))


def validated(card: Card | None) -> dict[str, float]:
    """Return the validated F1 of each label and, under "macro", of their mean; empty without figures."""
    return card.validated if card is not None else {}
