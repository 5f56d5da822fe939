"""How long a training may still take, one that is taken up again too."""

from __future__ import annotations

from types import SimpleNamespace

from specialists.own import progress


def test_epochs_of_an_earlier_session_are_not_taken_for_fast_ones(monkeypatch):
    clock = iter((100.0, 120.0))
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    told: list[str] = []
    training = progress.Training({("small_cnn", "whole"): 10}, {"small_cnn": 20}, told.append)
    hear = training.of("small_cnn")
    hear("whole", 9, 0.5)  # the tenth of twenty epochs is the first one heard of
    assert told == ["small_cnn, whole: epoch 10 of 20, loss 0.500; 50 % done"]
    hear("whole", 10, 0.4)
    assert told[-1].endswith("55 % done; about 3 min left")
