"""The batch in one process: several images under way at once, a part of the file after each block of them.

It reads no flags and knows no Ray; `read` is what a worker of any engine does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from assistant.assistant import Assistant, posed
from assistant.batch.results import Results, Row, answered, failed
from assistant.batch.sources import Item, items, named_by_image
from assistant.errors import ConsiliumError, ServerUnreachable, place
from assistant.steps import Collaboration, Style
from specialists.core.errors import SpecialistsError
from specialists.core.study import read_study

log = logging.getLogger(__name__)

BLOCK = 64
"""Images of one part of the file: what a cut costs at most, and what is in memory as rows."""


@dataclass(frozen=True)
class Plan:
    """What is asked of all images, and of whom."""

    question: str
    options: tuple[str, ...] | None = None
    collaboration: Collaboration = "full"
    style: Style = "calibrated"
    without: tuple[str, ...] = ()
    model: str | None = None
    adapter: str | None = None
    texts: Path | None = None
    fitted: Path | None = None
    kind: str | None = None
    threads: int = field(default=8, compare=False)
    """Images under way at once in one process; the generalist and the specialists answer them together."""

    def settings(self, source: Path) -> dict[str, Any]:
        """Return what answers, and the ids of their images, depend on, as JSON."""
        told = {name: value for name, value in asdict(self).items() if name != "threads"}
        told["source"] = source.resolve()
        if named_by_image(source):      # rows had their numbers as ids once: such a file is another one
            told["ids"] = "image"
        return {**told, **{name: str(path) for name, path in told.items() if isinstance(path, Path)}}

    def check(self) -> None:
        """Raise BadQuestion for what no image can be asked; what a row asks itself is not seen here."""
        blank = read_study(np.zeros((8, 8), np.uint8))
        how: Any = {"options": self.options, "collaboration": self.collaboration, "style": self.style,
                    "without": self.without, "kind": self.kind}
        posed(self.question or "?", (blank,), how)

    def open(self) -> Assistant:
        """Return the assistant that answers."""
        adapters = {"adapter": self.adapter} if self.adapter else None
        assistant = Assistant(self.model, texts=self.texts, adapters=adapters).with_fit(self.fitted)
        return assistant.skilled("adapter") if self.adapter else assistant


Done = Callable[[Sequence[Row]], object]
"""Is told the rows of each block once they are written."""


def run(plan: Plan, source: Path, results: Results, done: Done, assistant: Assistant | None = None) -> None:
    """Ask about each image of the source that has no row yet; raises ServerUnreachable, which a later run mends."""
    reader = assistant or plan.open()
    for block in blocks(source, results.done):
        rows = read(reader, plan, block)
        results.add(rows)
        done(rows)


def blocks(source: Path, known: set[str]) -> Iterator[list[Item]]:
    """Yield the items that are not yet done, some at a time."""
    waiting = (item for item in items(source) if item.id not in known)
    while block := list(islice(waiting, BLOCK)):
        yield block


def read(assistant: Assistant, plan: Plan, block: Sequence[Item]) -> list[Row]:
    """Return the rows of some images, in their order; raises ServerUnreachable, all else is an error in a row."""
    pool = ThreadPoolExecutor(plan.threads, thread_name_prefix="batch")
    try:
        return list(pool.map(partial(_one, assistant, plan), block))
    finally:
        pool.shutdown(cancel_futures=True)


def _one(assistant: Assistant, plan: Plan, item: Item) -> Row:
    question = item.question or plan.question
    how: Mapping[str, Any] = {"options": item.options or plan.options, "collaboration": plan.collaboration,
                              "style": plan.style, "without": plan.without, "patient": item.patient,
                              "kind": item.kind or plan.kind}
    try:
        return answered(item, question, assistant.ask(item.path, question, **how))
    except ServerUnreachable:
        raise
    except (ConsiliumError, SpecialistsError) as fault:
        return failed(item, question, fault)
    except Exception as fault:  # noqa: BLE001 - one image must not end a night's work
        log.warning("An image of the batch failed: %s", place(fault))
        return failed(item, question, fault)
