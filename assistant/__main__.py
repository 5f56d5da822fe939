"""The `consilium` command: a table from verb to function.

It answers nothing itself and loads a part only for the verb that needs it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from assistant.errors import BadQuestion, ConsiliumError
from assistant.generalist.adapters import one
from specialists.__main__ import parse
from specialists.core.errors import SpecialistsError

if TYPE_CHECKING:
    from rich.table import Table

    from assistant.assistant import Assistant
    from assistant.steps import Answer, Evidence

NOTICE = "Research use only; not a medical device."
SHOWN_REFUSALS = 5
"""Refusals of specialists that are told one by one."""


@dataclass(frozen=True)
class Ask:
    """Ask about one or several images: consilium ask IMAGE... QUESTION."""

    words: tuple[str, ...]
    """The images (PNG, JPEG, TIFF, WebP, DICOM, NIfTI), then the question as the last word."""
    options: str = ""
    """Answers to choose from, with commas between them; none asks an open question."""
    option: tuple[str, ...] = ()
    """One answer to choose from, taken as it is (it may hold commas); repeat the flag."""
    collaboration: Literal["auto", "full", "none"] = "auto"
    """auto: the generalist consults when it wants; full: always; none: the image alone."""
    style: Literal["published", "calibrated"] = "calibrated"
    """How the evidence is written for the generalist."""
    without: tuple[str, ...] = ()
    """Specialists not to consult (or similar_cases, similar_texts), with commas or as repeated flags."""
    kind: str = ""
    """What kind of image it is, such as "brain MRI"; left out, triage tells."""
    patient: str = ""
    """Identifier of the patient as in the index: the patient's own cases and texts are not retrieved."""
    texts: Path | None = None
    """Folder of reports and answered questions to look among for open questions; `consilium data texts` makes it."""
    fitted: Path | None = None
    """What `consilium calibrate` wrote; left out, consilium.json of CONSILIUM_HOME if there is one, else what ships."""
    model: str = ""
    """Another generalist: a folder, a hub id, or the URL of an OpenAI-compatible server."""
    adapter: str = ""
    """Adapter over the generalist: its folder (PEFT), or NAME=FOLDER."""
    json: bool = False
    """Print the whole answer as one JSON object."""


@dataclass(frozen=True)
class Replay:
    """Answer a stored question again, from its trace."""

    trace: str
    """Identifier of the trace, as printed below an answer."""
    model: str = ""
    """The generalist that answered, where it was not the default."""
    json: bool = False
    """Print the whole answer as one JSON object."""


@dataclass(frozen=True)
class Doctor:
    """Look at what is installed: parts, sizes, licenses; exit status 1 when something needed is broken."""

    commercial_ok: bool = False
    """Name what to leave out where only commercial use is allowed."""
    json: bool = False
    """Print the report as one JSON object."""


def ask(argv: list[str]) -> int:
    """Answer one question and print the answer."""
    flags = parse(Ask, argv, "consilium ask")
    images, question = _images_and_question(flags.words)
    how = {"options": _options(flags), "collaboration": flags.collaboration, "style": flags.style,
           "without": _split(flags.without), "kind": flags.kind or None, "patient": flags.patient or None}
    return _answer(flags, lambda assistant: assistant.ask(images, question, **how), flags.texts, flags.adapter,
                   flags.fitted)


def replay(argv: list[str]) -> int:
    """Answer a stored question again and print the answer."""
    flags = parse(Replay, argv, "consilium replay")
    return _answer(flags, lambda assistant: assistant.replay(flags.trace))


def doctor(argv: list[str]) -> int:
    """Print what is installed and whether it is whole."""
    flags = parse(Doctor, argv, "consilium doctor")
    from rich.console import Console

    from assistant import doctor as examination
    report = examination.examine()
    if flags.json:
        print_json(report.json())
    else:
        console = Console(highlight=False)
        for shown in examination.tables(report, commercial_ok=flags.commercial_ok):
            console.print(shown)
    return 0 if report.whole else 1


class Verb(NamedTuple):
    """A word of the command line: what it does, and the function that takes the words after it."""

    help: str
    run: Callable[[list[str]], int | None]


def _other(module: str) -> Callable[[list[str]], int | None]:
    # Modules are named as strings: this package may not import those that stand on it (ui, instruct_data,
    # finetune), and `consilium --help` must not load any of them.
    def run(argv: list[str]) -> int | None:
        return importlib.import_module(module).main(argv)
    return run


VERBS: dict[str, Verb] = {
    "ask": Verb("ask about images: ask IMAGE... QUESTION [--options a,b,c] [--json]", ask),
    "chat": Verb("open the chat window", _other("ui.__main__")),
    "serve": Verb("serve OpenAI's chat protocol", _other("assistant.server.serve_command")),
    "mcp": Verb("offer the tools to MCP clients", _other("assistant.server.mcp_command")),
    "up": Verb("start vLLM, the server and the window, and keep them up", _other("assistant.up_command")),
    "consult": Verb("ask one question about a folder or a table of images: consult SOURCE --question Q --out FILE",
                    _other("assistant.batch.command")),
    "specialists": Verb("list, run or train specialists", _other("specialists.__main__")),
    "index": Verb("add, remove or list the labelled cases that similar ones are found among",
                  _other("specialists.index_command")),
    "data": Verb("build instruction data from images, masks and labels", _other("instruct_data.__main__")),
    "finetune": Verb("teach the generalist", _other("finetune.__main__")),
    "evaluate": Verb("measure generalist, specialists and both", _other("assistant.evaluation.__main__")),
    "calibrate": Verb("fit confidence, label sets and evidence on your own cases: calibrate --data DIR",
                      _other("assistant.evaluation.calibrate_command")),
    "replay": Verb("answer a stored question again: replay ID", replay),
    "audit": Verb("check that no trace was changed or taken away, or print some: audit [ID...]",
                  _other("assistant.audit_command")),
    "export": Verb("write a conversation or an answer as PDF, Markdown, FHIR or DICOM: export ID --to FORM",
                   _other("assistant.export.command")),
    "doctor": Verb("look at what is installed: parts, sizes, licenses", doctor),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status: 0 done, 1 something is broken, 2 the caller's mistake."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if verb in ("-V", "--version"):
        sys.stdout.write(f"consilium {_version()}\n")
        return 0
    if verb not in VERBS:
        sys.stderr.write(f"No verb {verb!r}. Known: {', '.join(VERBS)}.\n")
        return 2
    return _guarded(VERBS[verb].run, rest)


def _guarded(run: Callable[[list[str]], int | None], argv: list[str]) -> int:
    """Turn mistakes of the caller into one line (with --json: one object), all else into a traceback."""
    as_json = "--json" in argv
    try:
        return run(argv) or 0
    except (ConsiliumError, SpecialistsError, OSError) as fault:
        message = " ".join(str(fault).split())
        if as_json:
            _print_error(type(fault).__name__, message)
        else:
            sys.stderr.write(f"{type(fault).__name__}: {_plain(message)}\n")
        return 2
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
        if code and as_json:
            _print_error("BadUsage", "Unknown or wrong flag; stderr has the details.")
        return code
    except KeyboardInterrupt:
        return 130
    except Exception as fault:
        if not as_json:
            raise
        logging.getLogger("consilium").exception("The verb failed.")
        _print_error(type(fault).__name__, "Unexpected; stderr has the traceback.")
        return 1


def open_assistant(model: str = "", api_key: str | None = None, texts: Path | None = None,
                   adapters: Mapping[str, str] | None = None, fitted: Path | None = None) -> Assistant:
    """Load the assistant; here and nowhere else torch comes in."""
    opened = importlib.import_module("assistant.assistant").Assistant(
        model or None, api_key=api_key, texts=texts, adapters=adapters)
    return opened.with_fit(fitted)


def _answer(flags: Ask | Replay, question: Callable[[Assistant], Answer], texts: Path | None = None,
            adapter: str = "", fitted: Path | None = None) -> int:
    name, folder = one(adapter) if adapter else ("", "")
    with quiet_stdout() if flags.json else contextlib.nullcontext():
        assistant = open_assistant(flags.model, os.environ.get("CONSILIUM_API_KEY"), texts,
                                   {name: folder} if name else None, fitted)
        answer = question(assistant.skilled(name) if name else assistant)
    if flags.json:
        print_json(answer.json())
    else:
        show(answer)
    return 0


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send to stderr what anyone prints meanwhile, C libraries too, so that stdout holds the answer alone."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def print_json(found: Mapping[str, Any]) -> None:
    """Write one JSON object on one line."""
    sys.stdout.write(json.dumps(found, allow_nan=False) + "\n")


def _print_error(type: str, message: str) -> None:
    print_json({"error": {"type": type, "message": message}})


def _images_and_question(words: Sequence[str]) -> tuple[list[str], str]:
    wanted = "Wanted: consilium ask IMAGE... QUESTION, the question in quotes and last."
    if not words:
        raise BadQuestion(f"No image and no question. {wanted}")
    *images, question = words
    if len(question) < 4096 and os.path.isfile(question):
        raise BadQuestion(f"No question: the last word is the file {question!r}. {wanted}")
    if not images:
        raise BadQuestion(f"No image, only the question {question!r}. {wanted}")
    return images, question


def _options(flags: Ask) -> tuple[str, ...] | None:
    listed = [o.strip() for o in flags.options.split(",")] if flags.options else []
    return (*listed, *flags.option) or None


def _split(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for name in names for part in name.split(",") if part.strip())


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return ("A generalist looks at a medical image, consults specialists and similar cases, and answers\n"
            f"with all that it rests on. {NOTICE}\n\n"
            f"consilium VERB ...     (consilium VERB --help tells more)\n\n{verbs}\n")


def _version() -> str:
    try:
        return metadata.version("consilium")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def show(answer: Answer) -> None:
    """Print an answer for people: what it says, how sure, on what it rests."""
    from rich.console import Console
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_plain(answer.text))
    console.print()
    if answer.label is not None:
        console.print(f"Answer: {_plain(answer.label)}   confidence: {confidence(answer.confidence)}")
    if answer.refer:
        reason = answer.refer_reason or "the answer is not certain enough"
        console.print(f"Refer to a human: {_plain(reason)}", style="bold")
    if answer.label_set is not None:
        console.print(f"Not ruled out ({answer.label_set.level:.0%}): {_plain(', '.join(answer.label_set.labels))}")
    console.print(f"Kind of image: {_plain(answer.kind)}")
    for table in _tables(answer):
        console.print(table)
    for line in _findings(answer):
        console.print(_plain(line))
    seconds = f"{answer.seconds:.1f} s"
    console.print(f"Trace {answer.trace_id} ({seconds})" if answer.trace_id else seconds, style="dim")
    console.print(NOTICE, style="dim")


def confidence(probability: float | None) -> str:
    """Return a word for a calibrated probability, with its figure."""
    if probability is None:
        return "unknown"
    word = "high" if probability >= 0.9 else "moderate" if probability >= 0.7 else "low"
    return f"{word} ({probability:.2f})"


def _tables(answer: Answer) -> Iterator[Table]:
    evidence: Evidence = answer.evidence
    if answer.options:
        pool = evidence.arbiter.probabilities if evidence.arbiter else {}
        ranked = sorted(answer.options.items(), key=lambda item: -item[1])
        yield _table("Options", ("option", "generalist", "arbiter"),
                     [(name, _share(p), _share(pool.get(name))) for name, p in ranked])
    if evidence.moed:
        yield _table("Opinions of specialists", ("specialist", "says", "probability", "validated F1"),
                     [(o.specialist, o.label, _share(o.probabilities.get(o.label)),
                       _share(o.validated.get(o.label))) for o in evidence.moed])
    if evidence.rad:
        yield _table("Similar cases", ("case", "label", "similarity", "source"),
                     [(c.id, c.label, _share(c.similarity), c.source) for c in evidence.rad])
    if evidence.texts:
        yield _table("Similar texts", ("case", "text", "similarity", "source", "license"),
                     [(t.id, t.words, _share(t.similarity), t.source, t.license or "not stated")
                      for t in evidence.texts])


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in row))
    return table


def _findings(answer: Answer) -> Iterator[str]:
    told = {o.specialist for o in answer.evidence.moed} | {r.specialist for r in answer.evidence.refusals}
    yield from (finding.words() for finding in answer.findings if finding.specialist not in told)
    for box in answer.boxes:
        corners = ", ".join(f"{value:.0f}" for value in box.xyxy)
        yield f"Box {box.label}: {corners} (left, top, right, bottom in pixels)"
    if answer.evidence.no_similar_case:
        yield "No similar case is known."
    if answer.evidence.no_similar_text:
        yield "No similar text is known."
    if answer.evidence.conflict:
        yield "Conflict: the generalist and the evidence disagree."
    refusals = answer.evidence.refusals
    yield from (f"Refused by {r.specialist}: {r.reason}" for r in refusals[:SHOWN_REFUSALS])
    if len(refusals) > SHOWN_REFUSALS:
        yield f"and by {len(refusals) - SHOWN_REFUSALS} more; --json names them."


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _plain(text: str) -> str:
    """Drop control characters: a model's text must not steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())


if __name__ == "__main__":
    sys.exit(main())
