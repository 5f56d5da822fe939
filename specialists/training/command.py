"""The command `consilium specialists train`: trains what ships, publishes it, writes out-of-fold evidence.

What is already trained in the run folder is not trained again; what was chosen is never tried on test.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specialists.__main__ import parse
from specialists.catalog import method_module, task_module
from specialists.core.card import Card
from specialists.core.errors import BadData
from specialists.core.fit import FitConfig
from specialists.core.registry import home
from specialists.core.scope import UNKNOWN, fit_scope
from specialists.core.study import Study, read_study
from specialists.datasets import triage
from specialists.datasets.kinds import KIND_OF
from specialists.datasets.layout import Sample, read_set, set_names
from specialists.datasets.table import Table
from specialists.training import out_of_fold, publish, runs
from specialists.zoo import DOMAINS, EPOCHS, OPINIONS, TOOLS, TRIAGE, Domain, Tool

LOG = logging.getLogger(__name__)
KNOWN = ("triage", *(domain.name for domain in DOMAINS), *(tool.name for tool in TOOLS))


@dataclass(frozen=True)
class Train:
    """Train the specialists that ship on a folder of data, and publish them."""

    data: Path = Path("data")
    """Folder with one folder a set, each with records.jsonl."""
    zoo: bool = False
    """All that ships."""
    only: str = ""
    """Of these, with commas between: triage, domains, tools."""
    out: Path | None = None
    """Folder for cards, weights and indexes of what may ship; by default the user's own folder of specialists."""
    held_back: Path = Path("build/held_back/specialists")
    """Folder for what is taught from sets whose terms keep it from shipping; evaluate it with CONSILIUM_HOME."""
    runs: Path = Path("build/specialists")
    """Folder of raw training runs: what is there is not trained again."""
    oof: Path | None = None
    """Folder for opinions and cases by nets that never saw the image."""


@dataclass(frozen=True)
class Folders:
    """Where data comes from, where runs stand and where to publish."""

    data: Path
    runs: Path
    out: Path
    oof: Path | None = None
    held_back: Path | None = None

    def place(self, spec: Domain | Tool) -> Path:
        """Return where a specialist is published."""
        return self.out if spec.ships or self.held_back is None else self.held_back

    def samples(self, dataset: str) -> list[Sample]:
        """Return train and validation of a set."""
        return read_set(self.data / dataset, ("train", "val"))

    def others(self, kind: str, each: int = 6) -> list[Study]:
        """Return a few validation images of every set of another kind that may be taught."""
        sets = [name for name in set_names(self.data) if KIND_OF.get(name, kind) != kind]
        chosen = [sample for name in sets for sample in read_set(self.data / name, ("val",))[:each]]
        return [read_study(sample.path) for sample in chosen]


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    flags = parse(Train, argv, "consilium specialists train")
    wanted = [name for name in flags.only.split(",") if name] or (list(KNOWN) if flags.zoo else [])
    unknown = sorted(set(wanted) - set(KNOWN))
    if unknown or not wanted:
        raise BadData(f"Got {', '.join(unknown) or 'nothing to train'}; wanted --zoo for all, or --only "
                      f"with some of {', '.join(KNOWN)}.")
    set_names(flags.data)  # refuses a folder that is not there
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folders = Folders(flags.data, flags.runs, flags.out or home(), flags.oof, flags.held_back)
    domains, tools = {domain.name: domain for domain in DOMAINS}, {tool.name: tool for tool in TOOLS}
    for name in wanted:
        if name in domains:
            make_domain(domains[name], folders)
        else:
            _say(make_triage(folders) if name == "triage" else make_tool(tools[name], folders))
    return 0


def make_domain(domain: Domain, folders: Folders) -> None:
    """Train the opinions of a domain that are not trained yet; publish them with their index."""
    samples = folders.samples(domain.dataset)
    places = {method: folders.runs / f"{domain.name}_{method}" for method in OPINIONS}
    missing = [method for method, place in places.items() if not publish.done(place)]
    if missing:
        labels = tuple(sorted({s.label for s in samples if s.label}))
        table = runs.decode(samples, labels, FitConfig().size)
        for method in missing:
            config = method_module(method).Config(labels=len(labels), epochs=EPOCHS[method],
                                                  flip_vertical=domain.flip_vertical)
            runs.train(method, config, table, places[method])
    out = folders.place(domain)
    trio = [publish.read_run(place, samples) for place in places.values()]
    others = folders.others(domain.kind)
    for run in trio:
        card = publish.opinion(domain, run, out)
        _say(publish.with_refusals(card, out, others) if others else card)
    dhashes = publish.hashes(trio[0].samples)
    cases = publish.index(domain, trio, dhashes, out)
    if folders.oof is not None:
        out_of_fold.write(domain, trio, dhashes, cases, folders.oof)


def make_tool(tool: Tool, folders: Folders) -> Card:
    """Train a tool, if it is not trained yet, and publish it."""
    place, samples = folders.runs / tool.name, folders.samples(tool.dataset)
    if not publish.done(place):
        config = method_module(tool.method).Config(labels=len(tool.labels), **tool.config)
        runs.train_tool(tool.method, config, task_module(tool.task).read(samples, tool.labels, config), place)
    card = publish.tool(tool, publish.read_run(place, samples), folders.place(tool))
    others = folders.others(tool.kind)
    return publish.with_refusals(card, folders.place(tool), others) if others else card


def make_triage(folders: Folders) -> Card:
    """Train triage, if it is not trained yet, and publish it with a scope around the kinds it knows."""
    method, size, epochs = TRIAGE
    place = folders.runs / "triage"
    if not publish.done(place):
        config = method_module(method).Config(size=size, epochs=epochs, labels=len(triage.LABELS))
        runs.train_whole(method, config, triage_table(folders.data, size), place)
    with np.load(place / "raw.npz") as raw:
        samples = triage.named(folders.data, raw["ids"].tolist())
    run = publish.read_run(place, samples)
    known = run.targets != run.labels.index(UNKNOWN)
    train, val = (rows[known[rows]] for rows in (run.rows("train"), run.rows("val")))
    features = run.raw["features"]
    return publish.triage(run, fit_scope(features[train], run.targets[train], features[val], triage.KEPT, margin=1.0),
                          folders.out)


def triage_table(data: Path, size: int) -> Table:
    """Return the images of all kinds, and those of none."""
    parts = [triage.read(data, size, split) for split in ("train", "val")]
    samples = [sample for own, _ in parts for sample in own]
    targets = np.array([triage.LABELS.index(str(s.label)) for s in samples])
    pixels = np.concatenate([own for _, own in parts])
    return Table(tuple(samples), pixels, targets, triage.LABELS)


def _say(card: Card) -> None:
    figures = {k: v for k, v in card.figures["val"].items() if k != "per_class"}
    LOG.info("%s: %s", card.name, figures)
