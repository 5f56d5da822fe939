"""Tests of retrieval as the collaboration sees it."""

from __future__ import annotations

from assistant.collaboration import rad
from specialists.core import registry
from specialists.core.errors import UnknownSpecialist
from tests.assistant.stand_ins import BRAIN, install, study


def test_cases_with_the_labels_the_index_knows(monkeypatch):
    zoo = install(monkeypatch)
    found = rad.similar("brain_mri", study(), 3, "p1")
    assert [c.id for c in found.cases] == ["c0", "c1", "c2"]
    assert found.labels == tuple(sorted(BRAIN))
    assert not found.none_similar
    assert zoo.retrieved == [("brain_mri", 3, "p1")]


def test_nothing_similar(monkeypatch):
    install(monkeypatch).neighbors = []
    found = rad.similar("brain_mri", study())
    assert found.none_similar
    assert found.cases == ()


def test_a_missing_and_a_broken_index_are_refusals(monkeypatch):
    install(monkeypatch)

    def missing(domain):
        raise UnknownSpecialist("none")

    monkeypatch.setattr(registry, "load_index", missing)
    found = rad.similar("brain_mri", study())
    assert not found.none_similar
    assert "no collection of cases" in found.refusals[0].reason

    def broken(domain):
        raise OSError("disk")

    monkeypatch.setattr(registry, "load_index", broken)
    assert rad.similar("brain_mri", study()).refusals[0].reason == "failed with OSError"


def test_a_patient_is_found_again_by_its_hash(monkeypatch):
    install(monkeypatch)
    assert rad.patient_hashed(rad.hashed("p7")) == "p7"
    assert rad.patient_hashed(rad.hashed("p8")) is None
