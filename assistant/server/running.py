"""Room for so many requests at once: their work in threads, a bounded queue before them, an end when time is up.

It knows nothing of what is asked or answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from assistant.generalist.batching import LEFT
from assistant.server.faults import CLIENT_LEFT, Busy, Ending
from assistant.server.metrics import Metrics

Item = TypeVar("Item")


@dataclass(frozen=True)
class Limits:
    """How much one server takes on."""

    body_bytes: int = 64 * 2**20
    """Largest body of a request; what is over is refused unread."""
    body_seconds: float = 60.0
    """Longest time that a body may take to arrive."""
    at_once: int = 16
    """Requests answered at the same time: the generalist answers them in one batch."""
    waiting: int = 64
    """Requests that wait for room; more are sent away with 429."""
    seconds: float = 300.0
    """Longest time of one answer, the wait for room included."""
    file_bytes: int = 512 * 2**20
    """Uploaded files of one key, together."""
    file_hours: float = 24.0
    """How long an uploaded file and a stored response are kept."""


class Room:
    """Where requests are answered: `at_once` threads, and a queue."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        """Start no thread yet."""
        self.limits, self.metrics = limits, metrics
        self._pool = ThreadPoolExecutor(limits.at_once, thread_name_prefix="question")
        self._lock = threading.Lock()
        self._inside = 0
        self._read_from: set[asyncio.Queue[Any]] = set()
        self._ended = False
        self._mean_s = 1.0
        metrics.watch(lambda: min(self._inside, limits.at_once), lambda: max(0, self._inside - limits.at_once))

    def close(self) -> None:
        """Take no more requests; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def end(self) -> None:
        """Raise Ending in every reader, once it has what is there already, and for whoever comes; for its event loop.
        """
        self._ended = True
        for queue in self._read_from:
            queue.put_nowait((None, Ending()))

    def steps(self, make: Callable[[], Iterator[Item]]) -> AsyncGenerator[Item]:
        """Return the items of a generator that lives in one thread from beginning to end; raises Busy and Ending.

        One thread, because SQLite's connections and LangChain's context do not move between threads. When the
        returned generator is closed, what the other asked of the generalist is dropped, and it is closed in its own
        thread. Raises TimeoutError where the items do not come in time.
        """
        if self._ended:
            raise Ending
        loop, left, queue = asyncio.get_running_loop(), Future(), asyncio.Queue()

        def put(item: Any) -> None:
            with contextlib.suppress(RuntimeError):     # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def run() -> None:
            if left.done():
                return
            began, token = time.perf_counter(), LEFT.set(left)
            try:
                for item in _until(left, make):
                    put((item, None))
                put((None, None))
            except BaseException as fault:  # noqa: BLE001 it is raised again where the items are read
                put((None, fault))
            finally:
                LEFT.reset(token)
            self._mean_s += 0.1 * (time.perf_counter() - began - self._mean_s)

        return self._read(queue, left, self._submit(run))

    def _submit(self, run: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._inside >= self.limits.at_once + self.limits.waiting:
                self.metrics.refused.labels("queue").inc()
                rounds = self._inside / self.limits.at_once
                raise Busy(f"{self._inside} requests are under way or wait; come again later.",
                           round(rounds * self._mean_s))
            self._inside += 1
        future = self._pool.submit(run)
        future.add_done_callback(self._left)
        return future

    def _left(self, _: Future[None]) -> None:
        with self._lock:
            self._inside -= 1

    async def _read(self, queue: asyncio.Queue[Any], left: Future[None], future: Future[None]
                    ) -> AsyncGenerator[Any]:
        until = asyncio.get_running_loop().time() + self.limits.seconds
        self._read_from.add(queue)
        try:
            while True:
                async with asyncio.timeout_at(until):
                    item, fault = await queue.get()
                if fault is not None:
                    raise fault
                if item is None:
                    return
                yield item
        finally:
            self._read_from.discard(queue)
            left.set_result(None)
            future.cancel()


def _until(left: Future[None], make: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    source = make()
    try:
        for item in source:
            if left.done():
                return
            yield item
    finally:
        if close := getattr(source, "close", None):
            close()


async def unless_gone(request: Request, work: Awaitable[Item]) -> Item:
    """Return what the work gives; a client that leaves meanwhile, even while it waits for room, ends the work."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HTTPException(CLIENT_LEFT, "The client has left.")
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
