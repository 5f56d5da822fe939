"""Opens a checkpoint of any family for tuning, with the reader of its conversations, and writes the result.

A tuned checkpoint keeps the tokenizer, template and processor files of the one it came from, byte for byte.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from finetune.nano import SIZE, hasten
from specialists.core.errors import BadData
from specialists.core.precision import mixed_precision

PARTS = {
    "connector": re.compile(r"\b(deepstack_merger_list|merger|multi_modal_projector|connector)\."),
    "vision": re.compile(r"\b(visual|vision_tower|vision_model)\."),
    "language": re.compile(r"\b(language_model|text_model)\."),
}
"""What the parts are called in the weights of all families; the first that fits counts."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
RUN = ("log.jsonl", "training.json", "card.json", "README.md", "loss.png")
"""Files about the run that made a checkpoint: they say nothing of one that is made from it."""
HABITS = "consilium.json"
"""File of what serving keeps to."""


def part_of(name: str) -> str:
    """Return the part of the net that a weight or module belongs to: one of PARTS, or "other" for the head."""
    return next((part for part, pattern in PARTS.items() if pattern.search(name + ".")), "other")


def is_nano(path: Path) -> bool:
    """Return whether the checkpoint sees squares of consilium-nano's side, so that the fast reader serves it."""
    file = Path(path) / HABITS
    return file.is_file() and json.loads(file.read_text()).get("square") == SIZE


def folder_of(model: Path) -> Path:
    """Return the folder with the files of a checkpoint, wherever the hub's cache keeps it; raises BadData."""
    if (model / "config.json").is_file():
        return model
    try:
        return Path(str(cached_file(str(model), "config.json"))).parent
    except OSError as error:
        raise BadData(f"No checkpoint {str(model)!r}: wanted a folder with config.json and weights, or a name as on "
                      "the hub (OWNER/NAME) that can be reached.") from error


def stored_type(model: Path) -> torch.dtype:
    """Return the type that the checkpoint's weights are stored in."""
    return AutoConfig.from_pretrained(model).dtype or torch.float32


def taught_type(model: Path) -> torch.dtype:
    """Return the type that frozen weights are opened in for tuning: the stored one, or float32 where that is faster."""
    return stored_type(model) if mixed_precision() == "bf16" else torch.float32


def empty_net(path: Path) -> Any:
    """Return the net of a checkpoint without its weights."""
    folder_of(path)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path))


def open_checkpoint(path: Path, **changes: Any) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return the model, in float32 unless `changes` of from_pretrained say otherwise, and its tokenizer."""
    folder_of(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModelForImageTextToText.from_pretrained(path, **{"dtype": torch.float32, **changes})
    return model, tokenizer


def open_fast(path: Path, **changes: Any) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return the same as `open_checkpoint`, and consilium-nano hastened."""
    model, tokenizer = open_checkpoint(path, **changes)
    if is_nano(path):
        hasten(model)
    return model, tokenizer


def save(model: Any, source: Path, out: Path, state: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write a checkpoint that came from `source`: weights in the type they are stored in there, all else copied.

    What the source names rightly is left out of consilium.json: it was measured with other weights.
    `state` holds the weights where `model` itself does not, as under ZeRO-3.
    """
    stored, given = stored_type(source), {}
    if state is None:
        model.to(stored)
    else:
        given["state_dict"] = {name: weight.to(stored) if weight.is_floating_point() else weight
                               for name, weight in state.items()}
    model.save_pretrained(out, max_shard_size="14MB" if is_nano(source) else "5GB", **given)
    for file in folder_of(source).iterdir():
        about_weights = file.suffix in WEIGHTS or file.name.endswith(".index.json")
        if file.is_file() and not about_weights and file.name not in RUN:
            shutil.copyfile(file, out / file.name)
    habits = out / HABITS
    if habits.is_file() and "look" in (told := json.loads(habits.read_text(encoding="utf-8"))):
        del told["look"]
        habits.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def hashes(folder: Path) -> list[dict[str, Any]]:
    """Return name, SHA-256 and size of each file of weights in a folder."""
    told = []
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            told.append({"file": path.name, "sha256": file_digest(file, "sha256").hexdigest(),
                         "bytes": path.stat().st_size})
    return told
