"""LoRA tuning (Hu et al., 2021, https://arxiv.org/abs/2106.09685): low-rank matrices beside the language model's."""

from __future__ import annotations

import dataclasses
import json

import torch
from peft import LoraConfig, get_peft_model

from finetune.config import TuneConfig
from finetune.loop import tune
from finetune.model import open_checkpoint, open_data

TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def run(config: TuneConfig) -> None:
    """Tune and write an adapter that PEFT and vLLM load; the vision tower stays as it is."""
    torch.manual_seed(config.seed)
    base, tokenizer = open_checkpoint(config.model)
    rows, images = open_data(config, tokenizer)
    lora = LoraConfig(r=config.rank, lora_alpha=2 * config.rank, lora_dropout=0.05, target_modules=TARGETS)
    model = get_peft_model(base, lora)
    seconds = tune(model, base.model, base.lm_head, rows, images, tokenizer.pad_token_id, config)
    model.save_pretrained(config.out)
    told = {k: str(v) for k, v in dataclasses.asdict(config).items()}
    told |= {"seconds": str(round(seconds)), "records": str(len(rows))}
    (config.out / "training.json").write_text(json.dumps(told, indent=1) + "\n")
