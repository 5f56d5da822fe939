"""What kind of image the new ones are: one that triage knows, or a kind to be added in the user's home."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from specialists.core import kinds, registry
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.zoo import Domain

MOST = 300
"""Images at most by which a kind is learned, evenly taken."""


class Studies(Sequence[Study]):
    """Studies read when they are asked for: many large images need not stand in memory at once."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Take the files."""
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Study]:
        return map(read_study, self.paths)

    @overload
    def __getitem__(self, place: int) -> Study: ...
    @overload
    def __getitem__(self, place: slice) -> list[Study]: ...

    def __getitem__(self, place: int | slice) -> Study | list[Study]:
        """Read one, or those of a slice."""
        if isinstance(place, slice):
            return [read_study(path) for path in self.paths[place]]
        return read_study(self.paths[place])


def name_kind(domain: Domain, samples: Sequence[Sample], home: Path) -> tuple[Domain, str]:
    """Return the domain with the kind its images are, and say what was done; adds the kind where none fits."""
    cards = registry.cards()
    if "triage" not in cards:
        return domain, "No triage is there: the kind of image is not checked"
    train, val = (Studies(_some([s.path for s in samples if s.split == side])) for side in ("train", "val"))
    known = kinds.kind_of(train)
    if known is not None and (known != domain.kind or known in cards["triage"].kinds):
        return dataclasses.replace(domain, kind=known), f"The images are of a kind that is known: {known}"
    kinds.fit_kind(domain.kind, train, val, home)
    return domain, f"The images are of no kind that is known: the kind {domain.kind!r} is added to triage"


def _some(paths: Sequence[Path]) -> list[Path]:
    step = max(1, -(-len(paths) // MOST))
    return list(paths[::step])
