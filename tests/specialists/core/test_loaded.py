"""What stands loaded: made once under concurrent asks, let go by a budget, made again in another version."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from specialists.core.loaded import Loaded


@dataclass(frozen=True, eq=False)
class Thing:
    """Something of a size."""

    nbytes: int


def test_the_least_recently_used_goes_when_the_budget_is_full():
    loaded = Loaded(100)
    first = loaded.get("a", 1, lambda: Thing(40))
    loaded.get("b", 1, lambda: Thing(40))
    assert loaded.get("a", 1, lambda: Thing(1)) is first
    loaded.get("c", 1, lambda: Thing(40))
    assert ["a" in loaded, "b" in loaded, "c" in loaded] == [True, False, True]
    assert loaded.nbytes == 80


def test_one_larger_than_the_budget_stays_until_the_next():
    loaded = Loaded(10)
    large = loaded.get("large", 1, lambda: Thing(99))
    assert loaded.get("large", 1, lambda: Thing(1)) is large
    loaded.get("small", 1, lambda: Thing(5))
    assert ["large" in loaded, "small" in loaded] == [False, True]


def test_another_budget_holds_at_once():
    loaded = Loaded(100)
    for name in "abc":
        loaded.get(name, 1, lambda: Thing(30))
    loaded.resize(60)
    assert ["a" in loaded, "b" in loaded, "c" in loaded] == [False, True, True]
    loaded.clear()
    assert loaded.nbytes == 0


def test_another_version_takes_the_place_of_the_old():
    loaded = Loaded(100)
    old = loaded.get("a", 1, lambda: Thing(30))
    new = loaded.get("a", 2, lambda: Thing(20))
    assert new is not old
    assert loaded.nbytes == 20


def test_threads_that_ask_at_once_get_one_that_is_made_once():
    loaded, made = Loaded(100), []
    ready = threading.Barrier(8)

    def make() -> Thing:
        time.sleep(0.05)
        made.append(Thing(10))
        return made[-1]

    def ask(_: int) -> Thing:
        ready.wait(5)
        return loaded.get("a", 1, make)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert all(one is made[0] for one in found)


def test_different_ones_are_made_side_by_side():
    loaded, both = Loaded(100), threading.Barrier(2)

    def make() -> Thing:
        both.wait(5)  # passes only when the other is being made too
        return Thing(10)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda key: loaded.get(key, 1, make), "ab"))
    assert found[0] is not found[1]


def test_a_failure_is_raised_and_not_kept():
    loaded = Loaded(100)

    def fail() -> Thing:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        loaded.get("a", 1, fail)
    assert "a" not in loaded
    assert loaded.get("a", 1, lambda: Thing(10)).nbytes == 10
