"""`consilium evaluate`: arms, tasks and benchmarks on the same cases; it only wires the parts together."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from assistant.evaluation.config import BadEvaluation, Config, Track, chosen, split_names

if TYPE_CHECKING:
    from assistant.evaluation.cache import Cache
    from assistant.evaluation.diagnosis import Diagnosis
    from assistant.evaluation.harness import Answerer, Task
    from assistant.evaluation.report import Measured
    from assistant.evaluation.robustness import Changed
    from specialists.datasets.layout import Sample


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
    """Measure, fit the arbiter or draw the page, as configured; raises ConsiliumError or SpecialistsError."""
    if config.read is not None:
        _redraw(config, config.read)
        return
    from assistant.evaluation.progress import bars

    _check(config)
    with bars() as track:
        if config.fit_arbiter:
            _fit(config, track)
        else:
            _measure(config, track)


def _check(config: Config) -> None:
    if config.data is None:
        raise BadEvaluation("No --data; wanted the data folder (one folder a set, each with records.jsonl), or with "
                            "--benchmark the folder of its files.")
    if config.fit_arbiter and config.split == "test":
        raise BadEvaluation("--fit-arbiter on split 'test'; wanted another: --split val.")
    if not config.fit_arbiter and config.out is None:
        raise BadEvaluation("No --out; wanted the file that the figures are written to.")
    if config.limit is not None and config.limit < 1:
        raise BadEvaluation(f"--limit {config.limit}; wanted at least 1.")


def _measure(config: Config, track: Track) -> None:
    from assistant.evaluation import report, robustness, words

    generalist = _opened(config)
    found = _diagnoses(config, generalist, track)
    measured = [natural for natural, _ in found]
    lines: list[Mapping[str, Any]] = [row for one in measured for row in report.answers(one)]
    triage = _triage(config, track) if config.triage else {}
    tasks = _asked(config, generalist, track, lines)
    revision = _shown(config, generalist).revision() if generalist is not None else None
    figures = {**report.figures_of(measured, config.seed, _best_by(config)), "knowing": _knowing(measured, config.seed),
               "conditions": robustness.figures_of(measured, [changed for _, changed in found], config.seed)}
    result = {"words": words.told(figures), **figures, "triage": triage, "tasks": tasks,
              "settings": {**config.settings(), **report.provenance(measured, revision)}}
    _write(config, result, lines)
    _show(result)


def _best_by(config: Config) -> dict[str, Any] | None:
    """Return the figures of another split; raises BadEvaluation for what is none, or of the split that is measured."""
    if config.best_by is None:
        return None
    try:
        found = json.loads(config.best_by.read_text())
        split = found["settings"]["split"] if found["parts"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadEvaluation(f"--best-by {config.best_by.name!r} cannot be read ({type(error).__name__}); wanted the "
                            "figures of arms that this command wrote of another split.") from error
    if split in (None, config.split):
        raise BadEvaluation(f"--best-by has figures of split {split!r}; wanted those of another than {config.split!r}.")
    return found


def _opened(config: Config) -> Any:
    """Return the generalist, None where nobody asks it."""
    from assistant.evaluation import diagnosis

    arms = diagnosis.arms_of(config)
    needed = {"alone", "whole"} & {*config.asked_answerers()} if config.tasks or config.benchmark else set()
    asked = diagnosis.asks_generalist(arms) or config.fit_arbiter or needed
    return _generalist(config) if asked else None


def _generalist(config: Config) -> Any:
    from assistant.generalist.open import open_generalist

    return open_generalist(config.model)


def _shown(config: Config, generalist: Any) -> Any:
    """Return the generalist as the control wants it."""
    from assistant.evaluation.wrapped import TextOnly

    return TextOnly(generalist) if config.control == "text-only" else generalist


def _cache(config: Config, name: str) -> Cache:
    from assistant.evaluation.cache import Cache

    return Cache(config.cache / f"{name}.jsonl" if config.cache else None)


def _diagnosis(config: Config, generalist: Any, track: Track) -> Diagnosis:
    from assistant.collaboration import fitted
    from assistant.evaluation.diagnosis import Diagnosis, arms_of
    from assistant.evaluation.wrapped import CachedScores

    arms = arms_of(config)
    scores = CachedScores(_shown(config, generalist), _cache(config, "scores")) if generalist is not None else None
    given = fitted.load(config.fitted) if config.fitted else None
    fit = fitted.chosen(given, scores.revision()) if scores is not None else given or fitted.shipped()
    return Diagnosis(config, arms, scores, track, _cache(config, "specialists"), fit)


def _diagnoses(config: Config, generalist: Any, track: Track) -> list[tuple[Measured, Changed]]:
    diagnosis = _diagnosis(config, generalist, track)
    sets = diagnosis.domains() if diagnosis.arms else {}
    return [diagnosis.measure(name, domain) for name, domain in sets.items()]


def _knowing(measured: Sequence[Measured], seed: int) -> dict[str, Any]:
    from assistant.evaluation import diagnosis, knowing

    return knowing.figures_of([told for one in measured if (told := diagnosis.told(one)) is not None], seed)


def _asked(config: Config, generalist: Any, track: Track, lines: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of tasks and benchmark by name; every answer is added to the lines."""
    from assistant.evaluation import questions

    if not (config.tasks or config.benchmark):
        return {}
    found = {}
    with TemporaryDirectory() as traces:
        put = questions.Put(config, _answerers(config, generalist, Path(traces)), track, _cache(config, "replies"))
        for task, samples in _tasks(config, generalist):
            rows = put.rows(task, task.questions(samples, config.seed))
            lines += questions.logged(task, rows)
            found[task.name] = questions.figures_of(task, rows, config.seed)
    return found


def _answerers(config: Config, generalist: Any, traces: Path) -> dict[str, Answerer]:
    from assistant.assistant import Assistant
    from assistant.evaluation.answerers import GeneralistAlone, Whole

    if generalist is None:
        return {}
    alone: Answerer = GeneralistAlone(_shown(config, generalist))
    whole = Assistant(generalist=generalist, home=traces, seed=config.seed)
    return {"alone": alone, "whole": Whole(whole.with_fit(config.fitted))}


def _judge(config: Config) -> Any:
    from assistant.generalist.open import open_generalist

    return open_generalist(config.judge) if config.judge else None


def _tasks(config: Config, generalist: Any) -> Iterator[tuple[Task, Sequence[Sample]]]:
    """Yield the tasks with the samples that they ask about, and the benchmark, which needs none."""
    from assistant.generalist.boxes import UNIT_1000

    codec = getattr(generalist, "boxes", UNIT_1000)
    reader = _judge(config)
    if config.benchmark:
        from assistant.evaluation.benchmarks.registry import BENCHMARKS, open_benchmark

        for name in chosen("benchmark", config.benchmark, BENCHMARKS):
            yield open_benchmark(name, config.folder, codec=codec, limit=config.limit, judge=reader), ()
    if config.tasks:
        from assistant.evaluation.questions import samples_of
        from assistant.evaluation.tasks.registry import TASKS, open_task

        names, samples = chosen("task", config.tasks, TASKS), samples_of(config)
        yield from ((open_task(name, codec, reader), samples) for name in names)


def _fit(config: Config, track: Track) -> None:
    from assistant.collaboration import arbiter

    diagnosis = _diagnosis(config, _generalist(config), track)
    served = {name: domain for name, domain in diagnosis.domains().items() if domain.cards}  # else no evidence to weigh
    known = [one for name, domain in served.items() for one in diagnosis.judged(name, domain)]
    fitted = arbiter.fit_arbiter(known)
    file = config.out or arbiter.SHIPPED
    file.parent.mkdir(parents=True, exist_ok=True)
    arbiter.save(fitted, file)
    print(f"arbiter fitted on {len(known)} cases of split {config.split!r}: {file.name}\n{fitted}")


def _triage(config: Config, track: Track) -> dict[str, Any]:
    from assistant.evaluation import triage
    from specialists.core import registry

    samples = triage.samples_of_kinds(config.folder, config.split, split_names(config.sets), config.limit, config.seed)
    specialist = registry.triage()
    said = triage.consult(samples, specialist, advance=track("triage", len(samples)))
    return triage.summary(said, [kind for kind in specialist.card.label_names if kind != triage.UNKNOWN])


def _write(config: Config, result: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
    from assistant.evaluation import report

    assert config.out is not None
    report.write(config.out, result)
    if config.split == "test":
        report.note_reading(config.out.with_name("test-readings.jsonl"), config.out.name, result["settings"])
    if config.log is not None:
        config.log.parent.mkdir(parents=True, exist_ok=True)
        config.log.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines))
    if config.html is not None:
        from assistant.evaluation import page

        page.write(config.html, json.loads(config.out.read_text()))


def _redraw(config: Config, figures: Path) -> None:
    from assistant.evaluation import page

    if config.html is None or not figures.is_file():
        raise BadEvaluation("--read draws the page of figures measured before: wanted their file, and --html PAGE.")
    page.write(config.html, json.loads(figures.read_text()))


def _show(result: Mapping[str, Any]) -> None:
    from rich.console import Console

    from assistant.evaluation import figures, questions, report

    console = Console()
    if result["datasets"]:
        console.print(*report.tables(result), sep="\n")
        few = [f"{name}: {', '.join(said['not_in_macro_f1'])}" for name, said in result["sets"].items()
               if said["not_in_macro_f1"]]
        if few:
            print(f"not in macro-F1, of fewer than {figures.MIN_COUNT} cases: {'; '.join(few)}")
    if result["tasks"]:
        console.print(questions.table(result["tasks"]))
    if result["triage"]:
        share, count = result["triage"]["accuracy"], result["triage"]["n"]
        print("triage: " + ("no image of a taught kind" if share is None else f"{share:.1%} of {count}"))


if __name__ == "__main__":
    raise SystemExit(main())
