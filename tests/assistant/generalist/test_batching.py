"""What is asked together runs together, and comes out as if it had been asked alone."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from assistant.errors import BadQuestion
from assistant.generalist import batching
from assistant.generalist.batching import LEFT, Gathering
from assistant.generalist.local import LocalGeneralist
from tests.assistant.server.test_app import data_url
from tests.fakes import tiny_qwen3vl


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not what():
        assert time.monotonic() < until
        time.sleep(0.001)


@contextmanager
def leaving() -> Iterator[Future[None]]:
    """Ask as somebody who may leave."""
    left: Future[None] = Future()
    token = LEFT.set(left)
    try:
        yield left
    finally:
        LEFT.reset(token)


def test_jobs_gather_while_one_runs() -> None:
    gathering, go = Gathering(3), threading.Event()
    batches: list[list[int]] = []

    def run(jobs: list[int]) -> list[int]:
        assert go.wait(10)
        batches.append(jobs)
        return [job * 10 for job in jobs]
    first = gathering.submit([("a", 0)], run)
    wait_for(lambda: not gathering._waiting)
    rest = gathering.submit([("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5)], run)
    go.set()
    assert [done.result(10) for done in [*first, *rest]] == [0, 10, 20, 30, 40, 50]
    assert batches == [[0], [1, 3, 4], [2], [5]]
    assert gathering.rows == [1, 3, 1, 1]
    wait_for(lambda: gathering._thread is None)
    assert not any(thread.name == "gathering" and thread.is_alive() for thread in threading.enumerate())


def test_what_a_batch_raises_all_its_jobs_raise_and_the_next_goes_on() -> None:
    gathering = Gathering(8)

    def broken(jobs: list[int]) -> list[int]:
        raise ValueError("no")
    for done in gathering.submit([("a", 1), ("a", 2)], broken):
        with pytest.raises(ValueError, match="no"):
            done.result(10)
    assert gathering.ask([("a", 1)], lambda jobs: jobs) == [1]


def test_those_who_were_answered_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients that ask again and again share a batch, and need not take turns."""
    monkeypatch.setattr(batching, "PATIENCE", 100.0)
    gathering, go = Gathering(8), threading.Event()

    def run(jobs: list[int]) -> list[int]:
        assert go.wait(10)
        time.sleep(0.01)
        return jobs
    first = gathering.submit([("a", 1)], run)
    wait_for(lambda: not gathering._waiting)
    gathering.submit([("a", 2)], run)
    go.set()
    assert first[0].result(10) == 1
    assert gathering.ask([("a", 3)], run) == [3]
    assert gathering.rows == [1, 2]
    assert gathering.ask([("b", 4)], run) == [4], "another's question is not held up"
    assert gathering.ask([("b", 5)], run) == [5], "one client waits for nobody"
    assert gathering.rows == [1, 2, 1, 1]


def test_the_rest_of_a_callers_jobs_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PATIENCE", 1000.0)
    gathering = Gathering(4)

    def run(jobs: list[int]) -> list[int]:
        time.sleep(0.05)
        return jobs
    began = time.monotonic()
    assert gathering.ask([("a", i) for i in range(6)], run) == list(range(6))
    assert gathering.rows == [4, 2]
    assert time.monotonic() - began < 20


def test_a_job_is_dropped_when_its_asker_leaves() -> None:
    gathering, go = Gathering(8), threading.Event()
    ran: list[int] = []

    def run(jobs: list[int]) -> list[int]:
        assert go.wait(10)
        ran.extend(jobs)
        return jobs
    first = gathering.submit([("a", 1)], run)
    wait_for(lambda: not gathering._waiting)
    with leaving() as left:
        dropped, = gathering.submit([("a", 2)], run)
    stays, = gathering.submit([("a", 3)], run)
    left.set_result(None)
    with pytest.raises(CancelledError):     # at once: the first still runs
        dropped.result(10)
    go.set()
    assert (first[0].result(10), stays.result(10)) == (1, 3)
    assert ran == [1, 3]


ENDS = """
import threading
from concurrent.futures import CancelledError
import torch
from assistant.generalist.batching import Gathering

began, x = threading.Event(), torch.randn(300, 300)

def closed(jobs):
    began.set()
    for _ in range(200):
        y = x @ x
    return jobs

def rolling(jobs, more):
    began.set()
    try:
        while True:
            y = x @ x
            more(1)
    except CancelledError:
        return

gathering = Gathering(4)
RUN
began.wait()
"""
"""A program that ends while its batch is inside PyTorch."""


@pytest.mark.parametrize("run", ['gathering.submit([("a", 1), ("b", 2)], closed)',
                                 'gathering.enter([("a", 1)], rolling)'])
def test_a_program_that_ends_first_ends_well(run: str) -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS.replace("RUN", run)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_closed_gathering_takes_no_more_jobs() -> None:
    gathering, go = Gathering(1), threading.Event()
    running, waiting = gathering.submit([("a", 1), ("a", 2)], lambda jobs: [go.wait(10) for _ in jobs])
    wait_for(running.running)
    gathering.close(0)
    go.set()
    assert running.result(10) is True
    assert waiting.cancelled()
    with pytest.raises(CancelledError):
        gathering.submit([("a", 3)], lambda jobs: jobs)


@pytest.fixture(scope="module")
def generalist(tmp_path_factory: pytest.TempPathFactory) -> LocalGeneralist:
    return LocalGeneralist(tiny_qwen3vl(tmp_path_factory.mktemp("model") / "tiny"), max_new_tokens=12)


def asked(number: int) -> list[dict[str, Any]]:
    """Return a conversation about an image of its own, of a length of its own."""
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(20 * number)}},
                                         {"type": "text", "text": "glioma " * number + "Which?"}]}]


def streamed(generalist: LocalGeneralist, number: int) -> str:
    """Return the text of a stream."""
    return "".join(str(chunk.content) for chunk in generalist.stream(asked(number), max_tokens=4 + number))


def test_threads_get_what_they_would_get_alone(generalist: LocalGeneralist) -> None:
    letters = ["A", "B", "C"]
    alone = [(streamed(generalist, n), generalist.score(asked(n), letters)) for n in range(8)]
    assert len({text for text, _ in alone}) > 4, "the test's model says the same of everything"
    generalist._gathering.rows.clear()
    with ThreadPoolExecutor(16) as pool:
        texts = pool.map(lambda n: streamed(generalist, n), range(8))
        scores = pool.map(lambda n: generalist.score(asked(n), letters), range(8))
        together = list(zip(texts, scores, strict=True))
    assert max(generalist._gathering.rows) > 1
    for (text, score), (was, before) in zip(together, alone, strict=True):
        assert text == was
        assert score == pytest.approx(before, abs=1e-4)


def test_a_reader_that_leaves_ends_its_row_alone(generalist: LocalGeneralist) -> None:
    long = {"max_tokens": 200}
    whole = streamed(generalist, 5)
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        leaving = generalist.stream(asked(3), **long)
        other = pool.submit(streamed, generalist, 5)
        next(leaving)
        leaving.close()
        assert other.result(30) == whole
    assert generalist.invoke(asked(1), max_tokens=1).usage_metadata is not None
    assert time.perf_counter() - began < 30


def test_a_reply_ends_at_its_next_token_when_its_asker_leaves(generalist: LocalGeneralist) -> None:
    """Also one whose text nobody sees before it is whole."""
    forward, steps = generalist.load()[0].forward, [0]

    with leaving() as left, pytest.MonkeyPatch.context() as patched:
        @functools.wraps(forward)
        def counted(*args: Any, **kwargs: Any) -> Any:
            steps[0] += 1
            if steps[0] == 5:
                left.set_result(None)
            return forward(*args, **kwargs)
        patched.setattr(generalist.load()[0], "forward", counted)
        with pytest.raises(CancelledError):
            generalist.invoke(asked(3), max_tokens=200)
        LEFT.set(None)
        assert generalist._gathering.ask([("after", 1)], lambda jobs: jobs) == [1], "the batch is over"
    assert 5 <= steps[0] <= 6, "it was written on"


def test_sampled_replies_depend_on_their_seed_alone(generalist: LocalGeneralist) -> None:
    def sample(seed: int) -> str:
        return str(generalist.invoke(asked(2), temperature=1.5, seed=seed).content)
    alone = [sample(seed) for seed in range(4)]
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sample, range(4))) == alone


def test_samples_of_many_are_of_their_own_seed_and_temperature(generalist: LocalGeneralist) -> None:
    def sample(seed: int) -> str:
        return str(generalist.reply_many([asked(2)], temperature=0.5 + seed / 2, seed=seed)[0].content)
    alone = [sample(seed) for seed in range(4)]
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sample, range(4))) == alone


def test_a_reply_keeps_to_a_schema(generalist: LocalGeneralist) -> None:
    form = {"type": "json_schema", "json_schema": {"schema": {"enum": ["left", "right"]}}}
    assert generalist.invoke(asked(1), response_format=form).content in ('"left"', '"right"')
    assert str(generalist.invoke(asked(1), response_format={"type": "json_object"}).content).startswith("{")
    with pytest.raises(BadQuestion, match="response_format"):
        generalist.invoke(asked(1), response_format={"type": "json_schema", "json_schema": {"schema": {"type": 7}}})


def test_a_closed_batch_runs_within_an_open_one_where_it_may() -> None:
    gathering, order = Gathering(4, lambda running, waiting: running[1] == waiting[1]), list[str]()
    held = threading.Event()

    def rolling(jobs: list[str], more: Callable[[int], list[str]]) -> None:
        assert held.wait(10)
        for _ in range(3):
            order.append("step")
            assert more(3) == []
    gathering.enter([(("reply", 1), "long")], rolling)
    wait_for(lambda: not gathering._waiting)

    def score(jobs: list[int]) -> list[int]:
        order.extend(["score"] * len(jobs))
        return jobs
    others = [gathering.submit([(("score", adapter), adapter)], score) for adapter in (1, 1, 2)]
    held.set()
    assert [done.result(10) for (done,) in others] == [1, 1, 2]
    assert order == ["step", "score", "score", "step", "step", "score"], "another adapter's waits"


def test_scores_beside_a_long_reply_are_those_alone(generalist: LocalGeneralist) -> None:
    letters = ["A", "B", "C"]
    alone, long = generalist.score(asked(1), letters), {"max_tokens": 400, "temperature": 0.0}
    whole = str(generalist.invoke(asked(3), **long).content)
    stream = generalist.stream(asked(3), **long)
    said = str(next(stream).content)
    assert generalist.score(asked(1), letters) == pytest.approx(alone, abs=1e-4)
    assert said + "".join(str(chunk.content) for chunk in stream) == whole


def test_samples_of_one_batch_are_those_alone(generalist: LocalGeneralist) -> None:
    how = {"temperature": 1.5, "top_p": 0.9, "max_tokens": 12}
    alone = [str(generalist.invoke(asked(n), seed=n, **how).content) for n in range(6)]
    assert len(set(alone)) > 3
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda n: str(generalist.invoke(asked(n), seed=n, **how).content), range(6))) == alone
