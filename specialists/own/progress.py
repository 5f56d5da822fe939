"""How far a training is and how long it may still take: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from specialists.training.runs import Told

COST = {"small_cnn": 1.0, "residual": 2.8, "hybrid": 3.0}
"""Time of an image and epoch, measured relative to the smallest net; of others USUAL is guessed."""
USUAL = 2.0
EVERY = 0.05
"""A line after each such part of the work."""

Fit = tuple[str, str]
"""Method and part of its run."""


def say(line: str) -> None:
    """Write a line for the user."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Training:
    """Counts the work of several fits, each of so many epochs of so many images."""

    def __init__(self, images: Mapping[Fit, int], epochs: Mapping[str, int], tell: Callable[[str], None]) -> None:
        """Take the images of each fit, in order, and the epochs of each method."""
        self.epochs = epochs
        self.work = {fit: count * epochs[fit[0]] * COST.get(fit[0], USUAL) for fit, count in images.items()}
        self.done = dict.fromkeys(self.work, 0.0)
        self.tell = tell
        self.told_at = 0.0
        self.started: tuple[float, float] | None = None
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(),
                   TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}"))
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.bar.add_task("training", total=1.0, left="") if self.bar else None

    def __enter__(self) -> Training:
        """Show the bar."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()

    def finished(self, method: str) -> None:
        """Count a method's fits as done."""
        self.done |= {fit: 1.0 for fit in self.done if fit[0] == method}

    def of(self, method: str) -> Told:
        """Return what hears of the epochs of a method's run."""
        def told(part: str, epoch: int, loss: float) -> None:
            for fit in self.done:
                if fit == (method, part):
                    break
                self.done[fit] = 1.0  # what stands before it was done in an earlier session
            self.done[method, part] = (epoch + 1) / self.epochs[method]
            if self.started is None:  # the first epoch heard of is not timed, nor those an earlier session did
                self.started = time.perf_counter(), self._share()
            self._show(f"{method}, {part}: epoch {epoch + 1} of {self.epochs[method]}, loss {loss:.3f}")
        return told

    def _share(self) -> float:
        return sum(self.work[fit] * part for fit, part in self.done.items()) / sum(self.work.values())

    def left(self) -> str:
        """Say how long the rest may take; nothing before an epoch was timed."""
        share = self._share()
        if self.started is None or not self.started[1] < share < 1:
            return ""
        seconds = (time.perf_counter() - self.started[0]) * (1 - share) / (share - self.started[1])
        return f"about {spell(seconds)} left"

    def _show(self, words: str) -> None:
        share = self._share()
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=share, description=words, left=self.left())
        elif share - self.told_at >= EVERY or share >= 1:
            self.told_at = share
            self.tell("; ".join(part for part in (words, f"{100 * share:.0f} % done", self.left()) if part))


def spell(seconds: float) -> str:
    """Return a time in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
