"""Settings of the recipes `lora`, `qlora` and `full`, and the presets that fill in what is not named."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from assistant.generalist.open import NANO

Part = Literal["language", "connector", "vision"]


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What all recipes share. What is None comes from the preset."""

    model: Path = NANO
    """Checkpoint to start from: a folder, or a name as on the hub (OWNER/NAME); consilium-nano unless named."""
    data: Path
    """Folder with records*.jsonl, as `consilium data build` writes them."""
    images: Path
    """Data folder that the records' image paths are relative to."""
    out: Path
    """Folder for the result. A killed run goes on from its last checkpoint there."""
    built: Path | None = None
    """Folder with the images that the build made ("made/..."); that of the records unless named."""
    validate: Path | None = None
    """Records that are not taught: their loss is measured before, after each pass and at the end."""
    preset: Literal["nano", "4b", "8b", "32b"] | None = None
    """Size of model that the settings below are made for; found by the checkpoint's weights unless named."""
    learning_rate: float | None = None
    batch: int | None = None
    """Conversations at once on each device."""
    accumulate: int | None = None
    """Batches that make one step."""
    most_tokens: int | None = None
    """Longer conversations are left out, never cut."""
    checkpointing: bool | None = None
    """Compute activations twice rather than keep them: less memory, a third slower."""
    deepspeed: str | None = None
    """zero2, zero2_offload, zero3, zero3_offload, a file of your own, or none; the preset's on several devices."""
    passes: int = 1
    """How often the data is seen."""
    steps: int = 0
    """Stop after so many steps; 0 runs all passes."""
    save_steps: int = 500
    """Steps between checkpoints."""
    save_minutes: float = 0.0
    """Minutes between checkpoints, besides; 0 counts steps alone."""
    workers: int = 0
    """Processes that read images; 0 reads between the steps. On a GPU 4 or more."""
    allow: tuple[str, ...] = ()
    """Sets to train on although they measure what the generalist was not taught."""
    seed: int = 0
    dry_run: bool = False
    """Show one conversation with the trained tokens marked, the memory and the steps; train nothing."""
    print_launch: bool = False
    """Print the commands that start this run on --nodes machines of --devices GPUs; train nothing."""
    nodes: int = 1
    devices: int = 1
    """GPUs of each machine, for --dry-run and --print-launch."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        least = {"batch": 1, "accumulate": 1, "most_tokens": 1, "passes": 1, "save_steps": 1, "nodes": 1, "devices": 1,
                 "steps": 0, "workers": 0, "save_minutes": 0, "rank": 1}
        for name, low in least.items():
            value = getattr(self, name, None)
            if value is not None and not value >= low:  # no number (nan) is not either
                raise ValueError(f"--{name.replace('_', '-')} {value}: wanted at least {low}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning-rate {self.learning_rate}: wanted a number above 0.")
        if not 0 <= (dropout := getattr(self, "dropout", 0.0)) < 1:
            raise ValueError(f"--dropout {dropout}: wanted a share from 0 to below 1.")

    @property
    def verb(self) -> str:
        """The recipe's word on the command line."""
        return "full"


@dataclass(frozen=True, kw_only=True)
class FullTuning(TuneConfig):
    """Settings of `full`."""

    freeze: tuple[Part, ...] = ("vision",)
    """Parts of the net that stay as they are."""


@dataclass(frozen=True, kw_only=True)
class LoraTuning(TuneConfig):
    """Settings of `lora`."""

    lora_on: tuple[Part, ...] = ("language",)
    """Parts of the net that get LoRA matrices; vLLM serves those of tower and connector only when told so."""
    rank: int | None = None
    """Rank of the LoRA matrices; alpha is twice the rank."""
    dropout: float = 0.05

    @property
    def verb(self) -> str:
        """The recipe's word on the command line."""
        return "lora"


@dataclass(frozen=True, kw_only=True)
class QloraTuning(LoraTuning):
    """Settings of `qlora`: the language model's frozen weights are kept in 4 bits."""

    @property
    def verb(self) -> str:
        """The recipe's word on the command line."""
        return "qlora"


@dataclass(frozen=True)
class Pace:
    """The settings that depend on the size of the model."""

    learning_rate: float
    batch: int
    accumulate: int
    most_tokens: int
    checkpointing: bool
    deepspeed: str
    """Used where several processes train."""
    rank: int


PRESETS: dict[str, dict[str, Pace]] = {  # preset -> recipe -> pace; a step is 16 (nano) or 32 conversations on one GPU
    "nano": {"lora": Pace(2e-3, 16, 1, 900, False, "none", 16), "full": Pace(5e-4, 16, 1, 900, False, "zero2", 16)},
    "4b": {"lora": Pace(1e-4, 4, 8, 4096, True, "zero2", 32), "full": Pace(1e-5, 4, 8, 4096, True, "zero2", 32)},
    "8b": {"lora": Pace(1e-4, 2, 16, 4096, True, "zero2", 32), "full": Pace(1e-5, 2, 16, 4096, True, "zero3", 32)},
    "32b": {"lora": Pace(5e-5, 1, 32, 4096, True, "zero3", 64),
            "full": Pace(5e-6, 1, 32, 4096, True, "zero3_offload", 64)},
}
"""QLoRA takes LoRA's pace with ZeRO-2: weights in 4 bits are not spread over devices."""

UP_TO = {"nano": 1e9, "4b": 6e9, "8b": 16e9, "32b": float("inf")}
"""Most weights of a checkpoint that gets a preset unasked."""


def pace(config: TuneConfig, weights: int) -> Pace:
    """Return the preset's pace, that of a net of so many weights unless named, with what the settings name."""
    name = config.preset or next(name for name, most in UP_TO.items() if weights <= most)
    found = PRESETS[name]["full" if config.verb == "full" else "lora"]
    values = {f.name: getattr(config, f.name, None) for f in fields(Pace)}
    if config.verb == "qlora" and found.deepspeed != "none":
        values["deepspeed"] = values["deepspeed"] or "zero2"
    return Pace(**{name: getattr(found, name) if value is None else value for name, value in values.items()})


LOOKS = ("dry_run", "print_launch", "nodes", "devices")
"""Settings that are no part of what is trained."""


def flags(config: TuneConfig) -> list[str]:
    """Return the settings that differ from their defaults as words of the command line, the verb first."""
    words = [config.verb]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in LOOKS or value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


def command(config: TuneConfig) -> str:
    """Return the command that this run is."""
    return shlex.join(["consilium", "finetune", *flags(config)])
