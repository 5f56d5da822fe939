"""Every method of the catalog has an ONNX form that answers as PyTorch does."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from specialists.catalog import METHODS, method_module
from specialists.core.card import Card, Label
from specialists.core.specialist import Specialist, save_weights
from specialists.core.study import read_study

LABELS = tuple(Label(name) for name in "abcdefgh")
EVERY = [(task, method) for task, methods in METHODS.items() for method in methods]


@pytest.mark.parametrize(("task", "method"), EVERY)
def test_a_method_answers_alike_by_onnx(task, method, tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    module = method_module(method)
    config = module.tiny()
    weights = save_weights(module.build(config).eval(), None, tmp_path / "net.safetensors")
    card = Card(name="net", method=method, task=task, domain="ward", title="Net", kinds=("head CT",), modality="CT",
                body_part="HEAD", labels=LABELS[:config.labels], weights=weights, config=asdict(config),
                input={"size": config.size, "flip": True})
    study = read_study(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    eager, quick = Specialist(card, tmp_path), Specialist(card, tmp_path, runtime="onnx")
    for wanted, got in zip(eager.raw([study] * 3), quick.raw([study] * 3), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, atol=1e-4)
