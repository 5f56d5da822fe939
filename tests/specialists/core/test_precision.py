"""Nets are trained in bfloat16 only where the machine multiplies it itself."""

from __future__ import annotations

import pytest
import torch

from specialists.core import fit as fitting
from specialists.core.precision import mixed_precision


@pytest.fixture
def machine(monkeypatch):
    """Let the machine be one without a GPU whose CPU says of itself what is given."""
    def be(**capabilities):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    return be


@pytest.mark.parametrize("native", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_that_multiplies_bfloat16_trains_in_it(machine, native):
    machine(avx2=True, **{native: True})
    assert mixed_precision() == "bf16"


def test_other_cpus_train_in_float32(machine):
    machine(avx2=True, avx512_f=True, avx512_bf16=False)
    assert mixed_precision() == "no"


def test_a_pytorch_that_does_not_tell_trains_in_float32(machine, monkeypatch):
    machine(avx512_bf16=True)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert mixed_precision() == "no"


def test_a_gpu_trains_in_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert mixed_precision() == "bf16"


def test_a_specialist_keeps_to_it(machine, monkeypatch):
    machine(avx2=True)
    asked = []

    class Seen(Exception):
        pass

    def accelerator(**settings):
        asked.append(settings)
        raise Seen
    monkeypatch.setattr(fitting, "Accelerator", accelerator)
    with pytest.raises(Seen):
        fitting.fit(None, None, None, None, fitting.FitConfig())
    assert asked[0]["mixed_precision"] == "no"
