"""Full tuning: every weight of the language model and, more slowly, of the vision tower. Read from top to bottom."""

from __future__ import annotations

import dataclasses
import json

import torch

from finetune.config import TuneConfig
from finetune.loop import tune
from finetune.model import open_checkpoint, open_data
from finetune.nano import save


def run(config: TuneConfig) -> None:
    """Tune and write a checkpoint that transformers and vLLM load."""
    torch.manual_seed(config.seed)
    model, tokenizer = open_checkpoint(config.model)
    rows, images = open_data(config, tokenizer)
    tower = model.model.visual
    tower.requires_grad_(config.vision_rate > 0 and not config.mergers_only)
    if config.vision_rate > 0 and config.mergers_only:
        tower.merger.requires_grad_(True)
        tower.deepstack_merger_list.requires_grad_(True)
    seconds = tune(model, model.model, model.lm_head, rows, images, tokenizer.pad_token_id, config)
    save(model, tokenizer, config.out)
    told = {k: str(v) for k, v in dataclasses.asdict(config).items()}
    told |= {"seconds": str(round(seconds)), "records": str(len(rows))}
    (config.out / "training.json").write_text(json.dumps(told, indent=1) + "\n")
