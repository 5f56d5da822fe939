"""What a run is taught: records that a checkpoint's reader takes, those left out with the reason, and their sets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
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
from specialists.core.errors import BadData, BadStudy

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
    kinds: set[str] = field(default_factory=set)
    """Kinds of image that the records name."""
    groups: set[tuple[str, str]] = field(default_factory=set)
    """(set, patient or near-duplicate group) of the images."""

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
    its images), when images are not there or cannot be read, and when nothing is left.
    """
    records = list(read(data))
    for record in records:
        _check_allowed(record, splits, allow)
    images = reader.images
    _check_there(records, images)
    excluded.refuse((image_path(name, images.root, images.built) for r in records for name in r.images), allow)
    lessons, broken = Lessons(reader), []
    for record in records:
        try:
            _take(record, most_tokens, lessons)
        except BadStudy as fault:
            broken.append(f"{record.id}: {fault}")
    if broken:
        raise BadData(f"{len(broken)} of {len(records)} conversations of {data.name!r} have an image that cannot be "
                      f"read ({' '.join(broken[:3])}). Put whole images in their place, or build the data again, which "
                      "leaves such images out.")
    for reason, count in lessons.left_out.most_common():
        LOG.warning("left out: %d of %d conversations: %s", count, len(records), reason)
    if not lessons.rows:
        raise BadData(f"No conversation of {data.name!r} can be taught ({_told(lessons)}); raise --most-tokens or "
                      "build other data.")
    return lessons


def _check_allowed(record: Record, splits: Collection[str], allow: Collection[str]) -> None:
    if record.split not in splits:
        raise BadData(f"{record.id}: records of the split {record.split!r} may not be taught, wanted "
                      f"{' or '.join(splits)}: what is measured is never learned, whatever --allow names. Build the "
                      f"data with `consilium data build --split {splits[-1]}`.")
    if record.dataset in OUT_OF_DOMAIN - set(allow):
        raise BadData(f"{record.id}: the set {record.dataset} may not be taught to the generalist; build the data "
                      "without it, or name the set with --allow.")


def _check_there(records: Iterable[Record], images: Images) -> None:
    wanted: dict[str, str] = {}
    for record in records:
        for name in record.images:
            wanted.setdefault(name, record.id)
    absent = [name for name in wanted if not image_path(name, images.root, images.built).is_file()]
    if absent:
        raise BadData(f"{len(absent)} of {len(wanted)} images are not there, such as {absent[0]!r} of the record "
                      f"{wanted[absent[0]]}; wanted them under {str(images.root)!r} (--images), and \"made/...\" under "
                      f"{str(images.built)!r} (--built). Name the folders that the records were built from and in, or "
                      "build them again.")


def check_apart(taught: Lessons, held_out: Lessons) -> None:
    """Raise BadData where conversations that are held out share a group or an image with those that are taught.

    Images are the same by the content of their files, whatever their names.
    """
    groups, (here, there) = taught.groups & held_out.groups, (_digests(x) for x in (taught, held_out))
    same = [name for digest, name in there.items() if digest in here]
    if groups or same:
        told = [*([f"{len(groups)} groups, such as {min(groups)[1]!r}"] if groups else []),
                *([f"{len(same)} images, such as {same[0]!r}"] if same else [])]
        raise BadData(f"--validate shares {' and '.join(told)} with --data: the loss and the record of what is taught "
                      "say nothing of other images. Build it of images that are held out, such as with `consilium data "
                      "build --split val`, or take those images out of one of the two.")


def _digests(lessons: Lessons) -> dict[str, str]:
    """Return hash -> name of the images."""
    images, names = lessons.reader.images, {name: None for row in lessons.rows for name in row.images}
    return {excluded.digest(image_path(name, images.root, images.built)): name for name in names}


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
    lessons.kinds |= {record.modality} - {""}
    if record.group:
        lessons.groups.add((record.dataset, record.group))


def _told(lessons: Lessons) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in lessons.left_out.most_common(3)) or "it has none"
