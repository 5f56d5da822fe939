"""The command `consilium index`: labelled cases that similar ones are found among; loads a part only for its verb."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from specialists.__main__ import parse
from specialists.core import registry
from specialists.core.errors import BadData, SpecialistsError

HELP = """Labelled cases that similar ones are found among.

consilium index VERB ...

  add      add your own: add DOMAIN FOLDER (folder a class, CSV or records.jsonl)
  remove   take cases out by id: remove DOMAIN ID...
  list     count cases by label and source: list [DOMAIN] [--ids]
"""


@dataclass(frozen=True)
class Add:
    """Add labelled images to the similar cases of a domain; what ships is not changed."""

    domain: str
    """Name of the domain, as `consilium specialists list` shows it."""
    data: Path
    """FOLDER/LABEL/images, FOLDER/records.jsonl, or a CSV (image, label[, patient, group, source, license])."""
    license: str = ""
    """Terms of the images, where the data state none."""
    source: str = ""
    """Where the images come from, where the data state none."""
    any_kind: bool = False
    """Add also images that the specialists of the domain refuse."""


@dataclass(frozen=True)
class Remove:
    """Take cases out of a domain's similar cases."""

    domain: str
    """Name of the domain."""
    ids: tuple[str, ...]
    """Ids, as `list DOMAIN --ids` shows them."""


@dataclass(frozen=True)
class List:
    """Count cases by label and source."""

    domain: tuple[str, ...]
    """Domains; none stands for all."""
    ids: bool = False
    """List the cases one by one."""
    json: bool = False
    """Print a JSON object a line."""


def add(argv: Sequence[str]) -> None:
    """Add cases."""
    flags = parse(Add, argv, "consilium index add")
    _cases().add(flags.domain, flags.data, flags.license, flags.source, flags.any_kind)


def remove(argv: Sequence[str]) -> None:
    """Remove cases."""
    flags = parse(Remove, argv, "consilium index remove")
    if not flags.ids:
        raise BadData("Got no id; wanted consilium index remove DOMAIN ID...")
    _cases().remove(flags.domain, flags.ids)


def show(argv: Sequence[str]) -> None:
    """Print counts, or ids."""
    flags = parse(List, argv, "consilium index list")
    for domain in flags.domain or _domains():
        if flags.ids:
            rows = [{"domain": domain, "id": id_, "label": label} for id_, label in _cases().ids(domain)]
        else:
            rows = [{"domain": domain, "label": label, "source": source, "cases": count}
                    for label, source, count in _cases().counts(domain)]
        for row in rows:
            line = json.dumps(row, ensure_ascii=False) if flags.json else "  ".join(map(str, row.values()))
            sys.stdout.write(line + "\n")


def _domains() -> list[str]:
    folders = (registry.SHIPPED / "index", registry.home() / "index")
    return sorted({path.stem for folder in folders for path in folder.glob("*.json")})


def _cases() -> ModuleType:
    return importlib.import_module("specialists.own.cases")


VERBS: dict[str, Callable[[Sequence[str]], None]] = {"add": add, "remove": remove, "list": show}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status: 0 done, 2 the caller's mistake."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if verb not in VERBS:
        sys.stderr.write(f"No verb {verb!r}. Known: {', '.join(VERBS)}.\n")
        return 2
    try:
        VERBS[verb](rest)
    except (SpecialistsError, OSError) as fault:
        sys.stderr.write(f"{type(fault).__name__}: {fault}\n")
        return 2
    return 0
