"""Which specialists there are, shipped and the user's own, and the loaded ones by name.

Reads cards only until a specialist is asked for: no network library is imported before.
"""

from __future__ import annotations

import importlib
import logging
import os
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from specialists.core.card import Card, read_card
from specialists.core.errors import BadCard, BadData, UnknownSpecialist
from specialists.core.loaded import Loaded

if TYPE_CHECKING:
    import numpy as np

    from specialists.core.index import CaseIndex, Neighbor
    from specialists.core.kinds import AddedKind, Triage
    from specialists.core.specialist import Specialist
    from specialists.core.study import Study

LOG = logging.getLogger(__name__)
SHIPPED = Path(__file__).resolve().parent.parent / "weights"
LOADED = Loaded(512 * 2**20)
"""Specialists and indexes in memory, 512 MiB of them; `LOADED.resize(bytes)` sets another budget."""


def home() -> Path:
    """Return the user's folder of specialists: specialists/ in CONSILIUM_HOME, by default in ~/.consilium."""
    return Path(os.environ.get("CONSILIUM_HOME") or "~/.consilium").expanduser() / "specialists"


def cards() -> dict[str, Card]:
    """Return all readable cards by name, in order of names; one of the home replaces none that ships."""
    return {name: card for name, (card, _) in _entries().items()}


def problems() -> list[str]:
    """Return what is wrong with the card files that `cards` leaves out, each naming its file."""
    found = []
    for folder in (SHIPPED, home()):
        for path, state in _card_files(folder):
            try:
                card = _read(path, state)
            except BadCard as error:
                found.append(str(error))
                continue
            if folder != SHIPPED and (SHIPPED / f"{card.name}.json").is_file():
                found.append(f"Card {path}: the name {card.name!r} belongs to one that ships. Rename it.")
    return found


def domains() -> dict[str, tuple[str, ...]]:
    """Return the names of the classification specialists by domain."""
    found: dict[str, tuple[str, ...]] = {}
    for name, card in cards().items():
        if card.task == "classification":
            found[card.domain] = (*found.get(card.domain, ()), name)
    return found


def load(name: str) -> Specialist:
    """Return the specialist, loaded once; raises UnknownSpecialist, BadCard or MissingWeights."""
    path = _found(name)
    if path is None:
        for path in _named(name):
            _read(path, _state(path))  # raises what is wrong with it
        raise UnknownSpecialist(f"No specialist named {name!r}. Known: {', '.join(_entries()) or 'none'}. "
                                "Choose one of these or train it.")
    return LOADED.get(path, (_state(path), _state(path.with_suffix(".safetensors"))), partial(_load, path))


def place(name: str) -> Path:
    """Return the file of a specialist's card; raises UnknownSpecialist."""
    path = _found(name)
    if path is None:
        raise UnknownSpecialist(f"No specialist named {name!r}. Known: {', '.join(_entries()) or 'none'}.")
    return path


def triage() -> Specialist | Triage:
    """Return the specialist that tells kinds of image, with the kinds that the user added."""
    plain = load("triage")
    added = [_load_kind(path, state, _state(path.with_suffix(".safetensors")))
             for path, state in _card_files(home() / "kinds")]
    kinds = [kind for kind in added if kind is not None]
    return importlib.import_module("specialists.core.kinds").Triage(plain, kinds) if kinds else plain


def load_index(domain: str) -> CaseIndex:
    """Return the index of a domain's labelled cases, with those of the user's own; raises UnknownSpecialist,
    MissingWeights or BadData."""
    known = []
    for folder in (SHIPPED / "index", home() / "index"):
        path = folder / f"{domain}.json"
        if path.parent == folder and path.is_file():
            own = home() / "cases"
            beside = [own / "added" / f"{domain}.json", own / "removed" / f"{domain}.json"]
            files = (path, path.with_suffix(".safetensors"), *beside)
            return LOADED.get(path, (own, *map(_state, files)), partial(_load_index, path, own))
        known += [p.stem for p in sorted(folder.glob("*.json"))]
    raise UnknownSpecialist(f"No index of cases for {domain!r}. Known: {', '.join(known) or 'none'}. "
                            "Choose one of these or build it.")


def case_vector(domain: str, study: Study) -> np.ndarray:
    """Return the vector of a study in a domain's index: the features of its specialists side by side."""
    module = importlib.import_module("specialists.core.index")
    return module.case_vector([load(name) for name in load_index(domain).card.specialists], study)


def similar_cases(domain: str, study: Study, k: int = 10, *, patient: str | None = None,
                  group: str | None = None) -> list[Neighbor]:
    """Return at most k labelled cases like the study, without its own patient and its near-duplicates."""
    vector = case_vector(domain, study)
    index = load_index(domain)
    return index.search(vector, k, exclude_patient=patient, exclude_group=group, dhash=study.dhash())


def _entries() -> dict[str, tuple[Card, Path]]:
    found: dict[str, tuple[Card, Path]] = {}
    for folder in (SHIPPED, home()):
        for path, state in _card_files(folder):
            try:
                found.setdefault(path.stem, (_read(path, state), path))
            except BadCard:  # told by `problems`, and by `load` when it is asked for
                continue
    return dict(sorted(found.items()))


def _named(name: str) -> list[Path]:
    """Return the files that a card of this name would stand in; no other folder is looked into."""
    paths = [folder / f"{name}.json" for folder in (SHIPPED, home())]
    return [path for path in paths if path.name == f"{name}.json" and path.is_file()]


def _found(name: str) -> Path | None:
    """Return the file of a readable card, as `_entries` does but without a look at all others."""
    for path in _named(name):
        try:
            _read(path, _state(path))
        except BadCard:
            continue
        return path
    return None


def _card_files(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    return [(path, _state(path)) for path in sorted(folder.glob("*.json")) if path.is_file()]


def _state(path: Path) -> tuple[int, int]:
    """Return when a file was written and its size: a changed file is read again."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=512)
def _read(path: Path, state: tuple[int, int]) -> Card:
    return read_card(path)


def _load(path: Path) -> Specialist:
    module = importlib.import_module("specialists.core.specialist")
    return module.Specialist(_read(path, _state(path)), path.parent, runtime="auto")


def _load_index(path: Path, own: Path) -> CaseIndex:
    index = importlib.import_module("specialists.core.index").CaseIndex.load(path.parent, path.stem)
    known = cards()
    weights = {name: known[name].weights.get("sha256", "") for name in index.card.specialists if name in known}
    return importlib.import_module("specialists.core.own_cases").merged(index, own, weights)


@lru_cache(maxsize=64)
def _load_kind(path: Path, card_state: tuple[int, int], region_state: tuple[int, int]) -> AddedKind | None:
    try:
        return importlib.import_module("specialists.core.kinds").read_kind(path)
    except BadData as error:  # a broken region must not keep triage from answering; told once
        LOG.warning("%s", error)
        return None
