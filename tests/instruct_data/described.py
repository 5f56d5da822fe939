"""Items of which much is known, made without any file, and what every kind's records are asked for."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from instruct_data.items import Item, Library, Region
from instruct_data.records import PLACEHOLDER, Record, words
from specialists.datasets.layout import Sample

Make = Callable[[Item, Library, random.Random], Iterator[Record]]
STILTED = re.compile(r"\b(?:a (?=[aeio]\w)|an (?=[bcdfgjkpqtvwyz]\w)|the the|one \w+s are|no the|of of)\b"
                     r"|  | [.,?]|\.\.|\?\.|\|")
"""Marks of a sentence put together wrongly."""


def sample(name: str = "one", **known: Any) -> Sample:
    """Return a sample of a set that is nowhere."""
    given = {"dataset": "drawn", "split": "train", "label": None, "patient": None, "group": f"drawn/{name}",
             "source": "drawn", "license": "CC0", "tier": "A"}
    return Sample(id=f"drawn/{name}", path=Path(f"drawn/{name}.png"), **{**given, **known})


def item(name: str = "one", **known: Any) -> Item:
    """Return an examined item; `known` are fields of it, or of its sample under their own names."""
    of_sample = {k: known.pop(k) for k in ("dataset", "label", "patient", "group", "license") if k in known}
    return Item(sample(name, **of_sample), f"drawn/{name}.png", **{"size": (640, 480), **known})


POLYP = Region("polyp", (0.1, 0.1, 0.4, 0.5), 0.08)
COLON = item("colon", kind="colonoscopy", regions=(POLYP,), marked=("polyp", "ulcer"))
DISC = Region("optic disc", (0.4, 0.3, 0.6, 0.6), 0.04)
CUP = Region("optic cup", (0.45, 0.38, 0.55, 0.5), 0.009)
EYE = item("eye", kind="fundus photograph", regions=(DISC, CUP), attributes={"eye": "left"},
           labels=("drusen", "glaucoma"), present=("glaucoma",), label="glaucoma")
CELLS = item("cells", kind="blood smear", counts={"red blood cell": 8, "white blood cell": 1, "platelet": 0},
             regions=(*(Region("red blood cell", (i / 10, 0.5, i / 10 + 0.08 + i / 1000, 0.6)) for i in range(8)),
                      Region("white blood cell", (0.2, 0.1, 0.5, 0.4))), marked=("platelet", "red blood cell"))
CHEST = item("chest", kind="chest X-ray", radiological=True, attributes={"view": "PA"}, regions=(
    Region("left lung", (0.55, 0.1, 0.9, 0.8), 0.2), Region("right lung", (0.1, 0.1, 0.45, 0.8), 0.2),
    Region("consolidation", (0.6, 0.55, 0.8, 0.75), 0.03), Region("consolidation", (0.2, 0.3, 0.3, 0.4), 0.005)))
BRAIN = item("brain", kind="brain MRI", labels=("glioma", "meningioma", "no tumour"), present=("glioma",),
             label="glioma")
BARE = item("bare")
LIBRARY = Library((COLON, EYE, CELLS, CHEST, BRAIN, BARE))


def made(make: Make, of: Item, seed: int = 0, library: Library = LIBRARY) -> list[Record]:
    """Return all records of an item."""
    return list(make(of, library, random.Random(seed)))


def said(record: Record) -> list[str]:
    """Return the answers."""
    return [words(m) for m in record.messages if m["role"] == "assistant"]


def asked(record: Record) -> list[str]:
    """Return the questions."""
    return [words(m) for m in record.messages if m["role"] == "user"]


def facts(records: list[Record]) -> set[str]:
    """Return the facts of all records."""
    return {f for r in records for f in r.facts}


def assert_sound(make: Make, of: Item, library: Library = LIBRARY) -> None:
    """The same generator gives the same records, another one the same facts in other words; boxes are the item's."""
    assert made(make, of, 1, library) == made(make, of, 1, library)
    runs = [made(make, of, seed, library) for seed in range(40)]
    assert runs[0]
    assert len({tuple(sorted(facts(records))) for records in runs}) == 1
    assert len({r.text() for records in runs for r in records}) > 20
    for record in (r for records in runs for r in records):
        for text in (*asked(record), *said(record)):
            assert not STILTED.search(text), text
        own = {(r.name, r.box) for r in of.regions}
        assert {(b.name, b.box) for b in record.boxes} <= own
        named = [int(n) for m in PLACEHOLDER.finditer(record.text()) for n in m[2].split(",")]
        assert all(n < len(record.boxes) for n in named)
        parts = [p for m in record.messages if isinstance(m["content"], list) for p in m["content"]]
        assert len(record.images) == sum(p["type"] == "image" for p in parts)
