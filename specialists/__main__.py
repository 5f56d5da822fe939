"""List, run and train specialists from the command line; `list` reads cards alone and loads no model."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from specialists.core.errors import BadStudy, SpecialistsError

if TYPE_CHECKING:
    from specialists.core.card import Card
    from specialists.core.findings import Finding
    from specialists.core.study import Study

Flags = TypeVar("Flags")


@dataclass(frozen=True)
class List:
    """List the specialists that ship and those of CONSILIUM_HOME."""

    domain: str = ""
    """Only the specialists of this domain."""
    json: bool = False
    """Print a JSON object a line."""


@dataclass(frozen=True)
class Predict:
    """Ask one specialist, or all of a domain together, about images."""

    name: str
    """Name of the specialist, as listed, or of a domain: its specialists' mean."""
    images: tuple[str, ...]
    """Images (PNG, JPEG, TIFF, WebP, DICOM, NIfTI)."""
    any_kind: bool = False
    """Ask also about images of a kind that the specialist was not taught."""
    json: bool = False
    """Print a JSON object an image."""


@dataclass(frozen=True)
class Export:
    """Make the fast form of specialists beforehand, which each else makes when it is first asked."""

    names: tuple[str, ...]
    """Names of specialists, as listed; all where none is named."""


def list_cards(argv: list[str]) -> int:
    """Print a row a specialist."""
    flags = parse(List, argv, "consilium specialists list")
    from specialists.core import registry
    cards = [card for card in registry.cards().values() if flags.domain in ("", card.domain)]
    if not cards and flags.domain:
        known = ", ".join(sorted({card.domain for card in registry.cards().values()}))
        sys.stderr.write(f"No specialist of domain {flags.domain!r}. Known: {known}.\n")
        return 2
    if flags.json:
        sys.stdout.writelines(json.dumps(_row(card)) + "\n" for card in cards)
    else:
        _show(cards)
    return 0


def _row(card: Card) -> dict[str, Any]:
    return {**card.row(), "bytes": card.weights.get("bytes")}


SHOWN = ("name", "val", "labels", "license", "bytes")
"""Columns of the table: what fits a terminal; `--json` has all."""


def _show(cards: Sequence[Card]) -> None:
    from rich.console import Console
    from rich.table import Table
    rows = [{key: _cell(key, value) for key, value in _row(card).items()} for card in cards]
    table = Table()
    for column in SHOWN if rows else ("no specialists",):
        widest = max((len(row[column]) for row in rows), default=0)
        width = widest if column in ("name", "val") else None
        table.add_column("kB" if column == "bytes" else column, overflow="fold", min_width=width)
    for row in rows:
        table.add_row(*(row[column] for column in SHOWN))
    Console(highlight=False, markup=False).print(table)


def _cell(key: str, value: Any) -> str:
    if key == "labels" and value.count(", ") > 4:
        first = value.split(", ")
        return f"{', '.join(first[:4])} and {len(first) - 4} more"
    if key == "bytes" and value:
        return f"{value / 1000:.0f}"
    return "-" if value in (None, "") else str(value)


def predict(argv: list[str]) -> int:
    """Print what one specialist says of each image; a bad image does not keep the others from being asked."""
    flags = parse(Predict, argv, "consilium specialists predict")
    if not flags.images:
        sys.stderr.write("No image. Wanted: consilium specialists predict NAME IMAGE...\n")
        return 2
    from specialists.core import registry
    specialist = None if flags.name in registry.cards() else _panel(flags.name)
    specialist = specialist or registry.load(flags.name)
    code = 0
    for image in flags.images:
        try:
            found: dict[str, Any] = {"image": image, **_asked(specialist, image, flags.any_kind)}
        except BadStudy as fault:
            code, found = 2, {"image": image, "error": _told(fault)}
        words = found.pop("words", None)
        if flags.json:
            sys.stdout.write(json.dumps(found) + "\n")
        elif words is None:
            sys.stderr.write(f"{image}: {found['error']['type']}: {found['error']['message']}\n")
        else:
            sys.stdout.write(f"{image}: {words}\n")
    return code


def _panel(domain: str) -> Any:
    """Return the specialists of a domain, None where there is none of that name."""
    from specialists.core import registry
    return importlib.import_module("specialists.core.panel").Panel(domain) if domain in registry.domains() else None


def _asked(specialist: Any, image: str, any_kind: bool) -> dict[str, Any]:
    from specialists.core.study import read_study
    study = read_study(image)
    if not hasattr(specialist, "card"):
        finding = specialist.predict(study, any_kind)
    else:
        finding = (None if any_kind else _refused(specialist.card, study)) or specialist.predict(study)
    return {"words": finding.words(), **finding.json()}


def _refused(card: Card, study: Study) -> Finding | None:
    from specialists.core import findings, registry, scope
    if card.task == "triage" or "triage" not in registry.cards():
        return None
    kind = registry.triage().predict(study)
    return scope.in_scope(card, kind) if isinstance(kind, findings.Classification) else None


def train(argv: list[str]) -> int | None:
    """Train specialists, of images of one's own or of all that ships; the words after the verb are the trainer's."""
    of_what_ships = any(word.partition("=")[0] in ("--zoo", "--only") for word in argv)
    trainer = "specialists.training.command" if of_what_ships else "specialists.own.command"
    return importlib.import_module(trainer).main(argv)


def evaluate(argv: list[str]) -> int | None:
    """Measure specialists on held-out images; the words after the verb are the evaluation's."""
    return importlib.import_module("specialists.evaluation.evaluate").main(argv)


def export(argv: list[str]) -> int:
    """Load specialists, which exports their nets, and print what runs each."""
    flags = parse(Export, argv, "consilium specialists export")
    from specialists.core import registry
    for name in flags.names or registry.cards():
        sys.stdout.write(f"{name}: {registry.load(name).runtime}\n")
    return 0


class Verb(NamedTuple):
    """A word of the command line: what it does, and the function that takes the words after it."""

    help: str
    run: Callable[[list[str]], int | None]


VERBS = {
    "list": Verb("list specialists with labels, validated score, size and license", list_cards),
    "predict": Verb("ask a specialist or a domain: predict NAME IMAGE... [--json]", predict),
    "export": Verb("make the fast form of specialists beforehand: export [NAME...]", export),
    "evaluate": Verb("measure specialists on held-out images, beside simple yardsticks", evaluate),
    "train": Verb("learn a disease of your own: train [METHOD...] --data FOLDER --name NAME", train),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status: 0 done, 2 the caller's mistake."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help", "help"):
        verbs = "\n".join(f"  {name:<8} {v.help}" for name, v in VERBS.items())
        about = "Small vision models, each good at one question."
        sys.stdout.write(f"{about}\n\nconsilium specialists VERB ...\n\n{verbs}\n")
        return 0
    if verb not in VERBS:
        sys.stderr.write(f"No verb {verb!r}. Known: {', '.join(VERBS)}.\n")
        return 2
    try:
        return VERBS[verb].run(rest) or 0
    except (SpecialistsError, OSError) as fault:
        if "--json" in rest:
            sys.stdout.write(json.dumps({"error": _told(fault)}) + "\n")
        else:
            sys.stderr.write(f"{type(fault).__name__}: {fault}\n")
        return 2


def _told(fault: Exception) -> dict[str, str]:
    return {"type": type(fault).__name__, "message": str(fault)}


def parse(flags: type[Flags], argv: Sequence[str], prog: str) -> Flags:
    """Make flags from a frozen dataclass, positional where a field has no default; a wrong flag exits with 2.

    Every command of the project reads its words here, so that flags may stand anywhere and all speak alike.
    """
    import tyro
    optional = [f for f in fields(flags) if f.default is not MISSING]  # pyright: ignore[reportArgumentType]
    kinds = {f"--{f.name.replace('_', '-')}": f.type for f in optional}
    shape = (tyro.conf.PositionalRequiredArgs, tyro.conf.UseAppendAction, tyro.conf.FlagCreatePairsOff)
    try:
        return tyro.cli(flags, args=_flags_first(argv, kinds), prog=prog, config=shape)
    except SystemExit as stop:
        if stop.code:
            sys.stderr.write(f"Known flags of {prog}: {', '.join(kinds)}.\n")
        raise


def _flags_first(argv: Sequence[str], kinds: Mapping[str, Any]) -> list[str]:
    """Put flags with their values first: in argparse's manner no words may stand on both sides of a flag."""
    ahead, words, rest = [], [], list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or " " in word:
            words.append(word)
            continue
        if kinds.get(word.replace("_", "-"), "bool") in ("bool", bool):
            ahead.append(word)
        elif rest:
            ahead += [word, rest.pop(0)]
        else:
            words.append(word)      # its value is missing: at the end it takes no word for it
    return ahead + words


if __name__ == "__main__":
    sys.exit(main())
