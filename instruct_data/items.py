"""What a conversation is made from: an image with its label, boxes and out-of-fold evidence."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assistant.steps import Case, Opinion
from instruct_data.records import OUT_OF_DOMAIN
from specialists.core import registry
from specialists.core.errors import BadData
from specialists.core.findings import Box
from specialists.datasets.kinds import KIND_OF
from specialists.datasets.layout import Sample, read_set, set_names

SIDE = 1000
"""Boxes of an item are in a square of this side: the records hold shares of width and height."""

NOT_DIAGNOSES = frozenset({"bccd_blood_cells", "chase_db1_vessels", "cohen_covid_cxr", "covid_hannover_cxr",
                           "kvasir_seg_polyp", "msd_hippocampus_mri3d", "drishti_gs_disc_cup", "vqa_rad"})
"""Sets of one class, or of labels of mixed origin: never a disease against normals of another source."""


@dataclass(frozen=True)
class Item:
    """One training image and all that may be said about it."""

    sample: Sample
    image: str
    """Path relative to the data folder."""
    kind: str
    labels: tuple[str, ...] = ()
    """Label set that the image's label is one of; empty where the set is no diagnosis set."""
    boxes: tuple[Box, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    """By specialists that did not see the image."""
    cases: tuple[Case, ...] = ()
    """Of other groups, found with features that did not see the image."""

    @property
    def label(self) -> str:
        """The image's label."""
        return str(self.sample.label)


@dataclass(frozen=True)
class Library:
    """All items, and those that a kind can use, by set so that no large set drowns a small one."""

    items: Sequence[Item]
    by_set: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    with_evidence: Mapping[str, Sequence[Item]] = field(default_factory=dict)


def gather(data: Path, evidence: Path | None = None, *, split: str = "train", exclude: Iterable[str] = OUT_OF_DOMAIN
           ) -> Library:
    """Read the records of every set that may be taught, with the out-of-fold evidence under `evidence`."""
    excluded = set(exclude) | (OUT_OF_DOMAIN if split == "train" else set())
    names = [n for n in set_names(data) if n in KIND_OF and n not in excluded]
    if not names:
        raise BadData(f"No set of {data.name!r} may be taught; known are {', '.join(sorted(KIND_OF))}.")
    known = _evidence(evidence)
    items = []
    for name in names:
        samples = read_set(data / name, [split])
        labels = () if name in NOT_DIAGNOSES else tuple(sorted({s.label for s in samples if s.label}))
        for sample in samples:
            opinions, cases = known.get(sample.id, ((), ()))
            items.append(Item(sample, str(sample.path.relative_to(data)), KIND_OF[name],
                              labels if len(labels) > 1 else (), _boxes(sample), opinions, cases))
    return Library(items, _grouped(items), _grouped(i for i in items if i.opinions))


def _grouped(items: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.sample.dataset].append(item)
    return dict(groups)


def _boxes(sample: Sample) -> tuple[Box, ...]:
    return tuple(Box(b["name"], (SIDE * b["box"][0], SIDE * b["box"][1], SIDE * b["box"][2], SIDE * b["box"][3]))
                 for b in sample.record.get("boxes") or () if len(b["box"]) == 4)


def _evidence(folder: Path | None) -> dict[str, tuple[tuple[Opinion, ...], tuple[Case, ...]]]:
    """Return the opinions and cases of each image from DOMAIN.jsonl files; none without a folder."""
    found: dict[str, tuple[tuple[Opinion, ...], tuple[Case, ...]]] = {}
    cards = registry.cards() if folder else {}
    for file in sorted(folder.glob("*.jsonl")) if folder else ():
        for line in file.read_text().splitlines():
            row = json.loads(line)
            opinions = tuple(Opinion(o["specialist"], o["label"], o["probabilities"],
                                     cards[o["specialist"]].validated if o["specialist"] in cards else {})
                             for o in row["opinions"])
            cases = tuple(Case(c["id"], c["label"], c["similarity"], row["dataset"]) for c in row["cases"])
            found[row["id"]] = (opinions, cases)
    return found
