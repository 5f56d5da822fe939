"""What is to be measured, as the command's flags say it; it measures nothing and opens no file."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from assistant.errors import ConsiliumError

Advance = Callable[[int], Any]
Track = Callable[[str, int], Advance]
"""Opens a bar of so many cases and returns what moves it on."""
Control = Literal["blank", "noise", "shuffled", "flipped", "blurred", "shifted", "text-only"]
ANSWERERS = ("alone", "whole", "random", "majority", "truth")
"""The generalist alone, the whole consilium, and stand-ins of known skill."""


class BadEvaluation(ConsiliumError, ValueError):
    """What was asked to be measured does not exist; the message says what does."""


@dataclass(frozen=True)
class Config:
    """Measure generalist, specialists and their collaboration on the same labeled cases."""

    data: Path | None = None
    """Data folder: one folder a set, each with records.jsonl; with --benchmark the folder of its official files."""
    out: Path | None = None
    """File the figures are written to (JSON)."""
    split: str = "test"
    """Split of the records that is measured; each reading of test is noted beside the figures."""
    sets: str = ""
    """Names of sets, separated by commas; empty takes every set whose labels equal a domain's."""
    arms: str = ""
    """Names of arms, separated by commas, "all" or "none"; empty takes all, or none where tasks are asked."""
    tasks: str = ""
    """Names of tasks, separated by commas, or "all"."""
    benchmark: str = ""
    """Name of a public benchmark; its questions are asked instead of the data's."""
    answerers: str = "alone,random,majority"
    """Who is asked tasks and benchmarks: alone (the generalist), whole (the consilium), random, majority, truth."""
    judge: str | None = None
    """Another model, named as --model names one, that reads open answers in words; its figure stands apart."""
    model: str | None = None
    """Generalist: a path, a hub id or the URL of a server; left out, the one that ships."""
    limit: int | None = None
    """Most cases of a set, and most questions of a task about it, drawn by the seed."""
    question: str = "What is the most likely diagnosis?"
    """Question that the generalist is asked for a diagnosis."""
    shuffle_evidence: bool = False
    """Control: every case gets the evidence of another one."""
    conditions: str = ""
    """Families of changed evidence to decide under too: leave_one_out, k, order, wrong, damaged, or all."""
    control: Control | None = None
    """Control: what the generalist sees instead of the image; specialists still see the image."""
    triage: bool = False
    """Measure too how often the kind of image is recognized."""
    fitted: Path | None = None
    """What `consilium calibrate` wrote; left out, what ships, and never the user's own: figures can be repeated."""
    best_by: Path | None = None
    """Figures (JSON of this command) of another split: the part that is best there is compared, too, so that these
    cases do not choose whom GSCo is measured against."""
    fit_arbiter: bool = False
    """Fit the arbiter on the split's cases instead of measuring; refuses the test split."""
    seed: int = 0
    """Seed of resamples, draws and controls."""
    log: Path | None = None
    """File that gets every answer, one JSON object a case."""
    html: Path | None = None
    """File that gets the figures as a page with tables and plots; it needs no other file."""
    cache: Path | None = None
    """Folder that remembers answers, so that what was stopped goes on and what was asked is not asked again."""
    read: Path | None = None
    """Figures measured before, for --html alone: nothing is measured."""

    @property
    def folder(self) -> Path:
        """The data folder, once it is known to be given."""
        assert self.data is not None
        return self.data

    def wanted_sets(self, known: Iterable[str]) -> list[str]:
        """Return the chosen sets, or all; raises BadEvaluation for an unknown one."""
        return chosen("set", self.sets or "all", known)

    def asked_answerers(self) -> list[str]:
        """Return who is asked tasks and benchmarks; raises BadEvaluation for an unknown one."""
        return chosen("answerer", self.answerers, ANSWERERS)

    def settings(self) -> dict[str, Any]:
        """Return what was measured, for the file of figures."""
        return {"command": self.command(), "split": self.split, "seed": self.seed, "question": self.question,
                "shuffle_evidence": self.shuffle_evidence, "control": self.control, "limit": self.limit}

    def command(self) -> str:
        """Return the command that measures the same, folders and files by their last name alone."""
        words = ["consilium evaluate"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name not in ("cache", "html"):  # neither changes a figure
                flag = "--" + field.name.replace("_", "-")
                is_file = isinstance(value, Path) or _is_folder(value)
                shown = shlex.quote(Path(value).name if is_file else str(value))
                words.append(flag if value is True else f"{flag} {shown}")
        return " ".join(words)


def split_names(text: str) -> list[str]:
    """Return the names in a comma-separated text, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def chosen(what: str, text: str, known: Iterable[str]) -> list[str]:
    """Return the names in a text in the order known, "all" for each; raises BadEvaluation naming what exists."""
    known, named = list(known), split_names(text)
    if named == ["all"]:
        return known
    check_names(what, named, known)
    return [name for name in known if name in named]


def check_names(what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Raise BadEvaluation naming the first unknown name and what exists."""
    known = list(known)
    for name in wanted:
        if name not in known:
            raise BadEvaluation(f"No {what} named {name!r}. Known: {', '.join(known) or 'none'}.")


def _is_folder(value: object) -> bool:
    return isinstance(value, str) and "://" not in value and Path(value).is_absolute()
