"""Tests of asking several specialists."""

from __future__ import annotations

from assistant.collaboration import moed
from specialists.core.errors import MissingWeights
from specialists.core.findings import Refusal
from tests.assistant.stand_ins import install, study


def test_opinions_carry_their_record(monkeypatch):
    zoo = install(monkeypatch)
    found = moed.consult(["brain_mri_residual", "breast_lesion_unet"], study())
    assert [o.specialist for o in found.opinions] == ["brain_mri_residual"]
    assert found.opinions[0].label == "glioma"
    assert found.opinions[0].validated["macro"] == 0.9
    assert len(found.findings) == 2
    assert set(found.seconds) == set(zoo.asked)


def test_refusals_and_failures_do_not_end_the_run(monkeypatch):
    zoo = install(monkeypatch)
    zoo.answers["brain_mri_hybrid"] = Refusal("brain_mri_hybrid", "too far")
    zoo.answers["brain_mri_residual"] = RuntimeError("PatientName Doe^Jane")
    zoo.answers["brain_mri_small_cnn"] = MissingWeights("no file")
    found = moed.consult([n for n in zoo.cards if n.startswith("brain")], study())
    assert found.opinions == ()
    assert [r.reason for r in found.refusals] == [
        "too far", "failed with RuntimeError", "failed with MissingWeights: no file"]


def test_a_card_without_figures_gives_no_record():
    assert moed.validated(None) == {}
