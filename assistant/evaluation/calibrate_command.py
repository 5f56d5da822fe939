"""`consilium calibrate`: fits the consilium on labeled cases of one's own and writes the small file that `ask` uses.

It only wires the parts together; what is fitted, and how, stands in calibrate.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from assistant import template
from assistant.collaboration import fitted as fitting
from assistant.collaboration.arbiter import FEWEST
from assistant.collaboration.fitted import Fitted, Method
from assistant.evaluation import calibrate
from assistant.evaluation.arms import Scores, View
from assistant.evaluation.cache import Cache
from assistant.evaluation.calibrate import Asking, Studied, Wanted
from assistant.evaluation.cases import QUESTION, CaseEvidence, Domain, choose, collect, match_sets, open_domain
from assistant.evaluation.config import BadEvaluation, Track, split_names
from assistant.evaluation.progress import bars
from assistant.evaluation.report import commit
from assistant.evaluation.wrapped import CachedScores
from assistant.generalist.open import open_generalist
from assistant.settings import paths
from specialists.__main__ import parse
from specialists.core import registry
from specialists.core.study import read_study
from specialists.datasets.layout import read_set


@dataclass(frozen=True)
class Config:
    """Fit evidence, arbiter, confidence, the threshold to refer and label sets on one's own validation data."""

    data: Path | None = None
    """Data folder: one folder a set, each with records.jsonl; labels as the specialists spell them."""
    out: Path | None = None
    """File to write; left out, consilium.json of CONSILIUM_HOME, which `ask`, `chat` and `serve` find by themselves."""
    split: str = "val"
    """Split of the records that is fitted on; test is refused."""
    sets: str = ""
    """Names of sets, separated by commas; empty takes every set whose labels equal a domain's."""
    model: str | None = None
    """Generalist: a path, a hub id or the URL of a server; left out, the one that ships."""
    level: float = 0.9
    """In which share of new patients a label set shall hold the truth."""
    label_sets: Method = "lac"
    """lac: the smallest sets; aps: sets that grow with how hard a case is."""
    right: float = 0.8
    """Share of right answers wanted among those that are not referred to a human."""
    evidence: Literal["choose", "all"] = "choose"
    """choose: hide from the generalist, by domain, what it decides better without; all: hide nothing (and ask less)."""
    limit: int | None = None
    """Most cases of a set, drawn by the seed."""
    question: str = QUESTION
    """Question that the generalist is asked."""
    seed: int = 0
    """Seed of draws, folds and resamples."""
    cache: Path | None = None
    """Folder that remembers answers, shared with `consilium evaluate`: what was stopped goes on where it was."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; raises what `run` raises."""
    run(parse(Config, sys.argv[1:] if argv is None else argv, prog="consilium calibrate"))
    return 0


def run(config: Config) -> None:
    """Fit and write the file; raises BadEvaluation, BadData or GeneralistError."""
    data = _checked(config)
    generalist = open_generalist(config.model)
    with bars() as track, TemporaryDirectory() as folder:
        scores = CachedScores(generalist, Cache((config.cache or Path(folder)) / "scores.jsonl"))
        studied = _studied(config, data, scores, track)
    ships = fitting.chosen(None, generalist.revision()).arbiter
    wanted = Wanted(config.level, config.label_sets, config.right, config.seed, ships)
    fitted, figures = calibrate.fit(studied, wanted)
    fitted = replace(fitted, made=_made(config, studied, generalist.revision(), figures))
    out = config.out or paths().fitted
    fitting.save(fitted, out)
    count = sum(len(one.cases) for one in studied)
    less = [f"where {source} say nothing: ECE {found['ece']:.3f} ({found['ci95'][0]:.3f} – {found['ci95'][1]:.3f}), "
            f"{found['n']} cases" for source, found in figures["without"].items()]
    if fitted.arbiter == ships:
        less.append(f"Fewer than {FEWEST} decided cases: the arbiter that ships stays, and its confidence with it. "
                    "Give more.")
    told = f"{count} cases of split {config.split!r}: {out.name}"
    Console().print(*tables(fitted, figures), *less, told, sep="\n")


def _checked(config: Config) -> Path:
    if config.data is None:
        raise BadEvaluation("No --data; wanted the data folder: one folder a set, each with records.jsonl.")
    if config.split == "test":
        raise BadEvaluation("--split test; wanted another: what is fitted on test cannot be measured on it.")
    for name, value in (("level", config.level), ("right", config.right)):
        if not 0 < value < 1:
            raise BadEvaluation(f"--{name} {value}; wanted a share between 0 and 1.")
    if config.limit is not None and config.limit < 1:
        raise BadEvaluation(f"--limit {config.limit}; wanted at least 1.")
    return config.data


def _studied(config: Config, data: Path, generalist: Scores, track: Track) -> list[Studied]:
    matched = match_sets(data, split_names(config.sets), registry.cards(), registry.domains())
    domains = {name: open_domain(name) for name in sorted(set(matched.values()))}
    studied = []
    for name, domain in ((name, domains[domain]) for name, domain in matched.items()):
        cases = _cases(config, data, name, domain, track)
        hidden = calibrate.choices(domain) if config.evidence == "choose" else [()]
        advance = track(f"{name}: generalist", len(cases) * len(hidden))
        asking = Asking(generalist, _view(cases), config.question, advance)
        studied.append(calibrate.study(name, cases, domain, hidden, asking))
    return studied


def _cases(config: Config, data: Path, name: str, domain: Domain, track: Track) -> list[CaseEvidence]:
    samples = choose(read_set(data / name, [config.split]), config.limit, config.seed)
    cases, left_out = collect(samples, domain, advance=track(f"{name}: specialists and cases", len(samples)))
    if not cases:
        first = f", first: {left_out[0].reason}" if left_out else ""
        raise BadEvaluation(f"No case of {name} in split {config.split!r} can be fitted on ({len(left_out)} left "
                            f"out{first}); wanted labeled, readable images.")
    return cases


def _view(cases: Sequence[CaseEvidence]) -> View:
    return lambda place: template.png_url(read_study(cases[place].sample.path))


def _made(config: Config, studied: Sequence[Studied], revision: Mapping[str, Any], figures: Mapping[str, Any]
          ) -> dict[str, Any]:
    """Return what the file rests on: no word about the machine, no case, no patient."""
    pooled, mean = figures["pooled"], figures["mean"]
    return {"sets": {one.name: len(one.cases) for one in studied}, "split": config.split, "seed": config.seed,
            "question": config.question, "commit": commit(),
            "generalist": {key: revision.get(key) for key in fitting.WEIGHTS},
            "cross_fitted": {"ece": pooled["ece"], "ece_ci95": pooled["ci95"], **mean,
                             "without": {source: {key: found[key] for key in ("n", "ece", "ci95")}
                                         for source, found in figures["without"].items()}}}


def tables(fitted: Fitted, figures: Mapping[str, Any]) -> list[Table]:
    """Return what was fitted by domain, and its cross-fitted figures by set, in percent."""
    made = Table(title="fitted")
    for head in ("domain", "hidden from the generalist", "groups", "label sets"):
        made.add_column(head)
    for name, fit in fitted.domains.items():
        said = f"at {fitted.level:.0%}" if fit.quantile is not None else "too few groups: all labels"
        made.add_row(name, ", ".join(fit.hidden) or "nothing", str(fit.groups), said)
    pooled, mean = figures["pooled"], figures["mean"]
    low, high = pooled["ci95"]
    title = (f"cross-fitted: pooled ECE {pooled['ece']:.3f} ({low:.3f} – {high:.3f}), mean error {mean['error']:.1%}, "
             f"at {mean['coverage']:.0%} coverage {mean['error_at_coverage']:.1%}")
    told = Table(title=title)
    for head in ("set", "n", "error", "at coverage", "referred", "ECE", "of calibrated", "sets hold truth", "size"):
        told.add_column(head, justify="left" if head == "set" else "right")
    for name, row in figures["sets"].items():
        shares = (row["error"], row["error_at_coverage"], row["referred"], row["ece"], row["ece_of_calibrated"],
                  row["label_sets"]["coverage"])
        told.add_row(name, str(row["n"]), *(f"{100 * x:.1f}" for x in shares), f"{row['label_sets']['mean_size']:.1f}")
    return [made, told]
