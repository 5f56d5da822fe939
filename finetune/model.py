"""Opens a checkpoint for tuning and writes the result."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerBase

from finetune.config import TuneConfig
from finetune.data import Encoder, Images, Sequenced
from finetune.nano import hasten
from instruct_data.records import OUT_OF_DOMAIN, read
from specialists.core.errors import BadData

LOG = logging.getLogger(__name__)


def open_checkpoint(path: Path) -> tuple[torch.nn.Module, PreTrainedTokenizerBase]:
    """Return the model in float32 and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    hasten(model)
    return model, tokenizer


def open_data(config: TuneConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Sequenced], Images]:
    """Return the encoded records and the image reader; refuses sets that are out of domain for the generalist."""
    encoder, rows, longest = Encoder(tokenizer), [], 0
    for record in read(config.data / "records.jsonl"):
        if record.dataset in OUT_OF_DOMAIN or record.split != "train":
            raise BadData(f"{record.id}: {record.dataset} {record.split} may not be taught to the generalist.")
        row = encoder.encode(record)
        if len(row.ids) <= config.most_tokens:
            rows.append(row)
        else:
            longest = max(longest, len(row.ids))
    if longest:
        LOG.warning("conversations over %d tokens were left out (longest %d)", config.most_tokens, longest)
    return rows, Images(config.images)
