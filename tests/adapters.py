"""Random LoRA adapters for tests: they say nothing, but each says it otherwise."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

from finetune.model import part_of


def random_adapter(model: Path, out: Path, parts: tuple[str, ...] = ("language",), seed: int = 1, rank: int = 4,
                   size: float = 0.1) -> Path:
    """Write an adapter on all linear layers of the parts, its matrices normal with deviation `size`."""
    base = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    names = [name for name, module in base.named_modules()
             if isinstance(module, torch.nn.Linear) and part_of(name) in parts]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names))
    noise = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=noise) * size
    adapted.save_pretrained(str(out))
    return out
