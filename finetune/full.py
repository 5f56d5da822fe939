"""Full tuning: every weight of the parts that are not frozen. Read from top to bottom."""

from __future__ import annotations

from finetune import looks, trainer
from finetune.card import write_card
from finetune.config import FullTuning
from finetune.model import open_checkpoint, open_fast, part_of, save
from finetune.plan import planned


def run(config: FullTuning) -> None:
    """Tune and write a checkpoint that transformers and vLLM load."""
    plan = planned(config)
    arguments = trainer.arguments(config, plan.pace, len(plan.lessons.rows))
    model, _ = (open_checkpoint if arguments.deepspeed else open_fast)(config.model)
    for name, weight in model.named_parameters():
        weight.requires_grad_(part_of(name) not in config.freeze)
    teacher = trainer.trainer(model, arguments, plan)
    figures = trainer.fit(teacher, config)
    weights = trainer.weights(teacher) if arguments.deepspeed else None
    if teacher.is_world_process_zero():
        save(teacher.model, config.model, config.out, weights)
        looks.tell_kinds(config, plan.lessons.kinds)
        write_card(plan, figures)
    trainer.finish(teacher, config.out)
