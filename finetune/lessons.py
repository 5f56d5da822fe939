"""What a run is taught: records that a checkpoint's reader takes, those left out with the reason, and their sets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from assistant.generalist.processors import codec_of, load_processor
from finetune.data import Conversations, Images, Reader
from finetune.model import is_nano
from finetune.squares import Squares
from instruct_data import excluded
from instruct_data.records import OUT_OF_DOMAIN, Record, image_path, read
from specialists.core.errors import BadData

LOG = logging.getLogger(__name__)


@dataclass
class Lessons:
    """Conversations as their reader keeps them, and where they come from."""

    reader: Reader[Any]
    rows: list[Any] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> conversations."""
    sets: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(set, license, tier) -> conversations that are taught."""

    @property
    def tokens(self) -> int:
        """Tokens of one pass, those of images included."""
        return sum(row.length for row in self.rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation."""
        return max(row.length for row in self.rows)


def open_reader(model: Path, images: Path, built: Path, *, stock: bool = False) -> Reader[Any]:
    """Return the reader of a checkpoint's conversations; with `stock` the one by its processor, for nano, too."""
    if is_nano(model) and not stock:
        return Squares(AutoTokenizer.from_pretrained(model), Images(images, built))
    return Conversations(load_processor(model), codec_of(model), Images(images, built))


def open_lessons(data: Path, reader: Reader[Any], most_tokens: int, *, allow: Collection[str] = (),
                 splits: Collection[str] = ("train",)) -> Lessons:
    """Return the records that the reader takes, of at most `most_tokens`; the others are counted by their reason.

    Raises BadData when records are of a split or a set that may not be taught (a set is also known by the content of
    its images), and when nothing is left.
    """
    records = list(read(data))
    for record in records:
        if record.split not in splits or record.dataset in OUT_OF_DOMAIN - set(allow):
            raise BadData(f"{record.id}: {record.dataset} {record.split} may not be taught to the generalist; build "
                          "the data without it, or name the set with --allow.")
    images = reader.images
    excluded.refuse((image_path(name, images.root, images.built) for r in records for name in r.images), allow)
    lessons = Lessons(reader)
    for record in records:
        _take(record, most_tokens, lessons)
    for reason, count in lessons.left_out.most_common():
        LOG.warning("left out: %d of %d conversations: %s", count, len(records), reason)
    if not lessons.rows:
        raise BadData(f"No conversation of {data.name!r} can be taught ({_told(lessons)}); raise --most-tokens or "
                      "build other data.")
    return lessons


def _take(record: Record, most_tokens: int, lessons: Lessons) -> None:
    try:
        row = lessons.reader.read(record)
    except BadData as fault:
        lessons.left_out[str(fault).removeprefix(f"{record.id}: ")] += 1
        return
    if row.length > most_tokens:
        lessons.left_out[f"over {most_tokens} tokens"] += 1
        return
    lessons.rows.append(row)
    lessons.sets[record.dataset, record.license, record.tier] += 1


def _told(lessons: Lessons) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in lessons.left_out.most_common(3)) or "it has none"
