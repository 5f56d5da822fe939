"""The command `consilium specialists train [METHOD...] --data FOLDER --name NAME`; it only reads the words."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specialists.__main__ import parse
from specialists.core.errors import BadData


@dataclass(frozen=True)
class Train:
    """Make specialists of your own images; without METHOD the usual three. For what ships: train --zoo --data DIR."""

    methods: tuple[str, ...]
    """METHOD: of classification, as specialists/catalog.py has them; none stands for all three."""
    data: Path | None = None
    """FOLDER/LABEL/images, FOLDER/{train,val,test}/LABEL/images, FOLDER/records.jsonl, or a CSV (image, label)."""
    name: str = ""
    """What to call them: small letters, digits and _."""
    title: str = ""
    """Title of the card and the report."""
    kind: str = ""
    """What to call this kind of image, e.g. "dental photograph"; by default the name, or a kind that is known."""
    license: str = ""
    """Terms of the images, where the data state none."""
    source: str = ""
    """Where the images come from, where the data state none."""
    flip_vertical: bool = False
    """The kind of image has no upper side (skin, smears): it may be turned upside down in training."""
    seed: int = 0
    """Of the split and of the training."""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    flags = parse(Train, argv, "consilium specialists train")
    if flags.data is None or not flags.name:
        raise BadData(f"Got no {'--data' if flags.data is None else '--name'}; wanted consilium specialists train "
                      "[METHOD...] --data FOLDER --name NAME (or --zoo --data DIR for what ships).")
    train = importlib.import_module("specialists.own.train").train
    train(flags.data, flags.name, flags.methods, title=flags.title, kind=flags.kind, license=flags.license,
          source=flags.source, flip_vertical=flags.flip_vertical, seed=flags.seed)
    sys.stdout.flush()
    return 0
