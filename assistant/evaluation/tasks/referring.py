"""What is in this box, and can it be described? Med-GRIT's referring object classification and referring captioning.

Only images of a kind that has several names are asked what a box holds. Captions are compared with a reference made of
the box: what it is, how large, where; SPICE is by a stand-in, the F1 of these three statements.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assistant import template
from assistant.evaluation import text_figures
from assistant.evaluation.harness import Asked, Judgement, Reply, Row
from assistant.evaluation.tasks import asking, tally
from assistant.generalist.boxes import UNIT_1000, BoxCodec
from assistant.wording import grammar, regions
from assistant.wording.labeller import mentions
from assistant.wording.regions import Corners
from specialists.core.findings import Box
from specialists.datasets.layout import Sample
from specialists.datasets.stated import MARKED, boxes
from specialists.evaluation.boxes import iou

MOST = 2
"""Boxes of a name on an image, the largest."""
SAME = 0.8
"""A box that overlaps one of another name so much has no one name."""
WHAT = ("What is inside {region}?", "Name what you see in the box {region}.",
        "Which structure or finding lies at {region}?", "I marked {region}. What is it?")
DESCRIBE = ("Describe what is at {region}: what it is, how large, and where.",
            "Please write a short caption for {region}.", "What can you say about {region}, its size and its place?")
ROWS = {"upper": r"upper|top|superior", "lower": r"lower|bottom|inferior"}
COLUMNS = {"left": r"left", "right": r"right"}
MIDDLE = r"cent(?:er|re|ral|rally)|middle"
EXTENT = re.compile(r"\b(?:cover|tak|occup|area|size|large|fill|of the (?:image|picture))", re.I)
"""Percentages of a sentence without such a word are chances, not sizes."""
FACTOR = 2.0
"""A stated size is right up to this factor."""


@dataclass(frozen=True)
class Referring:
    """The name of what a box holds."""

    codec: BoxCodec = UNIT_1000
    """How the generalist that answers writes boxes."""
    name = "referring"
    what = "Name of what a given box holds: the first name said, and BiRD's recall (each word of the name is said)."
    headline = "accuracy"
    measures = ("accuracy", "recall")

    def questions(self, samples: Sequence[Sample], seed: int) -> list[Asked]:
        """Return a question for each chosen box on images of a kind with several names."""
        names, found = names_of(samples), []
        for sample in samples:
            known = names[asking.kind_of(sample)]
            for name, corners in chosen(sample) if len(known) > 1 else ():
                truth = {"name": name, "names": sorted(known), "box": list(corners)}
                found.append(_question(self.codec, sample, truth, WHAT, seed))
        return found

    def ideal(self, asked: Asked) -> Reply:
        """Return a sentence with the name."""
        return Reply(f"{grammar.this(asked.truth['name'])}.".capitalize())

    def judge(self, asked: Asked, reply: Reply) -> Judgement:
        """Return whether the first name that is not denied is the right one, and whether its words are said."""
        said = [m.name for m in mentions(reply.text, asked.truth["names"]) if not m.negated]
        return {"read": bool(said), "accuracy": float(said[:1] == [asked.truth["name"]]),
                "recall": float(_words(asked.truth["name"]) <= _words(reply.text))}

    def figures(self, rows: Sequence[Row], weights: Any) -> dict[str, Any]:
        """Return the shares, and that of each set's most frequent name said always."""
        counted = Counter((row.asked.dataset, row.asked.truth["name"]) for row in rows)
        most: dict[str, int] = defaultdict(int)
        for (dataset, _), count in counted.items():
            most[dataset] = max(most[dataset], count)
        return {**tally.figures(rows, self.measures, weights),
                "baselines": {"most_frequent": sum(most.values()) / len(rows) if rows else None}}


@dataclass(frozen=True)
class Captions:
    """Words on a box: what, how large, where."""

    codec: BoxCodec = UNIT_1000
    """How the generalist that answers writes boxes."""
    name = "captions"
    what = "Caption of a given box against one made of the box: SPICE by a stand-in (what, size, place), BLEU, ROUGE-L."
    headline = "spice_stand_in"
    measures = ("spice_stand_in", "bleu", "rouge_l", "what", "size", "place")

    def questions(self, samples: Sequence[Sample], seed: int) -> list[Asked]:
        """Return a question for the largest box of each name."""
        names, found = names_of(samples), []
        for sample in samples:
            for name, corners in chosen(sample, 1):
                truth = {"name": name, "names": sorted(names[asking.kind_of(sample)]), "box": list(corners),
                         "reference": reference(name, corners)}
                found.append(_question(self.codec, sample, truth, DESCRIBE, seed))
        return found

    def ideal(self, asked: Asked) -> Reply:
        """Return the reference."""
        return Reply(asked.truth["reference"])

    def judge(self, asked: Asked, reply: Reply) -> Judgement:
        """Return which of the three statements are made, and the nearness to the reference."""
        truth = statements(asked.truth["reference"], asked)
        said = statements(reply.text, asked)
        right = {kind: float((kind, value) in said) for kind, value in truth}
        return {"read": bool(said), **right, "spice_stand_in": text_figures.agreement(said, truth),
                "bleu": text_figures.bleu(reply.text, asked.truth["reference"]),
                "rouge_l": text_figures.rouge_l(reply.text, asked.truth["reference"])}

    def figures(self, rows: Sequence[Row], weights: Any) -> dict[str, Any]:
        """Return the means."""
        return tally.figures(rows, self.measures, weights)


def names_of(samples: Sequence[Sample]) -> Mapping[str, set[str]]:
    """Return the names of boxes by kind of image."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        found[asking.kind_of(sample)] |= {name for name, _ in boxes(sample.record)}
        found[asking.kind_of(sample)] |= set(MARKED.get(sample.dataset, ()))
    return found


def chosen(sample: Sample, most: int = MOST) -> Iterator[tuple[str, Corners]]:
    """Yield the largest boxes of each name that no other name shares."""
    drawn = sorted(boxes(sample.record), key=lambda found: -_share(found[1]))
    told: Counter[str] = Counter()
    for name, corners in drawn:
        others = np.array([c for n, c in drawn if n != name], dtype=float).reshape(-1, 4)
        if told[name] < most and not (iou(np.array([corners]), others) >= SAME).any():
            told[name] += 1
            yield name, corners


def reference(name: str, corners: Corners) -> str:
    """Return a caption of a box in the plainest words."""
    many = grammar.is_plural(name)
    percent = max(1, round(100 * _share(corners)))
    this = grammar.this(name)
    return (f"{this[:1].upper()}{this[1:]}. {'Their' if many else 'Its'} box covers about {percent} % of the image. "
            f"{'They lie' if many else 'It lies'} {regions.where(regions.position(corners))}.")


def statements(text: str, asked: Asked) -> set[tuple[str, Hashable]]:
    """Return what a caption says: ("what", name), ("size", as the box's or not), ("place", words).

    Other names may be said beside the right one: a caption may name what is around.
    """
    name, share = asked.truth["name"], _share(asked.truth["box"])
    names = {m.name for m in mentions(text, asked.truth["names"]) if not m.negated}
    found: set[tuple[str, Hashable]] = {("what", n) for n in ({name} if name in names else names)}
    extents = " ".join(sentence for sentence in re.split(r"(?<=[.;])\s", text) if EXTENT.search(sentence))
    sizes = [float(number) / 100 for number in re.findall(r"(\d+(?:\.\d+)?)\s*(?:%|per ?cent)", extents)]
    if sizes:
        found.add(("size", any(_near(size, share) for size in sizes)))
    plain = re.sub("|".join(map(re.escape, sorted(asked.truth["names"], key=len, reverse=True))), " ", text, flags=re.I)
    words = place(plain)
    if words:
        found.add(("place", words))
    return found


def place(text: str) -> str:
    """Return the place that a text names as `regions.position` words it; "" where it names none."""
    if re.search(r"most of the (?:image|picture)|(?:entire|whole) (?:image|picture)", text, re.I):
        return "most of the image"
    row, column = (next((name for name, words in axis.items() if _has(words, text)), "") for axis in (ROWS, COLUMNS))
    if not row and not column:
        return "center" if _has(MIDDLE, text) else ""
    return f"{row} {column or 'middle'}" if row else column


def _question(codec: BoxCodec, sample: Sample, truth: Mapping[str, Any], wordings: Sequence[str], seed: int) -> Asked:
    shown = template.shown_size(asking.size_of(sample))
    x1, y1, x2, y2 = truth["box"]
    box = Box(truth["name"], (x1 * shown[0], y1 * shown[1], x2 * shown[0], y2 * shown[1]))
    about = f"{truth['name']} {truth['box']}"
    text = asking.dice(seed, sample.id, about).choice(wordings).format(region=codec.region(box, shown))
    return asking.asked(about, [sample], asking.opened(text, kind=asking.kind_of(sample)), truth)


def _share(corners: Sequence[float]) -> float:
    return (corners[2] - corners[0]) * (corners[3] - corners[1])


def _near(size: float, share: float) -> bool:
    """Tell whether a stated share is right; one percent is the smallest that is said."""
    return abs(math.log(max(size, 0.01) / max(share, 0.01))) <= math.log(FACTOR)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _has(words: str, text: str) -> bool:
    return re.search(rf"\b(?:{words})\b", text, re.I) is not None
