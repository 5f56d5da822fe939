"""Merges an adapter into its model, so that one checkpoint serves."""

from __future__ import annotations

import json
from pathlib import Path

from peft import PeftModel

from finetune.card import readme
from finetune.model import hashes, open_checkpoint, save
from specialists.core.errors import BadData

CARD = "card.json"


def merge(model: Path, adapter: Path, out: Path) -> None:
    """Write the checkpoint `model` with the adapter's low-rank matrices added to its weights, and the adapter's card.

    Raises BadData where `adapter` holds none.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise BadData(f"No adapter in {adapter.name!r}: wanted adapter_config.json, as `consilium finetune lora` "
                      "writes.")
    base, _ = open_checkpoint(model)
    save(PeftModel.from_pretrained(base, adapter).merge_and_unload(), model, out)
    if (adapter / CARD).is_file():
        card = json.loads((adapter / CARD).read_text())
        merged = {**card, "name": out.name, "merged": {"adapter": card["name"], "files": card["files"]},
                  "files": hashes(out)}
        (out / CARD).write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n")
        (out / "README.md").write_text(readme(merged))
