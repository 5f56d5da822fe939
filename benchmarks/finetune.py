"""How fast tuning is: the recipes and consilium-nano's own loop against a bare transformers loop of the same settings.

    python -m benchmarks.finetune [--steps 4] [--rounds 3] [--batch 16] [--threads 1] [--write]

The model is the shipped consilium-nano; conversations are drawn, of like length, one image each. The bare loop is what
one would write by hand, in the same precision: the stock model's loss, backward, clipping, AdamW, the same batches.
Beside it stand `full` and `lora` (TRL's SFTTrainer, of this project's batches; the bare side has PEFT's matrices, too)
and the loop that makes nano from nothing. Sides take turns round by round in one process; a step is timed from the end
of the one before, reading and batching included, and the first of a round does not count. What is told is the median,
and the ratio of medians (over 1: faster than bare), of the clock and of the processor's time, which is the steadier
one on a busy machine.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import TrainerCallback

from assistant.generalist.open import NANO
from benchmarks.specialists import machine
from finetune import loop, trainer
from finetune.config import FullTuning, LoraTuning, TuneConfig
from finetune.lora import targets
from finetune.model import open_checkpoint, open_fast, taught_type
from finetune.plan import Plan, planned
from instruct_data.records import Record, write
from specialists.__main__ import parse
from specialists.core.precision import mixed_precision

RESULTS = Path(__file__).resolve().parent.parent / "results" / "finetune-speed.json"
AIM = 0.95
WORDS = ("image", "lesion", "shows", "the", "upper", "left", "no", "sign", "of", "a", "finding", "dark", "round")
Clock = tuple[float, float]


@dataclass(frozen=True)
class Flags:
    """What is measured."""

    steps: int = 4
    """Timed steps of a side in a round."""
    rounds: int = 3
    batch: int = 16
    threads: int = 1
    write: bool = False
    """Write results/finetune-speed.json, or ...-float32.json on a CPU that trains in float32."""


class Timed(TrainerCallback):
    """Notes the clocks at the end of each step."""

    def __init__(self) -> None:
        """Begin with none."""
        self.marks: list[Clock] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the clocks."""
        self.marks.append(now())


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0."""
    flags = parse(Flags, argv, "python -m benchmarks.finetune")
    torch.set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(flags, Path(folder))
    print(json.dumps(report, indent=1))
    if flags.write:
        file = RESULTS if report["precision"] == "bf16" else RESULTS.with_name(f"{RESULTS.stem}-float32.json")
        file.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def measure(flags: Flags, folder: Path) -> dict[str, Any]:
    """Return everything that was measured."""
    draw(folder, flags.batch * (flags.steps + 1))
    given: dict[str, Any] = {"model": NANO, "data": folder, "images": folder, "out": folder / "out",
                             "batch": flags.batch, "preset": "nano"}
    plans = {"full": planned(FullTuning(**given, freeze=())), "lora": planned(LoraTuning(**given))}
    sides: dict[str, Callable[[], list[Clock]]] = {
        "bare full": lambda: bare(plans["full"]), "full": lambda: recipe(plans["full"], folder),
        "nano's loop": lambda: own(plans["full"], folder),
        "bare lora": lambda: bare(plans["lora"]), "lora": lambda: recipe(plans["lora"], folder)}
    took: dict[str, list[Clock]] = {name: [] for name in sides}
    for number in range(flags.rounds):
        order = list(sides)
        random.Random(number).shuffle(order)
        for name in order:
            marks = sides[name]()
            took[name] += [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks, marks[1:], strict=False)]
    medians = {name: [statistics.median(c[i] for c in clocks) for i in (0, 1)] for name, clocks in took.items()}
    rows = [{"side": side, "step_s": round(medians[side][0], 3), "bare_step_s": round(medians[plain][0], 3),
             "ratio": round(medians[plain][0] / medians[side][0], 2),
             "ratio_of_processor_time": round(medians[plain][1] / medians[side][1], 2)}
            for side, plain in (("full", "bare full"), ("nano's loop", "bare full"), ("lora", "bare lora"))]
    lessons = plans["full"].lessons
    return {"model": "consilium-nano", "weights": plans["full"].net.weights, "batch": flags.batch,
            "tokens_each": round(lessons.tokens / len(lessons.rows)), "steps": flags.steps * flags.rounds,
            "threads": flags.threads,
            "precision": mixed_precision().replace("no", "float32"),
            "load_average": [round(x, 1) for x in os.getloadavg()], "machine": machine(), "aim": AIM,
            "rows": rows}


def draw(folder: Path, count: int) -> None:
    """Write conversations about noise."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(noise.integers(0, 255, (160, 160, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    records = []
    for number in range(count):
        question, answer = (" ".join(rng.choices(WORDS, k=k)) for k in (70, 50))
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        records.append(Record(str(number), "x", (f"{number % 16}.png",),
                              ({"role": "user", "content": parts}, {"role": "assistant", "content": answer})))
    write(records, folder / "records.jsonl")


def now() -> Clock:
    """Return the clock and the processor's time, in seconds."""
    return time.perf_counter(), time.process_time()


def collated(plan: Plan) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the batches of a pass."""
    rows, size = plan.lessons.rows, plan.pace.batch
    for start in range(0, len(rows), size):
        yield plan.lessons.reader.collate(rows[start:start + size], np.random.default_rng(start))


def bare(plan: Plan) -> list[Clock]:
    """Train by hand, with the stock model."""
    model, _ = open_checkpoint(plan.config.model, **precision(plan.config))
    if isinstance(plan.config, LoraTuning):
        model = get_peft_model(model, LoraConfig(r=plan.pace.rank, lora_alpha=2 * plan.pace.rank, lora_dropout=0.05,
                                                 target_modules=targets(model, plan.config.lora_on)))
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.pace.learning_rate)
    marks = []
    for batch in collated(plan):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision() == "bf16"):
            loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append(now())
    return marks


def precision(config: TuneConfig) -> dict[str, Any]:
    """Return the type that the recipe opens the weights in."""
    return {"dtype": taught_type(config.model)} if isinstance(config, LoraTuning) else {}


def recipe(plan: Plan, folder: Path) -> list[Clock]:
    """Train by a recipe."""
    config = replace(plan.config, out=Path(tempfile.mkdtemp(dir=folder)))
    given = trainer.arguments(config, plan.pace, len(plan.lessons.rows))
    model, _ = open_fast(config.model, **precision(config))
    adapter = None
    if isinstance(config, LoraTuning):
        adapter = LoraConfig(r=plan.pace.rank, lora_alpha=2 * plan.pace.rank, lora_dropout=0.05,
                             target_modules=targets(model, config.lora_on))
    teacher = trainer.trainer(model, given, replace(plan, config=config), adapter)
    clocks = Timed()
    teacher.add_callback(clocks)
    teacher.args.save_strategy = "no"
    teacher.train()
    return clocks.marks


def own(plan: Plan, folder: Path) -> list[Clock]:
    """Train by the loop that makes nano."""
    model, _ = open_fast(plan.config.model)
    config = loop.LoopConfig(NANO, folder, folder, folder / "own", batch=plan.pace.batch, vision_rate=1.0)
    marks: list[Clock] = []

    class Marking:
        def collate(self, rows: Sequence[Any], generator: np.random.Generator | None) -> Any:
            marks.append(now())  # the end of the step before
            return plan.lessons.reader.collate(rows, generator)

    loop.tune(model, Marking(), plan.lessons.rows, config)
    return [*marks[1:], now()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
