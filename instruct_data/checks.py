"""Finds what is wrong with built conversations: every check a row, with a count and an example; it mends nothing.

Records are read twice, in order and then image by image, so that memory holds no more than one image's conversations
and a few numbers a record. Images are opened only where the data folder is given.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console
from rich.table import Table

from assistant.collaboration.texts import Encoder, MiniLM
from instruct_data import duplicates, faults
from instruct_data.faults import CHECKS, Fault
from instruct_data.records import OUT_OF_DOMAIN, Marked, Record, image_path, parsed, read
from specialists.core.errors import BadData, BadStudy
from specialists.core.study import read_study

FEWEST = 40
"""Conversations of a kind and set from which on their balance is judged."""
PREVAILS = {"letter": 0.6, "yes": 0.8, "no": 0.8, "words": 0.9}
"""Share of the most frequent answer from which on it prevails, by what it is."""
IMAGELESS = 20_000
"""Conversations without an image that are compared with each other at a time."""


@dataclass(frozen=True)
class Check:
    """Find boxes, texts, splits and labels that are wrong; exits non-zero when there are errors."""

    folder: Path
    """Folder that `consilium data build` wrote."""
    data: Path | None = None
    """Data folder that it was built from: opens every image, compares boxes with the source."""
    against: tuple[Path, ...] = ()
    """Folders built from other splits: no patient, group or image may stand in two."""
    semantic: bool = False
    """Also find conversations about one image that mean the same (needs sentence-transformers)."""


@dataclass(frozen=True)
class Row:
    """The outcome of a check."""

    check: str
    severity: faults.Severity
    count: int
    example: str
    """Id of the first record (or name of the first image) at fault; "" where there is none."""
    what: str
    """What was found there."""


@dataclass(frozen=True)
class Balance:
    """How even the answers of a kind and set are."""

    kind: str
    dataset: str
    records: int
    answer: str
    """The most frequent answer."""
    share: float
    """Of the most frequent answer, 0..1."""
    entropy: float
    """In bits."""


@dataclass(frozen=True)
class CheckReport:
    """All rows, in the order of `faults.CHECKS`, with those that found nothing."""

    rows: tuple[Row, ...]
    records: int
    images: int
    balance: tuple[Balance, ...]
    seconds: float
    opened: bool
    """The images were opened."""

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(r.count for r in self.rows if r.severity == "error")

    @property
    def code(self) -> int:
        """Exit status: 1 with an error."""
        return int(self.errors > 0)


@dataclass
class _Seen:
    """What the first reading leaves for the second."""

    keys: list[int] = field(default_factory=list)
    """Hash of a record's first image; 0 for none."""
    places: list[tuple[int, int]] = field(default_factory=list)
    """(file, offset) of each record."""
    images: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Image -> (split, set)."""
    groups: dict[str, str] = field(default_factory=dict)
    """Group -> split."""
    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    several: set[str] = field(default_factory=set)
    """Sets of which an image may have several diagnoses."""
    answers: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


class _Found:
    """Counts faults and keeps the first of each check."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Fault] = {}

    def add(self, found: Iterable[Fault]) -> None:
        for fault in found:
            self.counts[fault.check] += 1
            self.first.setdefault(fault.check, fault)

    def rows(self) -> tuple[Row, ...]:
        return tuple(Row(name, severity, self.counts[name], self.first[name].record if name in self.first else "",
                         self.first[name].what if name in self.first else "")
                     for name, (severity, _) in CHECKS.items())


def check(folder: Path, data: Path | None = None, *, against: Sequence[Path] = (), semantic: bool = False,
          encoder: Encoder | None = None) -> CheckReport:
    """Return what is wrong with a built folder; raises BadData where there is none, or a line is no record.

    `encoder` turns texts into vectors where `semantic` is set; all-MiniLM-L6-v2 when not given.
    """
    started = time.monotonic()
    found, seen = _Found(), _Seen()
    files = _files(folder)
    manifest = _manifest(folder)
    for number, file in enumerate(files):
        for offset, record in _lines(file):
            _first_look(record, seen, found, manifest)
            seen.places.append((number, offset))
    balance = tuple(_balances(seen.answers))
    found.add(Fault("one answer prevails", f"{b.kind} / {b.dataset}",
                    f"{100 * b.share:.0f} % of {b.records}: {b.answer}")
              for b in balance if b.share > PREVAILS[_sort_of(b.answer)])
    model = (encoder or MiniLM()) if semantic else None
    _by_image(files, seen, found, _source(data, seen) if data else {}, model)
    others = [_sides(other, seen, found) for other in against]
    found.add(_absent(folder, seen))
    if data is not None:
        _pictures(folder, data, seen, list(zip(against, others, strict=True)), found)
    return CheckReport(found.rows(), len(seen.places), len(seen.images), balance, time.monotonic() - started,
                       data is not None)


def run_check(config: Check) -> int:
    """Check, print the table, and return the exit status."""
    report = check(config.folder, config.data, against=config.against, semantic=config.semantic)
    Console().print(table(report))
    return report.code


def table(report: CheckReport) -> Table:
    """Return the rows as a table for the terminal."""
    title = f"{report.records} conversations, {report.images} images, {report.seconds:.0f} s"
    drawn = Table(title=title, caption=None if report.opened else "Images were not opened: name their folder, --data.")
    for name in ("check", "", "count", "example", "what"):
        drawn.add_column(name, justify="right" if name == "count" else "left", overflow="fold")
    for row in sorted(report.rows, key=lambda r: (r.count == 0, r.severity)):
        style = "" if not row.count else "red" if row.severity == "error" else "yellow"
        drawn.add_row(row.check, row.severity if row.count else "ok", str(row.count), row.example, row.what[:100],
                      style=style)
    return drawn


def _first_look(record: Record, seen: _Seen, found: _Found, manifest: Mapping[str, Any]) -> None:
    """Judge a record by itself and note what the second reading needs."""
    found.add(faults.of_record(record))
    seen.keys.append(_key(record.images[0]) if record.images else 0)
    told = [f.removeprefix("diagnosis: ") for f in record.facts if f.startswith("diagnosis: ")]
    seen.labels[record.dataset].update(told)
    if len(set(told)) > 1 and len(record.images) == 1:
        seen.several.add(record.dataset)
    where = "all sets" if record.kind == "image_kind" else record.dataset  # a set has one kind of image
    seen.answers[record.kind, where][faults.answer(record)[:120]] += 1
    left_out = OUT_OF_DOMAIN | set(manifest.get("excluded", ()))
    if record.dataset in left_out:
        found.add([Fault("excluded set", record.id, record.dataset)])
    if manifest.get("split", "all") not in ("all", record.split):
        found.add([Fault("wrong split", record.id, record.split)])
    if not record.images:
        return
    side = seen.groups.setdefault(record.group or record.images[0], record.split)
    if side != record.split:
        found.add([Fault("group on two sides", record.id, f"{record.split} and {side}")])
    for image in record.images:
        if seen.images.setdefault(image, (record.split, record.dataset))[0] != record.split:
            found.add([Fault("image on two sides", record.id, image)])


def _by_image(files: Sequence[Path], seen: _Seen, found: _Found, source: Mapping[str, list[Marked]],
              model: Encoder | None) -> None:
    """Read the records again, image by image, and judge them together."""
    labels = {name: frozenset(told) for name, told in seen.labels.items()}
    opened = [file.open("rb") for file in files]
    try:
        for places in _grouped(seen):
            records = [_at(opened[number], offset) for number, offset in places]
            image = records[0].images[0] if records[0].images else ""
            if image:
                found.add(faults.of_image(records, labels, frozenset(seen.several), source.get(image)))
            found.add(_twice(records, model))
    finally:
        for file in opened:
            file.close()


def _grouped(seen: _Seen) -> Iterator[list[tuple[int, int]]]:
    """Yield the places of the records about one image, in their order; those without one some thousands at a time."""
    keys = np.asarray(seen.keys, np.uint64)
    order = np.argsort(keys, kind="stable")
    cuts = np.flatnonzero(np.diff(keys[order])) + 1
    for part in np.split(order, cuts):
        for start in range(0, len(part), IMAGELESS):
            yield [seen.places[i] for i in part[start:start + IMAGELESS]]


def _twice(records: Sequence[Record], model: Encoder | None) -> Iterator[Fault]:
    """Yield conversations about one image that are the same, or nearly."""
    first: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = (*record.images, faults.spoken(record))
        if key in first:
            yield Fault("the same conversation twice", record.id, f"as {first[key].id}")
        first.setdefault(key, record)
    texts = [key[-1] for key in first]
    own = list(first.values())
    pairs = set(duplicates.alike(texts))
    yield from (Fault("nearly the same words", own[b].id, f"as {own[a].id}") for a, b in sorted(pairs))
    if model is not None:
        yield from (Fault("the same meaning", own[b].id, f"as {own[a].id}")
                    for a, b in duplicates.same_meaning(texts, model) if (a, b) not in pairs)


def _sides(other: Path, seen: _Seen, found: _Found) -> dict[str, str]:
    """Compare groups and images with another folder; return its images with their splits."""
    images: dict[str, str] = {}
    told: set[str] = set()
    for record in read(other):
        group = record.group or (record.images[0] if record.images else "")
        split = seen.groups.get(group, record.split)
        if split != record.split and group not in told:
            told.add(group)
            found.add([Fault("group on two sides", record.id, f"{split} and {record.split}")])
        for image in record.images:
            if image not in images and seen.images.get(image, (record.split,))[0] != record.split:
                found.add([Fault("image on two sides", record.id, image)])
            images.setdefault(image, record.split)
    return images


def _absent(folder: Path, seen: _Seen) -> Iterator[Fault]:
    """Yield images of the build itself that are not there."""
    made = (name for name in seen.images if name.startswith("made/"))
    yield from (Fault("image missing", name, "made by the build") for name in made if not (folder / name).is_file())


def _pictures(folder: Path, data: Path, seen: _Seen, others: Sequence[tuple[Path, Mapping[str, str]]],
              found: _Found) -> None:
    """Open all images; find near-duplicates across splits."""
    wanted = {name: (image_path(name, data, folder), split) for name, (split, _) in seen.images.items()}
    for built, images in others:
        wanted |= {f"{name} ({split})": (image_path(name, data, built), split) for name, split in images.items()
                   if name not in seen.images}
    hashes, names = [], []
    for name, (path, _) in wanted.items():
        if not path.is_file():
            found.add([Fault("image missing", name, "no such file")] if not name.startswith("made/") else ())
            continue
        try:
            hashes.append(read_study(path).dhash())
            names.append(name)
        except BadStudy as error:
            found.add([Fault("image unreadable", name, str(error)[:100])])
    pairs = duplicates.near_images(hashes, [wanted[n][1] for n in names])
    found.add(Fault("nearly the same image on two sides", names[a], f"as {names[b]}") for a, b in pairs)


def _source(data: Path, seen: _Seen) -> dict[str, list[Marked]]:
    """Return the boxes that the record layout gives, by image; {} for sets in other layouts."""
    boxes: dict[str, list[Marked]] = {}
    for name in sorted({dataset for _, dataset in seen.images.values()}):
        file = data / name / "records.jsonl"
        if not file.is_file():
            continue
        with file.open(encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                raw = json.loads(line)
                if raw.get("boxes"):
                    boxes[f"{name}/{raw['image']}"] = [Marked(b["name"], tuple(b["box"])) for b in raw["boxes"]]
    return boxes


def _balances(answers: Mapping[tuple[str, str], Counter[str]]) -> Iterator[Balance]:
    for (kind, dataset), counts in sorted(answers.items()):
        total = counts.total()
        if total >= FEWEST:
            answer, most = counts.most_common(1)[0]
            entropy = -sum(n / total * math.log2(n / total) for n in counts.values())
            yield Balance(kind, dataset, total, answer, most / total, entropy)


def _sort_of(answer: str) -> str:
    return answer if answer in ("yes", "no") else "letter" if len(answer) == 1 else "words"


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("records*.jsonl")) if folder.is_dir() else [folder] if folder.is_file() else []
    if not found:
        raise BadData(f"No records*.jsonl in {folder.name!r}; `consilium data build` writes them.")
    return found


def _lines(file: Path) -> Iterator[tuple[int, Record]]:
    offset = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield offset, parsed(line.decode(), f"{file.name} line {number}")
            offset += len(line)


def _at(file: BinaryIO, offset: int) -> Record:
    file.seek(offset)
    return parsed(file.readline().decode(), f"{Path(file.name).name} at byte {offset}")


def _manifest(folder: Path) -> Mapping[str, Any]:
    file = folder / "manifest.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _key(image: str) -> int:
    return int.from_bytes(blake2b(image.encode(), digest_size=8).digest(), "big") | 1
