"""Settings of a fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TuneConfig:
    """What full and LoRA tuning share."""

    model: Path
    """Checkpoint to start from."""
    data: Path
    """Folder with records.jsonl."""
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
    lora_on: tuple[Literal["language", "connector", "vision"], ...] = ("language",)
    """Parts of the net that get LoRA matrices; vLLM serves those of tower and connector only when told so."""
    rank: int = 16
    """Rank of the LoRA matrices; alpha is twice the rank."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if self.batch < 1 or self.passes < 1 or self.learning_rate <= 0 or not 0 <= self.vision_rate <= 1:
            raise ValueError(f"batch {self.batch}, passes {self.passes}, learning rate {self.learning_rate}, vision "
                             f"rate {self.vision_rate}: wanted at least 1, at least 1, above 0, and 0 to 1.")
