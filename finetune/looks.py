"""What a tuned generalist names rightly on images that it was not tuned on: the record that serving reads.

A checkpoint or an adapter tells it in consilium.json: the kinds of image that it was taught, and for each label the F1
of its own look (`assistant/collaboration/look.py`). It tunes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from assistant import template
from assistant.generalist.habits import read_habits
from assistant.generalist.local import LocalGeneralist
from finetune.config import FullTuning, LoraTuning
from finetune.model import HABITS, folder_of
from instruct_data.records import Record, image_path, read
from specialists.core.study import read_study

KIND = "looking"


def tell_of(config: LoraTuning) -> None:
    """Tell what an adapter was taught, where its base tells such things, too, and its looks at held-out images."""
    if not (Path(config.model) / HABITS).is_file():
        return
    look: dict[str, float] = {}
    if config.validate is not None:
        generalist = LocalGeneralist(config.model, adapter=config.out)
        look = measured(generalist, read(config.validate), config.images, config.built or config.validate)
    tell(config.out, (record.modality for record in read(config.data)), look)


def tell_kinds(config: FullTuning, taught: Iterable[str]) -> None:
    """Tell the kinds of a tuned checkpoint, where its base tells such things: those of the base and those taught."""
    if (config.out / HABITS).is_file():
        tell(config.out, read_habits(folder_of(config.model)).kinds | set(taught), {})


def measured(generalist: LocalGeneralist, records: Iterable[Record], data: Path, built: Path) -> dict[str, float]:
    """Return the F1 (0..1) of each label over looks at held-out images; a label of several sets gets its lowest.

    `records` are conversations of the kind "looking", others are passed over; every label that is a truth of the set
    is a candidate, named in words as the generalist was taught to. A set with one label tells nothing.
    """
    by_set: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.kind == KIND:
            by_set[record.dataset].append(record)
    found: dict[str, float] = {}
    for rows in by_set.values():
        for label, f1 in _of_set(generalist, rows, data, built).items():
            found[label] = min(found.get(label, 1.0), f1)
    return found


def _of_set(generalist: LocalGeneralist, rows: Sequence[Record], data: Path, built: Path) -> dict[str, float]:
    truths = [_named(row) for row in rows]
    labels = sorted(set(truths))
    if len(labels) < 2:
        return {}
    prompts = [_prompt(row, template.png_url(read_study(image_path(row.images[0], data, built)))) for row in rows]
    replies = [[template.looked(label, row.modality or None) for label in labels] for row in rows]
    scores = generalist.score_many(prompts, replies)
    said = [labels[int(np.argmax([score[r] for r in some]))] for score, some in zip(scores, replies, strict=True)]
    f1 = f1_score(truths, said, labels=labels, average=None, zero_division=0)
    return {label: round(float(value), 3) for label, value in zip(labels, f1, strict=True)}


def _named(row: Record) -> str:
    """Return the label that the record's answer names."""
    found = template.NAMED.search(str(row.messages[-1]["content"]))
    return found[1] if found else ""


def _prompt(row: Record, url: str) -> list[dict[str, Any]]:
    """Return the record's prompt with its image in it."""
    shown = {"type": "image_url", "image_url": {"url": url}}
    return [{**m, "content": [shown if p["type"] == "image" else p for p in m["content"]]}
            if not isinstance(m["content"], str) else dict(m) for m in row.messages[:-1]]


def tell(folder: Path, kinds: Iterable[str], look: Mapping[str, float]) -> None:
    """Write kinds and record beside what the folder's consilium.json says already."""
    file = folder / HABITS
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    told |= {"kinds": sorted(set(kinds) - {""}), "look": dict(look)}
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
