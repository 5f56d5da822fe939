"""Merges an adapter into its model, so that one checkpoint serves."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel

from finetune.model import open_checkpoint, save


def merge(model: Path, adapter: Path, out: Path) -> None:
    """Write the checkpoint `model` with the adapter's low-rank matrices added to its weights."""
    base, _ = open_checkpoint(model)
    save(PeftModel.from_pretrained(base, adapter).merge_and_unload(), model, out)
