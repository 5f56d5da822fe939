"""`consilium evaluate`: the arms side by side on the same cases; it only wires the parts together."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from assistant.evaluation.arms import Floats, Scores
    from assistant.evaluation.cases import CaseEvidence, Domain, LeftOut
    from assistant.evaluation.report import Measured

Advance = Callable[[int], Any]
Track = Callable[[str, int], Advance]
"""Opens a bar of so many cases and returns what moves it on."""


@dataclass(frozen=True)
class Config:
    """Measure generalist, specialists and their collaboration on the same labeled cases."""

    data: Path | None = None
    """Data folder: one folder a set, each with records.jsonl."""
    out: Path | None = None
    """File the figures are written to (JSON)."""
    split: str = "test"
    """Split of the records that is measured."""
    sets: str = ""
    """Names of sets, separated by commas; empty takes every set whose labels equal a domain's."""
    arms: str = ""
    """Names of arms, separated by commas; empty takes all, "none" none (with --triage)."""
    model: str | None = None
    """Generalist: a path, a hub id or the URL of a server; left out, the one that ships."""
    limit: int | None = None
    """Most cases of a set, drawn by the seed."""
    question: str = "What is the most likely diagnosis?"
    """Question that the generalist is asked."""
    shuffle_evidence: bool = False
    """Control: every case gets the evidence of another one."""
    control: Literal["blank", "noise", "shuffled"] | None = None
    """Control: what the generalist sees instead of the image; specialists still see the image."""
    triage: bool = False
    """Measure too how often the kind of image is recognized."""
    fit_arbiter: bool = False
    """Fit the arbiter on the split's cases instead of measuring; refuses the test split."""
    seed: int = 0
    """Seed of resamples, draws and controls."""
    log: Path | None = None
    """File that gets every answer, one JSON object a case."""

    def names(self, text: str) -> list[str]:
        """Return the names in a comma-separated text, each once."""
        return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))

    @property
    def folder(self) -> Path:
        """The data folder, once it is known to be given."""
        assert self.data is not None
        return self.data

    def command(self) -> str:
        """Return the command that measures the same, folders and files by their last name alone."""
        words = ["consilium evaluate"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                flag = "--" + field.name.replace("_", "-")
                is_file = isinstance(value, Path) or _is_folder(value)
                shown = shlex.quote(Path(value).name if is_file else str(value))
                words.append(flag if value is True else f"{flag} {shown}")
        return " ".join(words)


def _is_folder(value: object) -> bool:
    return isinstance(value, str) and "://" not in value and Path(value).is_absolute()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 with a message on stderr when it cannot be run as asked."""
    from assistant.errors import ConsiliumError
    from specialists.__main__ import parse
    from specialists.core.errors import SpecialistsError

    config = parse(Config, sys.argv[1:] if argv is None else argv, prog="consilium evaluate")
    try:
        run(config)
    except (ConsiliumError, SpecialistsError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def run(config: Config) -> None:
    """Measure, or fit the arbiter, as configured; raises ConsiliumError or SpecialistsError."""
    from assistant.evaluation.cases import BadEvaluation

    if config.data is None:
        raise BadEvaluation("No --data; wanted the data folder: one folder a set, each with records.jsonl.")
    if config.fit_arbiter and config.split == "test":
        raise BadEvaluation("--fit-arbiter on split 'test'; wanted another: --split val.")
    if not config.fit_arbiter and config.out is None:
        raise BadEvaluation("No --out; wanted the file that the figures are written to.")
    if config.limit is not None and config.limit < 1:
        raise BadEvaluation(f"--limit {config.limit}; wanted at least 1.")
    with _bars() as track:
        if config.fit_arbiter:
            _fit(config, track)
        else:
            _measure(config, track)


def _measure(config: Config, track: Track) -> None:
    from rich.console import Console

    from assistant.evaluation import report

    chosen = _arms(config)
    domains = _domains(config) if chosen else {}
    triage = _triage(config, track) if config.triage else {}
    measured: list[Measured] = []
    revision = None
    if chosen:
        generalist = _generalist(config, chosen)
        revision = generalist.revision() if generalist is not None else None  # type: ignore[attr-defined]
        measured = [_measure_set(config, name, domain, generalist, chosen, track)
                    for name, domain in domains.items()]
    settings = {"command": config.command(), "split": config.split, "seed": config.seed,
                "question": config.question, "shuffle_evidence": config.shuffle_evidence,
                "control": config.control, "limit": config.limit, **report.provenance(measured, revision)}
    result = {**report.figures_of(measured, config.seed), "triage": triage, "settings": settings}
    assert config.out is not None
    report.write(config.out, result)
    if config.log is not None:
        config.log.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) for m in measured for row in report.answers(m))
        config.log.write_text("".join(line + "\n" for line in lines))
    if measured:
        Console().print(*report.tables(result), sep="\n")
    if triage:
        share, count = triage["accuracy"], triage["n"]
        print("triage: " + ("no image of a taught kind" if share is None else f"{share:.1%} of {count}"))


def _arms(config: Config) -> list[str]:
    from assistant.evaluation.arms import ARMS
    from assistant.evaluation.cases import BadEvaluation, check_names

    named = config.names(config.arms)
    if named == ["none"]:
        if not config.triage:
            raise BadEvaluation("--arms none measures nothing; wanted names of arms, or --triage beside it.")
        return []
    check_names("arm", named, ARMS)
    return [arm for arm in ARMS if not named or arm in named]


def _generalist(config: Config, chosen: Sequence[str]) -> Scores | None:
    from assistant.evaluation.arms import GENERALIST_ARMS

    if not {*GENERALIST_ARMS, "arbiter"} & set(chosen):
        return None
    from assistant.generalist.open import open_generalist

    return open_generalist(config.model)


def _domains(config: Config) -> dict[str, Domain]:
    from assistant.evaluation.cases import match_sets, open_domain
    from specialists.core import registry

    matched = match_sets(config.folder, config.names(config.sets), registry.cards(), registry.domains())
    opened = {name: open_domain(name) for name in set(matched.values())}
    return {name: opened[domain] for name, domain in matched.items()}


def _measure_set(config: Config, name: str, domain: Domain, generalist: Scores | None, chosen: Sequence[str],
                 track: Track) -> Measured:
    import numpy as np

    from assistant.collaboration import arbiter
    from assistant.evaluation import arms
    from assistant.evaluation.cases import shuffle_evidence
    from assistant.evaluation.report import Measured

    cases, left_out = _collect(config, name, domain, track)
    if config.shuffle_evidence:
        cases = shuffle_evidence(cases, np.random.default_rng(config.seed))
    found = _asked(config, name, cases, domain, generalist, chosen, track) | arms.opinion_arms(cases, domain)
    confidence = refer = None
    if "generalist" in found:
        known = arms.judged(cases, domain.labels, found)
        found["arbiter"] = arms.pooled(known, domain.labels, arbiter.shipped())
        if "gsco" in found:
            confidence, refer = arms.confidences(known, arbiter.shipped())
    return Measured(name, domain, cases, left_out, {arm: found[arm] for arm in chosen}, confidence, refer)


def _collect(config: Config, name: str, domain: Domain,
             track: Track) -> tuple[list[CaseEvidence], list[LeftOut]]:
    from assistant.evaluation.cases import BadEvaluation, choose, collect
    from specialists.datasets.layout import read_set

    samples = choose(read_set(config.folder / name, [config.split]), config.limit, config.seed)
    cases, left_out = collect(samples, domain, advance=track(f"{name}: specialists and cases", len(samples)))
    if not cases:
        first = f", first: {left_out[0].reason}" if left_out else ""
        raise BadEvaluation(f"No case of {name} in split {config.split!r} can be measured ({len(left_out)} "
                            f"left out{first}); wanted labeled, readable images.")
    return cases, left_out


def _asked(config: Config, name: str, cases: Sequence[CaseEvidence], domain: Domain,
           generalist: Scores | None, chosen: Sequence[str], track: Track) -> dict[str, Floats]:
    """Return what the generalist says; the arbiter needs its view of the image alone, and says so here."""
    from assistant.evaluation.arms import GENERALIST_ARMS, ask, views

    if generalist is None:
        return {}
    needed = {*chosen, "generalist"} if "arbiter" in chosen else {*chosen}
    arms = [arm for arm in GENERALIST_ARMS if arm in needed]
    return ask(cases, domain, generalist, views(cases, config.control, config.seed), arms,
               question=config.question, advance=track(f"{name}: generalist", len(cases)))


def _fit(config: Config, track: Track) -> None:
    from assistant.collaboration import arbiter
    from assistant.evaluation import arms

    generalist = _generalist(config, ["gsco"])
    known = []
    for name, domain in _domains(config).items():
        cases, _ = _collect(config, name, domain, track)
        found = _asked(config, name, cases, domain, generalist, ["generalist", "gsco"], track)
        known += arms.judged(cases, domain.labels, found)
    fitted = arbiter.fit_arbiter(known)
    file = config.out or arbiter.SHIPPED
    file.parent.mkdir(parents=True, exist_ok=True)
    arbiter.save(fitted, file)
    print(f"arbiter fitted on {len(known)} cases of split {config.split!r}: {file.name}\n{fitted}")


def _triage(config: Config, track: Track) -> dict[str, Any]:
    from assistant.evaluation import triage
    from specialists.core import registry

    samples = triage.samples_of_kinds(config.folder, config.split, config.names(config.sets), config.limit,
                                      config.seed)
    specialist = registry.triage()
    said = triage.consult(samples, specialist, advance=track("triage", len(samples)))
    return triage.summary(said, [kind for kind in specialist.card.label_names if kind != triage.UNKNOWN])


@contextmanager
def _bars() -> Iterator[Track]:
    """Show progress on stderr."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        def track(title: str, total: int) -> Advance:
            task = progress.add_task(title, total=total)
            return lambda count: progress.advance(task, count)
        yield track


if __name__ == "__main__":
    raise SystemExit(main())
