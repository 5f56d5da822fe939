"""Looks through labelled images before anything is trained on them, and says what it found.

Only what cannot be read is left out. Copies, contradictions and imbalance are named and stay: what to do about them
is for whoever knows the images. It repairs no label and trains nothing.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from specialists.core.errors import BadData, BadStudy
from specialists.core.index import NEAR_DUPLICATE_BITS
from specialists.core.inputs import to_square
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.own.sources import Source, grouped

LEAST_IMAGES = 20
LEAST_GROUPS = 3
"""Of a class: train, val and test need one each."""
FEW = 20
"""A class with fewer images is called tiny."""
UNEVEN = 10
"""The largest class has so many times the images of the smallest."""
TELLTALE = 0.98
"""Part of the images whose label could be guessed from something that is no finding, such as the size of the file."""
ALIKE = 0.97
"""Near-duplicates also correlate so much when shrunk to SMALL x SMALL gray pixels."""
SMALL = 32
HEAP = 0.2
"""A heap of near-duplicates larger than this part of all images says that the hash cannot tell these images apart."""


@dataclass(frozen=True)
class Note:
    """One thing found: a sentence, and the images it is about."""

    kind: str
    """A short name, e.g. "unreadable"."""
    text: str
    about: tuple[str, ...] = ()
    serious: bool = False
    """Whether figures or labels may be wrong if it stays as it is."""

    def words(self, most: int = 5) -> str:
        """Return the sentence with the first images it is about."""
        more = f" and {len(self.about) - most} more" if len(self.about) > most else ""
        return f"{self.text}{': ' if self.about else ''}{', '.join(self.about[:most])}{more}"

    def json(self) -> dict[str, object]:
        """Return all of it."""
        return {"kind": self.kind, "serious": self.serious, "text": self.text, "about": list(self.about)}


@dataclass(frozen=True, eq=False)
class Examined:
    """Readable images, decoded once, with the groups that must stay on one side; rows stay aligned."""

    samples: tuple[Sample, ...]
    pixels: Mapping[int, np.ndarray]
    """By side: uint8 (N, side, side, 3)."""
    dhashes: tuple[bytes, ...]
    notes: tuple[Note, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels, sorted."""
        return tuple(sorted({str(sample.label) for sample in self.samples}))


@dataclass
class _Seen:
    """What one pass over the files gathers."""

    samples: list[Sample] = field(default_factory=list)
    pixels: dict[int, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    small: list[np.ndarray] = field(default_factory=list)
    dhashes: list[bytes] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    looks: list[dict[str, str]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def examine(source: Source, sizes: Iterable[int], told: Callable[[int, int], None] | None = None) -> Examined:
    """Read every image once and check the whole; `told` hears (images read, images in all).

    Raises BadData where there is too little to learn from.
    """
    seen = _look(source.samples, sorted(set(sizes)), told)
    notes = _left_out(source, seen)
    _enough(seen.samples, notes)
    clusters, found = _copies(seen)
    groups = _groups(seen, clusters)
    samples = tuple(dataclasses.replace(s, group=g) for s, g in zip(seen.samples, groups, strict=True))
    notes += [*found, *_classes(samples), *_patients(samples), *_telltales(samples, seen.looks)]
    pixels = {size: np.stack(rows) for size, rows in seen.pixels.items()}
    return Examined(samples, pixels, tuple(seen.dhashes), tuple(notes))


def _look(samples: Sequence[Sample], sizes: Sequence[int], told: Callable[[int, int], None] | None) -> _Seen:
    seen = _Seen()
    for number, sample in enumerate(samples, 1):
        try:
            study = read_study(sample.path)
            image = study.image()
        except BadStudy as error:
            seen.unreadable[sample.id] = str(error)
            continue
        finally:
            if told is not None:
                told(number, len(samples))
        seen.samples.append(sample)
        for size in sizes:
            seen.pixels[size].append(to_square(image, size))
        seen.small.append(_small(image))
        seen.dhashes.append(study.dhash())
        seen.exact.append(study.sha256)
        seen.looks.append(_look_of(study, sample))
    return seen


def _small(image: Image.Image) -> np.ndarray:
    """Return a shrunk gray picture as a vector of mean 0 and length 1."""
    gray = np.asarray(image.convert("L").resize((SMALL, SMALL), Image.Resampling.BOX), dtype=np.float32).ravel()
    gray = gray - gray.mean()
    return gray / max(float(np.linalg.norm(gray)), 1e-6)


def _look_of(study: Study, sample: Sample) -> dict[str, str]:
    channels = study.pixels[study.key_frame]
    color = channels.shape[2] == 3 and float(np.ptp(channels, axis=2).max()) > 0.02
    return {"size of the picture": f"{study.size[0]} x {study.size[1]}", "format of the file": study.format,
            "color": "color" if color else "gray", "source": sample.source}


def _left_out(source: Source, seen: _Seen) -> list[Note]:
    notes = [Note("unreadable", f"{name} is left out. {why}", serious=True) for name, why in seen.unreadable.items()]
    reasons: dict[str, list[str]] = defaultdict(list)
    for place, why in source.left_out.items():
        reasons[why].append(place)
    return notes + [Note("no sample", f"{len(places)} left out: {why}", tuple(places), serious=True)
                    for why, places in reasons.items()]


def _enough(samples: Sequence[Sample], notes: Sequence[Note]) -> None:
    counts = Counter(str(s.label) for s in samples)
    listed = ", ".join(f"{label} {count}" for label, count in counts.most_common(12)) or "nothing"
    lost = f" {len(notes)} remarks on what was left out, the first: {notes[0].words()}" if notes else ""
    if len(counts) < 2:
        raise BadData(f"Got {listed}; wanted at least two labels to tell apart. Add a class, e.g. the normal ones "
                      f"of the same source.{lost}")
    if len(samples) < LEAST_IMAGES:
        raise BadData(f"Got {len(samples)} readable images ({listed}); wanted at least {LEAST_IMAGES}, and better "
                      f"100 of each label. Add images.{lost}")
    if len(counts) > len(samples) / 2:
        raise BadData(f"Got {len(counts)} labels on {len(samples)} images: these look like names of images, not "
                      "labels. Put the images of a class into one folder, or name the right column.")


# --- copies and groups


def _copies(seen: _Seen) -> tuple[list[list[int]], list[Note]]:
    """Return rows that are the same image, or nearly, as clusters, and what there is to say about them."""
    exact = _together(len(seen.exact), _equal_pairs(seen.exact))
    near = _together(len(seen.dhashes), _near_pairs(seen))
    heaps = [rows for rows in near if len(rows) > max(20, HEAP * len(seen.samples))]
    notes = []
    if heaps:
        notes.append(Note("alike", f"{sum(map(len, heaps))} images look so alike that near-duplicates among them "
                          "cannot be told by their hash; only exact copies count there. Give patients or groups, so "
                          "that the split can keep them together", serious=True))
        heaped = {row for rows in heaps for row in rows}
        near = [rows for rows in near if rows not in heaps] + [rows for rows in exact if rows[0] in heaped]
    pairs = {row for rows in exact for row in rows}
    for kind, clusters in (("copies", exact), ("near-duplicates", [rows for rows in near if not pairs >= set(rows)])):
        if clusters:
            notes.append(Note(kind, f"{sum(map(len, clusters))} images are {kind} of one another, in "
                              f"{len(clusters)} group{'s'[:len(clusters) > 1]}; they stay, on one side of the split",
                              tuple(_named(seen, rows) for rows in clusters)))
        torn = [rows for rows in clusters if len({seen.samples[row].label for row in rows}) > 1]
        if torn:
            notes.append(Note(f"{kind} with different labels", f"{len(torn)} group{'s'[:len(torn) > 1]} of {kind} "
                              "with different labels; one of them is wrong. Correct it",
                              tuple(_named(seen, rows, labels=True) for rows in torn), serious=True))
    return near, notes


def _named(seen: _Seen, rows: Sequence[int], labels: bool = False) -> str:
    return " = ".join(f"{seen.samples[row].id} ({seen.samples[row].label})" if labels else seen.samples[row].id
                      for row in rows)


def _equal_pairs(keys: Sequence[str]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [(first[key], row) for row, key in enumerate(keys) if first.setdefault(key, row) != row]


def _near_pairs(seen: _Seen) -> list[tuple[int, int]]:
    hashes = np.frombuffer(b"".join(seen.dhashes), dtype=np.uint64).reshape(-1, 4)
    small = np.stack(seen.small)
    pairs = _equal_pairs(seen.exact)
    for row in range(len(hashes) - 1):
        bits = np.bitwise_count(hashes[row + 1:] ^ hashes[row]).sum(axis=1, dtype=int)
        close = np.flatnonzero(bits <= NEAR_DUPLICATE_BITS) + row + 1
        pairs += [(row, int(other)) for other in close if small[other] @ small[row] >= ALIKE]
    return pairs


def _together(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected clusters of two rows or more."""
    root = list(range(count))

    def top(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for one, other in pairs:
        root[max(top(one), top(other))] = min(top(one), top(other))
    clusters: dict[int, list[int]] = defaultdict(list)
    for row in range(count):
        clusters[top(row)].append(row)
    return [rows for rows in clusters.values() if len(rows) > 1]


def _groups(seen: _Seen, clusters: Sequence[Sequence[int]]) -> list[str]:
    """Return the group of each row: the patient's or the given one, joined by copies.

    Near-duplicates join images without a patient; exact copies join patients too.
    """
    joins = _equal_pairs(seen.exact)
    for rows in clusters:
        free = [row for row in rows if not grouped(seen.samples[row])]
        joins += [(free[0], row) for row in free[1:]]
    joins += _equal_pairs([sample.group for sample in seen.samples])
    groups = [sample.group for sample in seen.samples]
    for rows in _together(len(groups), joins):
        for row in rows:
            groups[row] = seen.samples[rows[0]].group
    return groups


# --- classes, patients, what gives the label away


def _classes(samples: Sequence[Sample]) -> list[Note]:
    counts = Counter(str(s.label) for s in samples)
    groups = {label: len({s.group for s in samples if s.label == label}) for label in counts}
    scarce = [label for label in counts if groups[label] < LEAST_GROUPS]
    if scarce:
        said = ", ".join(f"{label}: {counts[label]} images in {groups[label]} groups" for label in scarce)
        raise BadData(f"Too few of {said}; wanted at least {LEAST_GROUPS} groups (patients, or images that are no "
                      "copies of one another) of each label, one each for train, val and test, and better 30. Add "
                      "images of that label, merge it into another one, or take it out.")
    notes = []
    tiny = [f"{label} {count}" for label, count in counts.items() if count < FEW]
    if tiny:
        notes.append(Note("tiny classes", f"Fewer than {FEW} images: what is learned of them is little and what is "
                          "measured on them says little. Add images", tuple(tiny), serious=True))
    largest, smallest = counts.most_common()[0], counts.most_common()[-1]
    if largest[1] >= UNEVEN * smallest[1]:
        notes.append(Note("imbalance", f"{largest[0]} has {largest[1]} images, {smallest[0]} {smallest[1]}: rarer "
                          "labels weigh more in training, and macro-F1 tells more than accuracy"))
    spelled = defaultdict(set)
    for label in counts:
        plain = unicodedata.normalize("NFKC", label).casefold()
        spelled["".join(c for c in plain if c.isalnum())].add(label)
    notes += [Note("spelling", "Labels that differ in spelling alone are learned as different ones. Spell them alike",
                   tuple(sorted(same)), serious=True) for same in spelled.values() if len(same) > 1]
    return notes


def _patients(samples: Sequence[Sample]) -> list[Note]:
    without = sum(s.patient is None for s in samples)
    if not without:
        return []
    many = "No image names its patient" if without == len(samples) else f"{without} images do not name their patient"
    return [Note("no patients", f"{many}: images of one patient may stand on both sides of the split, so figures may "
                 "flatter. Give patients in a CSV (image, label, patient)", serious=True)]


def _telltales(samples: Sequence[Sample], looks: Sequence[Mapping[str, str]]) -> list[Note]:
    """Name what is no finding and yet gives the label away, such as a source of its own for each label."""
    most = Counter(s.label for s in samples).most_common()[0][1] / len(samples)
    notes = []
    for what in looks[0]:
        by_value: dict[str, Counter[str]] = defaultdict(Counter)
        for sample, look in zip(samples, looks, strict=True):
            by_value[look[what]][str(sample.label)] += 1
        guessed = sum(max(labels.values()) for labels in by_value.values()) / len(samples)
        if len(by_value) <= len(samples) / 10 and guessed >= max(TELLTALE, most + 0.2):
            notes.append(Note("telltale", f"The {what} alone gives the label away for {100 * guessed:.0f} % of the "
                              "images: a net may learn that instead of the finding. Take all labels from the same "
                              "sources, saved alike", serious=True))
    return notes
