"""The loop that makes consilium-nano from nothing: every weight, fast on a CPU, answers alone, each heard alike.

Batches hold conversations of like length, images are varied, the tower learns at its own rate, and a clock may end it.
To tune a checkpoint on data of one's own there are `lora`, `qlora` and `full`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from assistant.generalist.processors import Row
from finetune.data import NOT_LEARNED, Reader, batches
from finetune.lessons import open_lessons, open_reader
from finetune.model import open_fast, part_of, save
from specialists.core.precision import mixed_precision

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """Settings of one stage."""

    model: Path
    """Checkpoint to start from."""
    data: Path
    """Folder with records*.jsonl."""
    images: Path
    """Data folder that the records' image paths are relative to."""
    out: Path
    """Folder for the result."""
    built: Path | None = None
    """Folder with the images that the build made ("made/..."); that of the records unless named."""
    batch: int = 32
    learning_rate: float = 1e-3
    vision_rate: float = 0.1
    """Learning rate of the vision tower, as a share of the other; 0 freezes it."""
    mergers_only: bool = False
    """Of the vision tower train only the layers that hand its tokens to the language model: faster, forgets less."""
    warmup: int = 100
    """Steps."""
    passes: int = 1
    """How often the data is seen."""
    most_tokens: int = 900
    """Longer conversations are left out, never cut."""
    minutes: float = 0.0
    """Stop after so many minutes, with the rate brought down to zero by then; 0 runs all passes."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if self.batch < 1 or self.passes < 1 or self.learning_rate <= 0 or not 0 <= self.vision_rate <= 1:
            raise ValueError(f"batch {self.batch}, passes {self.passes}, learning rate {self.learning_rate}, vision "
                             f"rate {self.vision_rate}: wanted at least 1, at least 1, above 0, and 0 to 1.")


def run(config: LoopConfig) -> None:
    """Tune a checkpoint's every weight, the tower's as far as the settings say, and write it to `config.out`."""
    torch.manual_seed(config.seed)
    model, _ = open_fast(config.model)
    reader = open_reader(config.model, config.images, config.built or config.data)
    rows = open_lessons(config.data, reader, config.most_tokens).rows
    seeing = {"connector": config.vision_rate > 0, "vision": config.vision_rate > 0 and not config.mergers_only}
    for name, weight in model.named_parameters():
        weight.requires_grad_(seeing.get(part_of(name), True))
    seconds = tune(model, reader, rows, config)
    save(model, config.model, config.out)
    write_told(config, seconds, len(rows))


def answer_loss(model: Any, batch: Row) -> Tensor:
    """Return the cross-entropy of answer tokens (scalar); only they pass through the head.

    A conversation of n answer tokens weighs the square root of n, so that letters are not drowned by sentences.
    """
    given = {name: value for name, value in batch.items() if name != "labels"}
    hidden = model.model(**given, use_cache=False).last_hidden_state[:, :-1]  # (B, L - 1, width)
    wanted = batch["labels"][:, 1:]
    learned = wanted != NOT_LEARNED
    lengths = learned.sum(1, keepdim=True).clamp(min=1).expand_as(wanted)[learned].float()
    losses = F.cross_entropy(model.lm_head(hidden[learned]).float(), wanted[learned], reduction="none")
    weights = lengths.rsqrt()
    return (losses * weights).sum() / weights.sum()


def tune(model: Any, reader: Reader[Any], rows: Sequence[Any], config: LoopConfig) -> float:
    """Train `model` in place and return the seconds it took."""
    accelerator = Accelerator(mixed_precision=mixed_precision(), cpu=not torch.cuda.is_available())
    model.to(accelerator.device)
    optimizer = torch.optim.AdamW(_groups(model, config), betas=(0.9, 0.98), weight_decay=0.02)
    generator = np.random.default_rng(config.seed)
    total = config.passes * math.ceil(len(rows) / config.batch)
    config.out.mkdir(parents=True, exist_ok=True)
    started, step, recent = time.perf_counter(), 0, []
    model.train()
    with (config.out / "log.jsonl").open("w") as log:
        for _ in range(config.passes):
            for batch in batches(reader, rows, config.batch, generator):
                done = _progress(step, total, started, config)
                if done >= 1:
                    break
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * min(1.0, (step + 1) / config.warmup) * _decay(done)
                with accelerator.autocast():
                    loss = answer_loss(model, {name: value.to(accelerator.device) for name, value in batch.items()})
                optimizer.zero_grad()
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                recent.append(float(loss.detach()))
                step += 1
                if step % 50 == 0 or step == total:
                    _report(log, step, total, recent, started)
                    recent = []
    model.to("cpu")
    return time.perf_counter() - started


def write_told(config: LoopConfig, seconds: float, records: int) -> None:
    """Write training.json: the settings, the time and the number of conversations."""
    told = {k: str(v) for k, v in dataclasses.asdict(config).items()}
    told |= {"seconds": str(round(seconds)), "records": str(records)}
    (config.out / "training.json").write_text(json.dumps(told, indent=1) + "\n")


def _report(log: object, step: int, total: int, recent: list[float], started: float) -> None:
    row = {"step": step, "loss": round(sum(recent) / len(recent), 4), "seconds": round(time.perf_counter() - started)}
    log.write(json.dumps(row) + "\n")  # type: ignore[attr-defined]
    log.flush()  # type: ignore[attr-defined]
    LOG.info("step %d of %d, loss %.3f, %d s", step, total, row["loss"], row["seconds"])


def _progress(step: int, total: int, started: float, config: LoopConfig) -> float:
    if config.minutes <= 0:
        return step / total
    return max(step / total, (time.perf_counter() - started) / (60 * config.minutes))


def _decay(done: float) -> float:
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def _groups(model: nn.Module, config: LoopConfig) -> list[dict[str, object]]:
    trained = [(part_of(n) in ("vision", "connector"), p) for n, p in model.named_parameters() if p.requires_grad]
    vision, other = [p for seen, p in trained if seen], [p for seen, p in trained if not seen]
    groups: list[dict[str, object]] = [{"params": other, "peak": config.learning_rate, "lr": 0.0}]
    if config.vision_rate > 0 and vision:
        groups.append({"params": vision, "peak": config.learning_rate * config.vision_rate, "lr": 0.0})
    return groups
