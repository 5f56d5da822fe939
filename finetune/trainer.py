"""TRL's SFTTrainer over the project's own batches: what `lora`, `qlora` and `full` have in common.

Conversations come from a reader that renders them as serving does, answers alone are labelled, nothing is cut. Several
processes, DeepSpeed, checkpoints and schedules are TRL's and accelerate's.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, get_int_from_env
from datasets import Dataset
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback
from trl import SFTConfig, SFTTrainer

from assistant.generalist.processors import Row, load_processor
from finetune.beforehand import last_checkpoint, settings, stage
from finetune.config import Pace, TuneConfig
from finetune.data import NOT_LEARNED
from finetune.diary import Diary
from finetune.lessons import Lessons
from finetune.plan import Plan
from specialists.core.precision import mixed_precision


def arguments(config: TuneConfig, pace: Pace, conversations: int) -> SFTConfig:
    """Return TRL's settings. Under ZeRO-3 they must exist before the model is opened, which then is spread at once."""
    several = get_int_from_env(("WORLD_SIZE",), 1)
    cpu = not torch.cuda.is_available()
    steps = config.steps or config.passes * -(-conversations // (pace.batch * pace.accumulate * several))
    given = SFTConfig(
        output_dir=str(config.out / "checkpoints"), seed=config.seed, report_to="none", disable_tqdm=True,
        max_length=None, remove_unused_columns=False, prediction_loss_only=True, dataloader_num_workers=config.workers,
        per_device_train_batch_size=pace.batch, per_device_eval_batch_size=pace.batch,
        gradient_accumulation_steps=pace.accumulate, num_train_epochs=config.passes, max_steps=config.steps or -1,
        learning_rate=pace.learning_rate, lr_scheduler_type="cosine", warmup_steps=max(1, round(0.05 * steps)),
        optim="adamw_torch", max_grad_norm=1.0, bf16=mixed_precision() == "bf16", use_cpu=cpu,
        activation_checkpointing=pace.checkpointing,
        logging_first_step=True, logging_steps=max(1, steps // 200), save_steps=config.save_steps, save_total_limit=1,
        eval_strategy="epoch" if config.validate else "no",
        deepspeed=stage(config, pace) if several > 1 else None,
        ddp_backend="gloo" if cpu and several > 1 else None)
    if cpu and given.deepspeed:  # on GPUs accelerate does so; ZeRO-3 opens no model before
        importlib.import_module("deepspeed").init_distributed("gloo", auto_mpi_discovery=False)
    return given


@dataclass
class Collator:
    """From numbers of rows to the batch that the model takes."""

    lessons: Sequence[Lessons]
    """Those that are taught, and those that are held out."""
    seed: int
    anchor: Any = None
    """Under ZeRO-3 a row with an image for batches without: all processes must pass the vision tower, or all wait."""

    def __call__(self, examples: Sequence[dict[str, Any]]) -> Row:
        """Return one batch; where a reader varies its images, a run that goes on varies them as before."""
        of, numbers = self.lessons[examples[0]["of"]], [example["row"] for example in examples]
        rows = [of.rows[number] for number in numbers]
        generator = np.random.default_rng([self.seed, *numbers]) if of is self.lessons[0] else None
        if self.anchor is None or any(row.images for row in rows):
            return of.reader.collate(rows, generator)
        batch = self.lessons[0].reader.collate([*rows, self.anchor], generator)
        batch["labels"][-1] = NOT_LEARNED
        return batch


class ByTheClock(TrainerCallback):
    """Saves a checkpoint when so many minutes have passed since the last."""

    def __init__(self, minutes: float) -> None:
        """The main process reads the clock for all."""
        self.minutes, self.last = minutes, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint."""
        due = torch.tensor(time.monotonic() - self.last >= 60 * self.minutes, device=args.device)
        if bool(broadcast(due)):
            control.should_save, self.last = True, time.monotonic()


class Teacher(SFTTrainer):
    """TRL's trainer, with a loss that suits a CPU: TRL's computes logits twice to save a GPU's memory."""

    def compute_loss(self, model: Any, inputs: Row, return_outputs: bool = False,
                     num_items_in_batch: torch.Tensor | None = None) -> Any:
        """Return the mean over the answer tokens of a step; on a CPU of logits where some row has an answer."""
        if self.accelerator.device.type != "cpu":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        wanted = inputs["labels"][:, 1:]
        places = (wanted != NOT_LEARNED).any(0).nonzero()[:, 0]
        given = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**given, use_cache=False, logits_to_keep=places).logits
        picked = wanted[:, places].flatten()
        flat = logits.flatten(0, 1).float()
        total = functional.cross_entropy(flat, picked, ignore_index=NOT_LEARNED, reduction="sum")
        if num_items_in_batch is None:
            return total / (picked != NOT_LEARNED).sum()
        return total / num_items_in_batch * self.accelerator.num_processes  # gradients are averaged over processes


def trainer(model: Any, given: SFTConfig, plan: Plan, adapter: Any = None) -> SFTTrainer:
    """Return TRL's trainer; `adapter` is PEFT's configuration of the matrices that are laid over the model."""
    config = plan.config
    lessons = [plan.lessons, *([plan.held_out] if plan.held_out else [])]
    spread = given.deepspeed_plugin is not None and given.deepspeed_plugin.zero_stage == 3
    seeing = [row for row in plan.lessons.rows if row.images and spread]
    anchor = min(seeing, key=lambda row: row.length, default=None)
    calls: list[TrainerCallback] = [ByTheClock(config.save_minutes)] if config.save_minutes else []
    if PartialState().is_main_process:
        calls += [Diary(config.out), TensorBoardCallback(SummaryWriter(str(config.out / "tensorboard")))]
    sets = [_numbered(one, number) for number, one in enumerate(lessons)]
    teacher = Teacher(
        model, given, Collator(lessons, config.seed, anchor), peft_config=adapter, callbacks=calls,
        processing_class=load_processor(config.model), train_dataset=sets[0],
        eval_dataset=sets[1] if plan.held_out else None)
    teacher.remove_callback(PrinterCallback)
    # Some families say that their forward takes no count of tokens. TRL's loss needs it all the same: else it is a mean
    # of batches' means, and what is learned depends on how a step is cut into batches and processes.
    teacher.model_accepts_loss_kwargs = True
    return teacher


def _numbered(lessons: Lessons, of: int) -> Dataset:
    """Return numbers of rows; by the column of images TRL knows that it must not tokenize."""
    images = [list(row.images) for row in lessons.rows]
    return Dataset.from_dict({"of": [of] * len(images), "row": list(range(len(images))), "images": images})


def device() -> int | str:
    """Return the device of this process."""
    return PartialState().local_process_index if torch.cuda.is_available() else "cpu"


def fit(teacher: SFTTrainer, config: TuneConfig) -> dict[str, Any]:
    """Train, from the last whole checkpoint where there is one; return the figures of the run."""
    started = time.perf_counter()
    before = begun(config)
    over = before is not None and _over(before)
    if over:  # else the trainer goes one step beyond a last step that stands amid a pass
        teacher.args.max_steps, teacher.args.num_train_epochs = -1, 0
    teacher.args.eval_on_start = config.validate is not None and (before is None or over)
    done = teacher.train(resume_from_checkpoint=None if before is None else str(before))
    loss = done.training_loss if before is None else mean_loss(teacher.state.log_history)
    figures = {"steps": done.global_step, "seconds": round(time.perf_counter() - started),
               "loss": round(loss, 4), "processes": teacher.args.world_size}
    if before is not None:
        figures["went_on_from_step"] = int(before.name.split("-")[1])
    losses = [row["eval_loss"] for row in teacher.state.log_history if "eval_loss" in row]
    if config.validate:
        figures["held_out_loss"] = {"before": round(losses[0], 4), "after": round(losses[-1], 4)}
    return figures


def begun(config: TuneConfig) -> Path | None:
    """Return the last whole checkpoint of this very run, and note the settings beside it."""
    found = last_checkpoint(config)
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        folder = config.out / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(settings(config), indent=1) + "\n")
    return found


def _over(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is of the last step."""
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return state["global_step"] >= state["max_steps"]


def mean_loss(history: Sequence[Mapping[str, float]]) -> float:
    """Return the mean loss over the steps of a log, a row of which is the mean since the row before.

    The trainer's own figure counts, of a run that went on, the steps since then alone.
    """
    rows = [(row["step"], row["loss"]) for row in history if "loss" in row]
    steps = np.diff([0, *(step for step, _ in rows)])
    return float(np.average([loss for _, loss in rows], weights=steps)) if rows else 0.0


def weights(teacher: SFTTrainer) -> Any:
    """Return the trained weights by name, gathered from all processes, each of which must ask."""
    return teacher.accelerator.get_state_dict(teacher.model_wrapped)


def finish(teacher: SFTTrainer, out: Path) -> None:
    """Delete the checkpoints of a run that is done, and let the processes part together.

    DeepSpeed's engine goes first, and DeepSpeed lets go of the groups of processes itself: accelerate ends torch's
    alone, and threads of a group that somebody still holds run on while the interpreter ends.
    """
    if teacher.is_world_process_zero():
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    teacher.accelerator.wait_for_everyone()
    teacher.accelerator.free_memory()
    if teacher.args.deepspeed_plugin is not None:
        importlib.import_module("deepspeed.comm").destroy_process_group()
    teacher.accelerator.end_training()
