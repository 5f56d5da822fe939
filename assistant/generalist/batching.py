"""What is asked at the same time is answered together: a queue before anything that is faster on several at once.

A closed batch (`ask`) begins and ends as one: while it runs the next gathers, and those that it answered are waited
for a moment, for clients come again. An open one (`enter`) takes in what comes while it runs, and lets closed ones in
between. It knows neither models nor texts.
"""

from __future__ import annotations

import atexit
import functools
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

LEFT: ContextVar[Future[None] | None] = ContextVar("left", default=None)
"""Done once nobody waits any more for what is asked in this context; None where somebody always does."""
LINGER_S = 1.0
"""How long the thread waits for work before it ends; a new one would have memory of its own to warm up."""
END_S = 10.0
"""How long the program's end waits for what still runs."""
PATIENCE = 0.25
"""How long a batch waits for those that the last one answered, as a share of the time that that one took."""


More = Callable[[int], list[Any]]
"""Takes in jobs that came for an open batch meanwhile, at most so many; none while a job of another key is older.

Raises CancelledError when the batch is to end, its jobs as they are.
"""


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    key: Hashable
    job: Job
    run: Callable[..., Any]
    call: object
    """Shared by the jobs that one caller asked at once."""
    open: bool = False
    done: Future[Result] = field(default_factory=Future)


@dataclass(frozen=True)
class _Ran:
    """The last batch."""

    key: Hashable = None
    wanted: int = 0
    """Jobs that were waiting when it ended, and callers that it answered: they may come again."""
    until: float = 0.0
    """Until when they are waited for."""


class Gathering:
    """Runs jobs of equal keys together, at most `most` of them, the oldest first; one batch at a time.

    Its thread lives while there is work, and a moment longer. What a batch raises, every job of it raises; a job whose
    asker has left (`LEFT`) before it ran is dropped, and raises CancelledError.
    """

    def __init__(self, most: int, beside: Callable[[Any, Any], bool] = lambda running, waiting: False) -> None:
        """Start no thread yet; `beside` tells by their keys whether a closed batch may run within an open one."""
        self.most, self._beside = most, beside
        self.rows: list[int] = []
        """How many jobs the last batches had, newest last."""
        self._more = threading.Condition()
        self._waiting: list[_Waiting[Any, Any]] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._ran = _Ran()
        _gatherings.add(self)

    def ask(self, jobs: Sequence[tuple[Hashable, Job]], run: Callable[[list[Job]], Sequence[Result]]) -> list[Result]:
        """Return the result of each (key, job); `run` gets jobs of one key, those of other callers too."""
        return [done.result() for done in self.submit(jobs, run)]

    def submit(self, jobs: Sequence[tuple[Hashable, Job]], run: Callable[[list[Job]], Sequence[Result]]
               ) -> list[Future[Result]]:
        """Queue the jobs, all at once, and return where their results will stand."""
        call = object()
        waiting: list[_Waiting[Job, Result]] = [_Waiting(key, job, run, call) for key, job in jobs]
        self._queue(waiting)
        return [one.done for one in waiting]

    def enter(self, jobs: Sequence[tuple[Hashable, Job]], run: Callable[[list[Job], More], None]) -> None:
        """Queue the jobs for an open batch; `run` gets those of one key, and what takes in more of it.

        Each job tells its own end and its own fault: `run` raises nothing.
        """
        call = object()
        self._queue([_Waiting(key, job, run, call, open=True) for key, job in jobs])

    def _queue(self, waiting: Sequence[_Waiting[Any, Any]]) -> None:
        with self._more:
            if self._closed:
                raise CancelledError("The program is ending.")
            self._waiting += waiting
            self._more.notify_all()
            if waiting and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gathering", daemon=True)
                self._thread.start()
        if (left := LEFT.get()) is not None:
            left.add_done_callback(lambda _: self._drop(waiting))

    def close(self, wait_s: float) -> None:
        """Take no more jobs, drop those that wait, end an open batch, and wait for what runs."""
        with self._more:
            self._closed, thread = True, self._thread
            dropped, self._waiting = self._waiting, []
            self._more.notify_all()
        for one in dropped:
            one.done.cancel()
        if thread is not None:
            thread.join(wait_s)

    def _drop(self, jobs: Sequence[_Waiting[Any, Any]]) -> None:
        """Take out the jobs that do not run yet."""
        with self._more:
            dropped = {id(one) for one in jobs if one.done.cancel()}
            self._waiting = [one for one in self._waiting if id(one) not in dropped]
            self._more.notify_all()

    def _work(self) -> None:
        while batch := self._next():
            if batch[0].open:
                self._ran = _Ran()
                _open(batch, functools.partial(self._joining, batch[0].key))
            else:
                began = time.monotonic()
                _close(batch)
                self._end(batch, began)

    def _end(self, batch: Sequence[_Waiting[Any, Any]], began: float) -> None:
        now, key = time.monotonic(), batch[0].key
        with self._more:
            waiting = [one for one in self._waiting if one.key == key]
            answered = {id(one.call) for one in batch} - {id(one.call) for one in waiting}
            self._ran = _Ran(key, len(waiting) + len(answered), now + PATIENCE * (now - began))

    def _next(self) -> list[_Waiting[Any, Any]]:
        """Take the oldest job and those like it; with none left the thread ends."""
        with self._more:
            self._more.wait_for(lambda: bool(self._waiting) or self._closed, LINGER_S)
            self._wait()
            if not self._waiting:
                self._thread = None
                return []
            return self._taken(self.most, 0)

    def _joining(self, key: Hashable, room: int) -> list[Any]:
        """Return jobs of an open batch's key, at most `room`; a closed batch whose turn it is runs first, but only one.
        """
        with self._more:
            first = self._waiting[0] if self._waiting and not self._closed else None
            between = (self._taken(self.most, 0) if first is not None and not first.open and first.key != key
                       and self._beside(key, first.key) else [])
        if between:
            _close(between)
        with self._more:
            if self._closed:
                raise CancelledError("The program is ending.")
            if room < 1 or not self._waiting or self._waiting[0].key != key:
                return []
            return [one.job for one in self._taken(room, self.most - room)]

    def _taken(self, room: int, running: int) -> list[_Waiting[Any, Any]]:
        """Take the oldest job and those like it, at most `room`, to run with others that do."""
        batch = self._like()[:room]
        taken = set(map(id, batch))
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        for one in batch:
            one.done.set_running_or_notify_cancel()
        self.rows = [*self.rows[-63:], running + len(batch)]
        return batch

    def _wait(self) -> None:
        """Wait a moment for those that the last batch answered."""
        ran = self._ran
        while (like := self._like()) and like[0].key == ran.key and len(like) < min(ran.wanted, self.most):
            if not self._more.wait(max(0.0, ran.until - time.monotonic())):
                return

    def _like(self) -> list[_Waiting[Any, Any]]:
        return [one for one in self._waiting if one.key == self._waiting[0].key]


def _close(batch: Sequence[_Waiting[Any, Any]]) -> None:
    """Run a closed batch."""
    try:
        results = batch[0].run([one.job for one in batch])
        for one, result in zip(batch, results, strict=True):
            one.done.set_result(result)
    except BaseException as fault:  # noqa: BLE001 it is raised again where the results are read
        for one in batch:
            if not one.done.done():
                one.done.set_exception(fault)


def _open(batch: list[_Waiting[Any, Any]], more: More) -> None:
    """Run an open batch; jobs that end long before it are not held."""
    run, jobs = batch[0].run, [one.job for one in batch]
    batch.clear()
    run(jobs, more)


_gatherings: weakref.WeakSet[Gathering] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End what still runs: the interpreter's end would stop its thread inside PyTorch, which aborts the process."""
    until = time.monotonic() + END_S
    for gathering in list(_gatherings):
        gathering.close(max(0.0, until - time.monotonic()))
