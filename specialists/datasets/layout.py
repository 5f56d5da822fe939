"""Reads the record layout: NAME/records.jsonl, one JSON object an image; it opens no image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specialists.core.errors import BadData


@dataclass(frozen=True)
class Sample:
    """One image with what is known about it."""

    id: str
    path: Path
    dataset: str
    split: str
    label: str | None
    """The main label, None where the set gives none."""
    patient: str | None
    group: str
    """Patient or near-duplicate group: what may not stand on two sides of a split."""
    source: str
    license: str
    tier: str
    record: Mapping[str, Any] = field(default_factory=dict)
    """The whole record: labels, masks, boxes, text."""

    def mask_path(self, name: str) -> Path | None:
        """Return the file of a named mask, None where the record has none."""
        relative = (self.record.get("masks") or {}).get(name)
        return self.path.parent.parent / relative if relative else None


COPY_OF = "copy_of"
"""Field of a record that is a changed copy of another sample: the id of that one."""


def copied(sample: Sample) -> str:
    """Return the id of the sample that this one is a copy of, its own where it is none."""
    return str(sample.record.get(COPY_OF) or sample.id)


def set_names(root: Path) -> list[str]:
    """Return the names of the sets under a data folder, sorted."""
    if not root.is_dir():
        raise BadData(f"No folder {root.name!r}; wanted a data folder with one folder a set, each with "
                      "records.jsonl.")
    return sorted(p.parent.name for p in root.glob("*/records.jsonl"))


def read_set(folder: Path, splits: Iterable[str] | None = None) -> list[Sample]:
    """Return the samples of one set in file order; raises BadData naming the line that is no record."""
    file = folder / "records.jsonl"
    if not file.is_file():
        raise BadData(f"No records.jsonl in {folder.name!r}; wanted one JSON object an image.")
    wanted = None if splits is None else set(splits)
    samples = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            sample = _sample(folder, json.loads(line))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise BadData(f"{folder.name}/records.jsonl line {number} is no record ({error}); wanted "
                          "id, image, split.") from error
        if wanted is None or sample.split in wanted:
            samples.append(sample)
    return samples


def stated(record: Mapping[str, Any], field: str) -> str | None:
    """Return what a record says in a field, None where it says nothing: an empty patient is nobody."""
    return str(record.get(field) if record.get(field) is not None else "").strip() or None


def _sample(folder: Path, record: dict[str, Any]) -> Sample:
    patient = stated(record, "patient")
    group = patient or stated(record, "group") or record["id"]
    return Sample(id=record["id"], path=folder / record["image"], dataset=record.get("dataset", folder.name),
                  split=record["split"], label=record.get("label"),
                  patient=patient, group=f"{folder.name}/{group}",
                  source=record.get("source", ""), license=record.get("licence", record.get("license", "")),
                  tier=record.get("tier", ""), record=record)
