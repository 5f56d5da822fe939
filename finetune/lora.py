"""LoRA tuning (Hu et al., 2021, https://arxiv.org/abs/2106.09685): low-rank matrices beside the net's own."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from finetune.config import TuneConfig
from finetune.loop import tune, write_told
from finetune.model import open_checkpoint, open_data, open_reader, part_of
from specialists.core.errors import BadData


def run(config: TuneConfig) -> None:
    """Tune and write an adapter that PEFT and vLLM load; parts that are not named stay as they are."""
    torch.manual_seed(config.seed)
    base, _ = open_checkpoint(config.model)
    reader = open_reader(config)
    rows = open_data(config, reader)
    model = get_peft_model(base, LoraConfig(r=config.rank, lora_alpha=2 * config.rank, lora_dropout=0.05,
                                            target_modules=targets(base, config.lora_on)))
    seconds = tune(model, base, reader, rows, config)
    model.save_pretrained(str(config.out))
    write_told(config, seconds, len(rows))


def targets(model: Any, parts: tuple[str, ...]) -> list[str]:
    """Return the names of the linear layers of the parts; raises BadData where a part has none."""
    layers = [(part_of(name), name) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for part in parts:
        if part not in {found for found, _ in layers}:
            raise BadData(f"This checkpoint has no linear layer in its {part}; leave it out of --lora-on.")
    return [name for part, name in layers if part in parts]
