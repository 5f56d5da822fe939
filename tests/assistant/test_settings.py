"""What commands settle before they load anything."""

from __future__ import annotations

import os

import pytest

from assistant.settings import leave_a_core


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (8, "7"), (None, "1")])
def test_a_core_is_left_to_what_reads_requests(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    leave_a_core()
    assert os.environ["OMP_NUM_THREADS"] == threads


def test_who_names_a_number_of_threads_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    leave_a_core()
    assert os.environ["OMP_NUM_THREADS"] == "3"
