"""Retrieval-augmented diagnosis (RAD): the labelled cases most similar to a study by specialists' features.

GSCo, Nature Biomedical Engineering 2026, doi 10.1038/s41551-026-01653-3. Own patient and near-duplicates are
left out by the index itself; this module only asks it, and says when nothing is similar enough.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import NamedTuple

from assistant.errors import failed, place
from assistant.steps import Case, Declined
from specialists.core import registry
from specialists.core.errors import SpecialistsError, UnknownSpecialist
from specialists.core.study import Study

log = logging.getLogger(__name__)

SIMILAR_CASES = "similar_cases"
"""Name of the tool, and of retrieval in `Question.without`."""


class Retrieved(NamedTuple):
    """Similar cases, most similar first; or why there are none."""

    cases: tuple[Case, ...] = ()
    none_similar: bool = False
    """The index was asked and holds nothing similar enough."""
    labels: tuple[str, ...] = ()
    """Every label the index could have answered with."""
    refusals: tuple[Declined, ...] = ()
    seconds: float = 0.0


def similar(domain: str, study: Study, k: int = 10, patient: str | None = None) -> Retrieved:
    """Return up to `k` cases of the domain's index; a failing index becomes a refusal that says so."""
    start = time.perf_counter()
    try:
        index = registry.load_index(domain)
        found = registry.similar_cases(domain, study, k, patient=patient)
    except UnknownSpecialist:
        return _refused("there is no collection of cases for this domain", start)
    except Exception as error:  # noqa: BLE001 - a broken index must not end the consultation
        log.warning("The index of %s failed: %s", domain, place(error))
        return _refused(failed(error), start)
    cases = tuple(Case(n.id, n.label, float(n.similarity), n.source, n.license) for n in found)
    labels = tuple(sorted({row.label for row in index.rows}))
    return Retrieved(cases, not cases, labels, seconds=time.perf_counter() - start)


def hashed(patient: str) -> str:
    """Return what a trace keeps of a patient's identifier."""
    return hashlib.sha256(patient.encode()).hexdigest()


def patient_hashed(digest: str) -> str | None:
    """Return the patient of any index with this hash; None means that leaving it out changes nothing."""
    for domain in registry.domains():
        try:
            rows = registry.load_index(domain).rows
        except SpecialistsError:
            continue
        for patient in {row.patient for row in rows}:
            if hashed(patient) == digest:
                return patient
    return None


def _refused(reason: str, start: float) -> Retrieved:
    return Retrieved(refusals=(Declined(SIMILAR_CASES, reason),), seconds=time.perf_counter() - start)
