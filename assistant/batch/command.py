"""The command `consilium consult`: reads flags, says how far it is, and leaves the rest to the engine."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.errors import BadQuestion, ServerUnreachable
from specialists.__main__ import parse


@dataclass(frozen=True)
class Consult:
    """Ask one question about every image of a folder, a table or a tree of DICOM files; run again, it goes on."""

    source: Path
    """Folder (with its folders), or a table (CSV, TSV, JSONL, Parquet) with a column `image`, and perhaps id, question,
    options (with | between them), patient (or patient_id) and kind."""
    question: str = ""
    """The question; a table's own questions come first."""
    out: Path = Path("results.parquet")
    """File to write: a row an image, with findings and confidence, or with what went wrong."""
    options: str = ""
    """Answers to choose from, with commas between them; none asks an open question."""
    option: tuple[str, ...] = ()
    """One answer to choose from, taken as it is (it may hold commas); repeat the flag."""
    collaboration: Literal["auto", "full", "none"] = "full"
    """full: all specialists in scope are asked; auto: the generalist chooses; none: the image alone."""
    style: Literal["published", "calibrated"] = "calibrated"
    """How the evidence is written for the generalist."""
    without: tuple[str, ...] = ()
    """Specialists not to consult (or similar_cases, similar_texts); repeat the flag."""
    model: str = ""
    """Another generalist: a folder, a hub id, or the URL of an OpenAI-compatible server."""
    adapter: str = ""
    """Adapter over the generalist: its folder (PEFT), or its name on the server."""
    texts: Path | None = None
    """Folder of reports and answered questions to look among for open questions."""
    fitted: Path | None = None
    """What `consilium calibrate` wrote; left out, consilium.json of CONSILIUM_HOME, where there is one."""
    kind: str = ""
    """What kind of image they are ("brain MRI"), where that is known; left out, triage tells. A table's own first."""
    engine: Literal["plain", "ray"] = "plain"
    """plain: this process; ray: several processes or machines (needs the extra ray)."""
    threads: int = 8
    """Images under way at once in one process."""
    workers: int = 2
    """Processes (ray)."""
    gpus_each: float = 0.0
    """GPUs, or parts of one, that each process takes (ray)."""
    address: str = ""
    """Address of a running cluster, "auto" for one on this machine; else one is started (ray)."""


def main(argv: Sequence[str]) -> int:
    """Ask about all images; exit status 1 when some could not be answered."""
    flags = parse(Consult, list(argv), "consilium consult")
    if flags.threads < 1 or flags.workers < 1:
        raise BadQuestion(f"Got {flags.threads} threads and {flags.workers} workers; wanted at least 1 of each.")
    # Models, Parquet and Ray come in only now: `consilium --help` stays light.
    plan = _plan(flags)
    if not flags.question and flags.source.is_dir():
        raise BadQuestion("No question: wanted --question, as one text in quotes.")
    plan.check()
    importlib.import_module("assistant.batch.sources").check(flags.source)
    results = importlib.import_module("assistant.batch.results").Results(flags.out, plan.settings(flags.source))
    progress = Progress(len(results.done))
    try:
        _engine(flags, plan, results, progress)
    except ServerUnreachable as fault:
        raise ServerUnreachable(f"{fault} {len(results.done)} images are done; the same command goes on.") from fault
    rows, faults = results.finish()
    sys.stderr.write(f"{rows} rows in {flags.out}, {faults} of them with an error.\n")
    return 1 if faults else 0


class Progress:
    """Says on stderr how many images are done, and how many a second."""

    def __init__(self, before: int) -> None:
        self.before, self.count, self.faults, self.began = before, 0, 0, time.monotonic()
        if before:
            sys.stderr.write(f"{before} images are done already.\n")

    def __call__(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count the rows of a block."""
        self.count += len(rows)
        self.faults += sum("error" in row for row in rows)
        speed = self.count / (time.monotonic() - self.began)
        sys.stderr.write(f"{self.before + self.count} images, {self.faults} with an error, {speed:.1f} a second\n")


def _plan(flags: Consult) -> Any:
    listed = [option.strip() for option in flags.options.split(",")] if flags.options else []
    return importlib.import_module("assistant.batch.run").Plan(
        flags.question, (*listed, *flags.option) or None, flags.collaboration, flags.style, flags.without,
        flags.model or None, flags.adapter or None, flags.texts, flags.fitted, flags.kind or None,
        flags.threads)


def _engine(flags: Consult, plan: Any, results: Any, progress: Progress) -> None:
    if flags.engine == "plain":
        importlib.import_module("assistant.batch.run").run(plan, flags.source, results, progress)
        return
    try:
        ray = importlib.import_module("assistant.batch.on_ray")
    except ModuleNotFoundError as missing:
        raise BadQuestion(f"The engine ray needs {missing.name}: pip install -e '.[ray]' in the project's "
                          "folder.") from None
    ray.run(plan, flags.source, results, progress, workers=flags.workers, gpus_each=flags.gpus_each,
            address=flags.address or None)
