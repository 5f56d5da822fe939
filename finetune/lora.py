"""LoRA: low-rank matrices beside the net's own weights, which stay as they are. Read from top to bottom.

Hu et al., 2021, https://arxiv.org/abs/2106.09685; with the frozen weights in 4 bits it is QLoRA (Dettmers et al., 2023,
https://arxiv.org/abs/2305.14314).
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from torch import nn
from transformers import BitsAndBytesConfig

from finetune import looks, trainer
from finetune.card import write_card
from finetune.config import LoraTuning
from finetune.model import empty_net, open_checkpoint, open_fast, part_of, taught_type
from finetune.plan import planned
from specialists.core.errors import BadData
from specialists.core.precision import mixed_precision


def run(config: LoraTuning) -> None:
    """Tune and write an adapter that PEFT and vLLM load; parts that are not named stay as they are."""
    plan = planned(config)
    arguments = trainer.arguments(config, plan.pace, len(plan.lessons.rows))
    base = opened(config, spread=arguments.deepspeed is not None)
    adapter = LoraConfig(r=plan.pace.rank, lora_alpha=2 * plan.pace.rank, lora_dropout=config.dropout,
                         target_modules=targets(base, config.lora_on))
    teacher = trainer.trainer(base, arguments, plan, adapter)
    figures = trainer.fit(teacher, config)
    weights = trainer.weights(teacher)
    if teacher.is_world_process_zero():
        teacher.model.save_pretrained(str(config.out), state_dict=weights)
        looks.tell_of(config)
        write_card(plan, figures)
    trainer.finish(teacher, config.out)


def opened(config: LoraTuning, *, spread: bool) -> Any:
    """Return the frozen net, in the type it is taught in or in 4 bits; `spread` is for DeepSpeed."""
    if config.verb == "qlora":
        return in_four_bits(config)
    opener = open_checkpoint if spread else open_fast
    return opener(config.model, dtype=taught_type(config.model))[0]


def in_four_bits(config: LoraTuning) -> Any:
    """Return the net in bfloat16, or float32 where that is faster, its language model's linear layers in 4 bits."""
    rest = [name for name, module in empty_net(config.model).named_modules()
            if isinstance(module, nn.Linear) and part_of(name) != "language"]
    kept = torch.bfloat16 if mixed_precision() == "bf16" else torch.float32
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=kept,
                              bnb_4bit_use_double_quant=True, llm_int8_skip_modules=rest)
    net, _ = open_checkpoint(config.model, dtype=kept, quantization_config=four,
                             device_map={"": trainer.device()})
    for module in net.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # measuring packs weights so that they learn no more
            module.support_avx512bf16_for_cpu = False
    return net


def targets(model: Any, parts: tuple[str, ...]) -> list[str]:
    """Return the names of the linear layers of the parts; raises BadData where a part has none."""
    layers = [(part_of(name), name) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for part in parts:
        if part not in {found for found, _ in layers}:
            raise BadData(f"This checkpoint has no linear layer in its {part}; leave it out of --lora-on.")
    return [name for part, name in layers if part in parts]
