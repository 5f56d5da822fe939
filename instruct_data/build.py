"""Hands out what the parts hold: shards in JSONL and Parquet, hashes of all images, a manifest and a datasheet.

It makes no conversation. The same plan gives the same bytes; nothing about the machine or the hour stands in them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from instruct_data.datasheet import datasheet
from instruct_data.engine import PARTS, Plan, came_of, library_of, name_of, part_file, parts, texts_of, write_whole
from instruct_data.faults import MOST_FORMS
from instruct_data.mix import KINDS
from instruct_data.records import Record, line, read
from specialists.core.errors import BadData

NO_FACT = "unanswerable: "
"""What no image tells is no fact about one."""
SHARD = 20_000
"""Records of a shard."""


@dataclass
class Counted:
    """What the records of a build hold."""

    records: int = 0
    images: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Set -> its license, tier and number of records."""
    facts: set[bytes] = field(default_factory=set)
    """Hashes of (image, fact)."""
    facts_of: Counter[str] = field(default_factory=Counter)
    """Kind of conversation -> (image, fact) pairs that it was the first to tell."""
    writers: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count a record."""
        self.records += 1
        self.kinds[record.kind] += 1
        self.writers[record.writer] += 1
        self.modalities[record.modality or ("none" if not record.images else "not stated")] += 1
        row = self.sets.setdefault(record.dataset, {"license": record.license, "tier": record.tier, "records": 0})
        row["records"] += 1
        for fact in record.facts:
            if fact.startswith(NO_FACT):
                continue
            known = len(self.facts)
            self.facts.add(sha256(f"{record.dataset}|{'|'.join(record.images)}|{fact}".encode()).digest()[:12])
            self.facts_of[record.kind] += len(self.facts) - known


def finish(plan: Plan) -> dict[str, Any]:
    """Write the files of a plan whose parts are all made; return the manifest.

    Records without an image whose words stand in an earlier part, too, are dropped: they name no image that would
    tell them apart.
    """
    counted, lost, images = Counted(), Counter[str](), dict[str, str]()
    left_out = dict(library_of(plan).left_out)
    files = [part_file(plan, number) for number in range(parts(plan))]
    for file in files:
        came = came_of(file)
        lost += came.lost
        left_out |= came.left_out
        images |= came.images
    counted.images = len(images)
    shards = list(_shards(plan.out, _kept(files, counted, lost)))
    if not counted.records:
        of = f" by the kinds {', '.join(plan.kinds)}" if plan.kinds else ""
        raise BadData(f"Nothing can be told of {plan.data.name!r}{of}: {len(left_out)} images left out"
                      + (f" ({next(iter(left_out.values()))})" if left_out else "") + ". Kinds that name a label want "
                      "a set with two labels or more; without --kinds all are tried.")
    if not counted.facts:
        raise BadData(f"Nothing is known of the {counted.images} images of {plan.data.name!r}: no label, mask, box, "
                      "grade, question or kind of image. Is it the right folder? Name its --layout, or say the kind in "
                      "info.json.")
    (plan.out / "images.sha256").write_text("".join(f"{h}  {name}\n" for name, h in sorted(images.items())))
    manifest = _manifest(plan, counted, lost, left_out, shards)
    write_whole(plan.out / "README.md", datasheet(manifest))
    write_whole(plan.out / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(plan.out / PARTS)
    return manifest


def finished(plan: Plan) -> dict[str, Any] | None:
    """Return the manifest when this plan is built already, None when it is not.

    Raises BadData when another build stands in the folder.
    """
    file = plan.out / "manifest.json"
    if not file.is_file():
        return None
    manifest = json.loads(file.read_text(encoding="utf-8"))
    if manifest.get("plan") == name_of(plan):
        return manifest
    raise BadData(f"{plan.out.name!r} holds another build (other data, seed or kinds); name a new folder with --out.")


def _kept(files: Iterable[Path], counted: Counted, lost: Counter[str]) -> Iterator[Record]:
    seen: set[bytes] = set()
    for file in files:
        for record in read(file):
            if not record.images:
                key = sha256((record.text() + json.dumps(record.tools)).encode()).digest()[:16]
                if key in seen:
                    lost["the same words without an image"] += 1
                    continue
                seen.add(key)
            counted.add(record)
            yield record


def _shards(out: Path, records: Iterator[Record]) -> Iterator[Path]:
    """Write the records in shards of both forms; the memory needed is that of a shard."""
    number, rows = 0, []
    for record in records:
        rows.append(record)
        if len(rows) == SHARD:
            yield from _shard(out, number, rows)
            number, rows = number + 1, []
    if rows:
        yield from _shard(out, number, rows)


def _shard(out: Path, number: int, rows: list[Record]) -> Iterator[Path]:
    lines = [line(r) for r in rows]
    path = out / f"records-{number:05d}.jsonl"
    write_whole(path, "\n".join(lines) + "\n")
    yield path
    table = out / f"records-{number:05d}.parquet"
    waiting = table.with_suffix(f".{os.getpid()}")
    pq.write_table(pa.table(columns(rows)), waiting, compression="zstd")
    os.replace(waiting, table)
    yield table


def columns(rows: list[Record]) -> dict[str, pa.Array]:
    """Return the columns of Parquet: messages and tools as JSON texts, as their parts have no one type."""
    texts = {name: pa.array([getattr(r, name) for r in rows], pa.string()) for name in
             ("id", "kind", "dataset", "modality", "split", "group", "source", "license", "tier", "writer", "language")}
    lists = {name: pa.array([list(getattr(r, name)) for r in rows], pa.list_(pa.string()))
             for name in ("images", "facts")}
    nested = {name: pa.array([json.dumps(getattr(r, name), ensure_ascii=False) for r in rows], pa.string())
              for name in ("messages", "tools")}
    box = pa.struct([("name", pa.string()), ("box", pa.list_(pa.float64(), 4)), ("image", pa.int32())])
    boxes = pa.array([[{"name": b.name, "box": list(b.box), "image": b.image} for b in r.boxes] for r in rows],
                     pa.list_(box))
    sizes = pa.array([[list(s) for s in r.sizes] for r in rows], pa.list_(pa.list_(pa.int32(), 2)))
    return {**texts, **lists, **nested, "boxes": boxes, "sizes": sizes}


def _manifest(plan: Plan, counted: Counted, lost: Counter[str], left_out: dict[str, str], shards: list[Path]
              ) -> dict[str, Any]:
    hashes = {p.name: sha256(p.read_bytes()).hexdigest() for p in [*shards, plan.out / "images.sha256"]}
    kinds = {name: {"records": n, "new_facts": counted.facts_of[name], "what": KINDS[name].what}
             for name, n in sorted(counted.kinds.items())}
    index = texts_of(plan)
    about = {"sha256": index.sha256, "encoder": index.encoder.name, "count": len(index.entries)} if index else None
    return {"plan": name_of(plan), "seed": plan.seed, "split": plan.split, "forms": plan.forms,
            **({"texts": about} if about else {}),
            "excluded": sorted(plan.exclude), "images": counted.images,
            "records": counted.records, "facts": len(counted.facts), "most_forms": MOST_FORMS, "kinds": kinds,
            "modalities": dict(sorted(counted.modalities.items())), "sets": dict(sorted(counted.sets.items())),
            "writers": dict(sorted(counted.writers.items())), "lost": dict(sorted(lost.items())),
            "left_out": dict(sorted(left_out.items())), "files": dict(sorted(hashes.items()))}
