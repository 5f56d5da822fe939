"""Full tuning: every weight of the language model and, more slowly, of the vision tower. Read from top to bottom."""

from __future__ import annotations

import torch

from finetune.config import TuneConfig
from finetune.loop import tune, write_told
from finetune.model import open_checkpoint, open_data, open_reader, part_of, save


def run(config: TuneConfig) -> None:
    """Tune and write a checkpoint that transformers and vLLM load."""
    torch.manual_seed(config.seed)
    model, _ = open_checkpoint(config.model)
    reader = open_reader(config)
    rows = open_data(config, reader)
    seeing = {"connector": config.vision_rate > 0, "vision": config.vision_rate > 0 and not config.mergers_only}
    for name, weight in model.named_parameters():
        weight.requires_grad_(seeing.get(part_of(name), True))
    seconds = tune(model, model, reader, rows, config)
    save(model, config.model, config.out)
    write_told(config, seconds, len(rows))
