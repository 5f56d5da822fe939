"""One conversation as plain data, in JSONL files; it makes and judges none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from specialists.core.errors import BadData

OUT_OF_DOMAIN = frozenset({"head_ct_hemorrhage", "wbc_segmentation", "nih_chestxray8_subset"})
"""Sets that the generalist never sees in any stage: they tell how it copes with what it was not taught."""

KINDS = ("diagnosis", "evidence", "findings", "grounding", "image_kind", "imagined", "looking", "refusal",
         "tool_use", "weighing")
"""Kinds of conversation; `mix` says how much of each. "weighing" is evidence without the image."""


@dataclass(frozen=True)
class Record:
    """Images, messages and where they come from; `messages` are in OpenAI's form with {"type": "image"} parts."""

    id: str
    kind: str
    """Name of the kind of conversation: its file under kinds/."""
    images: tuple[str, ...]
    """Paths relative to the data folder, in the order of the image parts."""
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    dataset: str = ""
    split: str = "train"
    license: str = ""
    tier: str = ""


def write(records: Iterable[Record], path: Path) -> int:
    """Write one JSON object a line, keys in a fixed order; return how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            count += 1
    return count


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file; raises BadData naming the line that is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                raw = json.loads(line)
                yield Record(**{**raw, "images": tuple(raw["images"]), "messages": tuple(raw["messages"]),
                                "tools": tuple(raw["tools"])})
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise BadData(f"{path.name} line {number} is no record ({error}); build it again.") from error
