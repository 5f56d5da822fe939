"""What kind of image the new ones are: one that triage knows, or a kind to be added in the user's home."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import overload

from specialists.core import kinds, registry
from specialists.core.card import Card
from specialists.core.findings import percent
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.own.checks import Note
from specialists.zoo import Domain

MOST = 300
"""Images at most by which a kind is learned, evenly taken."""
NAMED = 0.9
"""Part of the images that triage has to call by one kind for all of them to be of that kind."""


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


def name_kind(domain: Domain, samples: Sequence[Sample], home: Path) -> tuple[Domain, Note]:
    """Return the domain with the kind its images are, and say what was done; adds the kind where none fits.

    Where triage names most of the images as one kind already, that is their kind: it would go on to do so beside an
    added one, and the specialists would refuse these images.
    """
    cards = registry.cards()
    if "triage" not in cards:
        return domain, Note("kind", "No triage is there: the kind of image is not checked")
    train, val = (Studies(some([s.path for s in samples if s.split == side])) for side in ("train", "val"))
    triage = kinds.triage_without(_only_of(domain, home))
    known, share = kinds.kind_of(train, triage)
    if share >= NAMED:
        return _of(domain, known), Note("kind", f"The images are of a kind that is known: {known}")
    stated = domain.kind in cards["triage"].kinds
    taken = _of(domain, known) if share > 0.5 and not stated else domain
    added = kinds.fit_kind(taken.kind, train, val, home, triage)
    return taken, _said(added, known, share, len(val))


def _said(added: kinds.AddedKind, known: str, share: float, val: int) -> Note:
    """Say what triage named most of the images before, what was added, and what it names the validation images now."""
    named = f"{round(added.kept * val)} of {val} validation images are named so now"
    before = f"Triage names {percent(share)} of the images {known!r}"
    if added.name == known:
        said = f"{before}: that is taken as their kind, and the others are taught to it; {named}"
    elif added.kept >= NAMED:
        said = f"The images are of no kind that is known: the kind {added.name!r} is added to triage; {named}"
    else:
        said = f"The kind {added.name!r} is added to triage; {named}{f'. {before} without it' if share else ''}"
    if added.kept >= NAMED:
        return Note("kind", said)
    return Note("kind", f"{said}. The specialists refuse the others as of another kind. Say which known kind they are "
                "(--kind), or give images of one kind alone", serious=True)


def forget_kinds(names: Collection[str], home: Path) -> None:
    """Take those of the kinds away that no card in the user's home is of any more."""
    used = {kind for card in _own_cards(home) for kind in card.kinds}
    for name in sorted(set(names) - used):
        kinds.remove_kind(name, home)


def kinds_of(domain: str, home: Path) -> set[str]:
    """Return the kinds that the domain's cards in the user's home are of."""
    return {kind for card in _own_cards(home) if card.domain == domain for kind in card.kinds}


def _only_of(domain: Domain, home: Path) -> set[str]:
    """Return the kinds that no other domain in the user's home is of: they are found anew."""
    others = {kind for card in _own_cards(home) if card.domain != domain.name for kind in card.kinds}
    return (kinds_of(domain.name, home) | {domain.kind}) - others


def _own_cards(home: Path) -> list[Card]:
    return [card for name, card in registry.cards().items() if registry.place(name).parent == home]


def _of(domain: Domain, kind: str) -> Domain:
    return dataclasses.replace(domain, kind=kind)


def some(paths: Sequence[Path]) -> list[Path]:
    """Return MOST of the paths at most, evenly taken."""
    step = max(1, -(-len(paths) // MOST))
    return list(paths[::step])
