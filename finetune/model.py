"""Opens a checkpoint of any family for tuning, with the reader of its conversations, and writes the result.

A tuned checkpoint keeps the tokenizer, template and processor files of the one it came from, byte for byte.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerBase

from assistant.generalist.processors import codec_of, load_processor
from finetune.config import TuneConfig
from finetune.data import Conversations, Images, Reader
from finetune.nano import SIZE, hasten
from finetune.nano import save as save_nano
from finetune.squares import Squares
from instruct_data.records import OUT_OF_DOMAIN, read
from specialists.core.errors import BadData

LOG = logging.getLogger(__name__)

PARTS = {
    "connector": re.compile(r"\b(deepstack_merger_list|merger|multi_modal_projector|connector)\."),
    "vision": re.compile(r"\b(visual|vision_tower|vision_model)\."),
    "language": re.compile(r"\b(language_model|text_model)\."),
}
"""What the parts are called in the weights of all families; the first that fits counts."""


def part_of(name: str) -> str:
    """Return the part of the net that a weight or module belongs to: one of PARTS, or "other" for the head."""
    return next((part for part, pattern in PARTS.items() if pattern.search(name + ".")), "other")


def is_nano(path: Path) -> bool:
    """Return whether the checkpoint sees squares of consilium-nano's side, so that the fast reader serves it."""
    file = path / "consilium.json"
    return file.is_file() and json.loads(file.read_text()).get("square") == SIZE


def open_checkpoint(path: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return the model in float32 and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    if is_nano(path):
        hasten(model)
    return model, tokenizer


def open_reader(config: TuneConfig) -> Reader[Any]:
    """Return the reader of the checkpoint's conversations."""
    images = Images(config.images, config.built or config.data)
    if is_nano(config.model):
        return Squares(AutoTokenizer.from_pretrained(config.model), images)
    return Conversations(load_processor(config.model), codec_of(config.model), images)


def open_data(config: TuneConfig, reader: Reader[Any]) -> list[Any]:
    """Return the records as the reader keeps them; refuses sets that are out of domain for the generalist."""
    rows, longest = [], 0
    for record in read(config.data):
        if record.dataset in OUT_OF_DOMAIN or record.split != "train":
            raise BadData(f"{record.id}: {record.dataset} {record.split} may not be taught to the generalist.")
        row = reader.read(record)
        if row.length <= config.most_tokens:
            rows.append(row)
        else:
            longest = max(longest, row.length)
    if longest:
        LOG.warning("conversations over %d tokens were left out (longest %d)", config.most_tokens, longest)
    if not rows:
        raise BadData(f"No conversation of {config.data.name!r} has at most {config.most_tokens} tokens (longest "
                      f"{longest}); raise --most-tokens or build other data.")
    return rows


def save(model: Any, source: Path, out: Path) -> None:
    """Write a checkpoint that came from `source`: weights in the type they are stored in there, all else copied."""
    if is_nano(source):
        save_nano(model, AutoTokenizer.from_pretrained(source), out)
        return
    stored = AutoConfig.from_pretrained(source).dtype or torch.float32
    model.to(stored).save_pretrained(out)
    for file in source.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, out / file.name)
