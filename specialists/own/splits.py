"""Who is taught on, who is chosen on, who is measured on: by group, stratified by label, the same again each time.

Given splits are kept, but for images whose group stands on two sides; it opens no image.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from specialists.core.errors import BadData
from specialists.datasets.layout import Sample
from specialists.own.checks import Note

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
STRICT = ("test", "val", "train")
"""The stricter side first."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Samples with their sides, and what there is to say about it."""

    samples: tuple[Sample, ...]
    """Without those that `mend` had to leave out."""
    given: bool
    notes: tuple[Note, ...]


def split(samples: Sequence[Sample], known: Mapping[str, str] | None = None, seed: int = 0) -> Split:
    """Put every sample on a side: the given one, the one it had before (`known`, by id), or a drawn one.

    Raises BadData where only a part has a given side, or where no train or val is left.
    """
    notes: list[Note] = []
    given = any(sample.split for sample in samples)
    if given:
        found, notes = mend(samples)
        found, more = _completed(found, seed)
        notes += more
    else:
        sides = draw(samples, known or {}, seed)
        found = [dataclasses.replace(s, split=side) for s, side in zip(samples, sides, strict=True)]
    _whole(found)
    return Split(tuple(found), given, tuple(notes))


def mend(samples: Sequence[Sample]) -> tuple[list[Sample], list[Note]]:
    """Keep given sides but where a group stands on two: test stays as it is.

    Images that share a group with test leave train and val; train images that share one with val move to val.
    """
    absent = [s.id for s in samples if not s.split]
    if absent:
        raise BadData(f"{len(absent)} of {len(samples)} images have no split, e.g. {absent[0]}; wanted train, val or "
                      "test for all of them, or for none. Complete the column, or leave it out.")
    sides: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        sides[sample.group].add(sample.split)
    kept: list[Sample] = []
    dropped, moved = [], []
    for sample in samples:
        own = sides[sample.group]
        if "test" in own and sample.split != "test":
            dropped.append(sample.id)
        elif "val" in own and sample.split == "train":
            moved.append(sample.id)
            kept.append(dataclasses.replace(sample, split="val"))
        else:
            kept.append(sample)
    notes = []
    if dropped:
        notes.append(Note("leak", f"THE GIVEN SPLIT LEAKS: {len(dropped)} images of train or val show a patient, a "
                          "group or a copy that stands in test too; they are left out, test stays as it is",
                          tuple(dropped), serious=True))
    if moved:
        notes.append(Note("leak", f"THE GIVEN SPLIT LEAKS: {len(moved)} images of train show a patient, a group or a "
                          "copy that stands in val too; they are moved to val", tuple(moved), serious=True))
    return kept, notes


def _completed(samples: list[Sample], seed: int) -> tuple[list[Sample], list[Note]]:
    """Cut a side that is missing altogether out of train: val a tenth, test a fifth."""
    notes = []
    for side in ("test", "val"):
        if any(s.split == side for s in samples):
            continue
        train = [s for s in samples if s.split == "train"]
        sides = draw(train, {}, seed, {side: SHARES[side], "train": 1 - SHARES[side]})
        taken = {s.id for s, found in zip(train, sides, strict=True) if found == side}
        samples = [dataclasses.replace(s, split=side) if s.id in taken else s for s in samples]
        notes.append(Note("split", f"The given split has no {side}: {len(taken)} images of train became it, by group"))
    return samples, notes


def draw(samples: Sequence[Sample], known: Mapping[str, str], seed: int,
         shares: Mapping[str, float] = SHARES) -> list[str]:
    """Return the side of each sample, groups together, every label in its shares as far as groups allow."""
    counts = Counter(str(s.label) for s in samples)
    members: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        members[sample.group].append(row)
    strata: dict[str, list[str]] = defaultdict(list)
    for group, rows in members.items():
        strata[min((str(samples[r].label) for r in rows), key=lambda label: (counts[label], label))].append(group)
    sides = [""] * len(samples)
    random = np.random.default_rng(seed)
    for label in sorted(strata):
        groups = sorted(strata[label])
        groups = [groups[i] for i in random.permutation(len(groups))]
        groups.sort(key=lambda group: -len(members[group]))
        left = _quota(sum(len(members[group]) for group in groups), shares)
        before = {group: _side_before(samples, members[group], known, shares) for group in groups}
        for group in sorted(groups, key=lambda group: before[group] is None):
            side = before[group] or max(left, key=lambda name: (left[name], name == "train"))
            left[side] -= len(members[group])
            for row in members[group]:
                sides[row] = side
    return sides


def _side_before(samples: Sequence[Sample], rows: Sequence[int], known: Mapping[str, str],
                 shares: Mapping[str, float]) -> str | None:
    had = {known[samples[row].id] for row in rows if samples[row].id in known} & set(shares)
    return next((side for side in STRICT if side in had), None)


def _quota(count: int, shares: Mapping[str, float]) -> dict[str, float]:
    """Return how many images of a label each side should get, at least one of val and test."""
    quota = {name: max(1.0, round(share * count)) for name, share in shares.items() if name != "train"}
    return {"train": count - sum(quota.values()), **quota}


def _whole(samples: Sequence[Sample]) -> None:
    counts = Counter((s.split, str(s.label)) for s in samples)
    labels = sorted({str(s.label) for s in samples})
    for side in STRICT:
        if not any(counts[side, label] for label in labels):
            raise BadData(f"No image is left for {side}; wanted some on every side. Give a split by patient, or none: "
                          "then one is drawn.")
    missing = [label for label in labels if counts["train", label] < 2]
    if missing:
        raise BadData(f"Fewer than two images of {', '.join(missing)} in train; wanted two or more of each label. Add "
                      "images of other patients, or give another split.")


def write_records(samples: Sequence[Sample], file: Path) -> None:
    """Write the samples with their sides in the record layout, images by their full paths."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"id": s.id, "image": str(s.path), "dataset": s.dataset, "label": s.label, "patient": s.patient,
              "group": s.group.removeprefix(f"{s.dataset}/"), "split": s.split, "source": s.source,
              "license": s.license, "tier": s.tier} for s in samples]
    file.write_text("".join(json.dumps({k: v for k, v in line.items() if v is not None}, ensure_ascii=False) + "\n"
                            for line in lines), encoding="utf-8")
