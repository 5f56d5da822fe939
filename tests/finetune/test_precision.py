"""Tuning keeps to the precision that this machine is fast in."""

from __future__ import annotations

import pytest
import torch

from finetune import model, trainer
from finetune.config import PRESETS, LoraTuning


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_tuning_on_a_cpu_is_in_bfloat16_where_it_multiplies_it(monkeypatch, tmp_path, native, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": native}, raising=False)
    monkeypatch.setattr(model, "stored_type", lambda path: torch.bfloat16)
    assert model.taught_type(tmp_path) == dtype
    given = trainer.arguments(LoraTuning(data=tmp_path, images=tmp_path, out=tmp_path), PRESETS["nano"]["lora"], 1)
    assert given.bf16 == native
