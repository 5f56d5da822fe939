"""A reply written among others that come and go is the one that it is alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from assistant.errors import GeneralistError
from assistant.generalist import rolling
from assistant.generalist.batching import Gathering, More
from assistant.generalist.decoding import Writing
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.open import NANO
from assistant.generalist.rolling import Rolling, rolls
from tests.assistant.server.test_app import data_url
from tests.families import FAMILIES, checkpoint

MOST = [5, 12, 1, 9, 14, 7, 3, 10]


def asked(number: int) -> list[dict[str, Any]]:
    """Return a question about an image of its own, every third without one, of a length of its own."""
    shown = [{"type": "image_url", "image_url": {"url": data_url(25 * number)}}] if number % 3 else []
    return [{"role": "user", "content": [*shown, {"type": "text", "text": "glioma " * (number % 4) + "Which?"}]}]


def opened(family: str, folder: Path) -> LocalGeneralist:
    generalist = LocalGeneralist(NANO if family == "nano" else checkpoint(family, folder / "model"), device="cpu")
    generalist.ready()
    return generalist


def generated(generalist: LocalGeneralist, number: int) -> list[int]:
    """Return what transformers itself writes, without the token that ends it."""
    model, row = generalist.load()[0], generalist._row(asked(number))
    settings = generalist._settings({"max_tokens": MOST[number]})
    with torch.inference_mode():
        ids = model.generate(**row, generation_config=settings)[0, row["input_ids"].shape[1]:].tolist()
    return [token for token in ids if token not in settings.eos_token_id]


def writings(generalist: LocalGeneralist, numbers: Sequence[int]) -> list[Writing]:
    return [Writing(generalist._row(asked(number)), MOST[number]) for number in numbers]


def made(generalist: LocalGeneralist) -> Rolling:
    return Rolling(generalist.load()[0], generalist.load()[1].tokenizer, generalist._stops(), generalist._joined)


@pytest.mark.parametrize("family", [*sorted(FAMILIES.keys() - {"gemma3"}), "nano"])
def test_replies_that_come_later_are_those_of_transformers(family: str, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "PAUSE", 2)
    generalist = opened(family, tmp_path)
    assert rolls(generalist.load()[0], generalist._settings({}))
    replies = writings(generalist, range(8))
    coming, rooms = [replies[3:5], replies[5:6], replies[6:8]], []

    def more(room: int) -> list[Writing]:
        rooms.append(room)
        return coming.pop(0) if coming else []
    with torch.inference_mode():
        assert made(generalist).run(replies[:3], 16, more) == []
    assert [reply.ids for reply in replies] == [generated(generalist, number) for number in range(8)]
    assert all(reply.over and reply.fault is None for reply in replies)
    assert not coming
    assert min(rooms) < 15, "they were written one after the other"


def test_a_model_with_a_sliding_window_writes_as_transformers_does(tmp_path: Path) -> None:
    generalist = opened("gemma3", tmp_path)
    replies = writings(generalist, [0, 1])
    with torch.inference_mode():
        assert made(generalist).run(list(replies), 16, lambda _: []) == replies
    assert not any(reply.ids for reply in replies)
    tokenizer = generalist.load()[1].tokenizer
    for number in (0, 1):
        said = generalist.invoke(asked(number), max_tokens=MOST[number]).content  # type: ignore[arg-type]
        assert said == tokenizer.decode(generated(generalist, number), skip_special_tokens=True).strip()
    assert not generalist._weights.rolls


def test_rows_that_are_over_are_computed_no_more(tmp_path: Path) -> None:
    generalist = opened("qwen3_vl", tmp_path)
    whole = generated(generalist, 3)
    model, replies, rows = generalist.load()[0], writings(generalist, [4, 1, 3]), []

    def count(_: Any, __: Any, given: dict[str, Any]) -> None:
        rows.append(tuple(given["input_ids"].shape))
        if len(rows) == 4:
            replies[0].leave()
    model.register_forward_pre_hook(count, with_kwargs=True)
    with torch.inference_mode():
        made(generalist).run(list(replies), 16, lambda _: [])
    assert rows[0][0] == 3
    assert rows[0][1] > 1
    assert all(shape[1] == 1 for shape in rows[1:])
    lasting = [4, replies[1].made, replies[2].made]     # the first left while its fourth token was made
    assert [shape[0] for shape in rows] == [sum(most > step for most in lasting) for step in range(max(lasting))]
    with pytest.raises(CancelledError):
        list(replies[0].pieces())
    assert replies[2].ids == whole


def test_a_fault_ends_those_that_are_written_and_no_others(tmp_path: Path) -> None:
    generalist = opened("qwen3_vl", tmp_path)
    model, coming = generalist.load()[0], [[], writings(generalist, [3])]
    broken, later, whole = writings(generalist, [1, 4]), coming[1][0], generated(generalist, 3)
    forward, runs = model.forward, []

    def failing(**given: Any) -> Any:
        runs.append(1)
        if len(runs) == 3:
            raise RuntimeError("no memory")
        return forward(**given)
    model.forward = failing
    with torch.inference_mode():
        assert made(generalist).run(list(broken), 16, lambda _: coming.pop() if coming else []) == []
    for reply in broken:
        with pytest.raises(GeneralistError, match="stopped: no memory"):
            list(reply.pieces())
    assert later.fault is None
    assert later.ids == whole


def test_a_model_that_keeps_more_than_keys_and_values_writes_as_transformers_does(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generalist = opened("qwen3_vl", tmp_path)
    monkeypatch.setattr(rolling, "_plain", lambda *_: False)
    replies = generalist.reply_many([asked(1), asked(3)], max_tokens=6)
    assert not generalist._weights.rolls
    monkeypatch.undo()
    generalist._weights.rolls = True
    assert [reply.content for reply in replies] == [generalist.invoke(asked(n), max_tokens=6).content for n in (1, 3)]  # type: ignore[arg-type]
    assert generalist._weights.rolls


def test_settings_of_a_checkpoint_that_change_the_likeliest_token_are_kept(tmp_path: Path) -> None:
    generalist = opened("qwen3_vl", tmp_path)
    model = generalist.load()[0]
    plain = str(generalist.invoke(asked(1), max_tokens=20).content)  # type: ignore[arg-type]
    while generalist._gathering._thread:      # the batch that was written is still open
        time.sleep(0.001)
    model.generation_config.repetition_penalty = 5.0
    assert not rolls(model, generalist._settings({}))
    other = str(generalist.invoke(asked(1), max_tokens=20).content)  # type: ignore[arg-type]
    row = generalist._row(asked(1))
    with torch.inference_mode():
        ids = model.generate(**row, generation_config=generalist._settings({"max_tokens": 20}))[0]
    said = generalist.load()[1].tokenizer.decode(ids[row["input_ids"].shape[1]:], skip_special_tokens=True)
    assert other == said.strip() != plain
    assert not rolls(model, generalist._settings({"temperature": 1.0}))


def test_an_open_batch_takes_in_what_comes_until_another_has_waited_longer() -> None:
    gathering, first, last = Gathering(4), threading.Event(), threading.Event()
    taken: list[list[Any]] = []

    def run(jobs: list[Any], more: More) -> None:
        taken.append(jobs)
        assert first.wait(10)
        taken.extend([more(4 - len(jobs)), more(0), more(1), more(4)])
        last.set()
    gathering.enter([("a", 1)], run)
    while gathering._waiting:
        first.wait(0.001)
    gathering.enter([("a", 2), ("a", 3)], run)
    scores = gathering.submit([("b", 4)], lambda jobs: jobs)
    gathering.enter([("a", 5)], run)
    first.set()
    assert last.wait(10)
    assert scores[0].result(10) == 4
    assert gathering.ask([("b", 6)], lambda jobs: jobs) == [6]
    assert taken == [[1], [2, 3, 5], [], [], []]
    assert gathering.rows == [1, 4, 1, 1]


def test_threads_get_their_own_replies(tmp_path: Path) -> None:
    generalist = opened("qwen3_vl", tmp_path)
    tokenizer = generalist.load()[1].tokenizer
    alone = [tokenizer.decode(generated(generalist, n), skip_special_tokens=True).strip() for n in range(8)]
    generalist._gathering.rows.clear()
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda n: generalist.invoke(asked(n % 8), max_tokens=MOST[n % 8]).content, range(32)))  # type: ignore[arg-type]
    assert said == 4 * alone
    assert max(generalist._gathering.rows) > 1


def test_a_batch_that_is_to_end_ends_its_replies(tmp_path: Path) -> None:
    generalist = opened("qwen3_vl", tmp_path)
    replies = writings(generalist, [1, 3])

    def ended(room: int) -> list[Any]:
        raise CancelledError("The program is ending.")
    with torch.inference_mode():
        assert made(generalist).run(list(replies), 16, ended) == []
    for reply in replies:
        assert reply.over
        assert reply.made < reply.most
        with pytest.raises(CancelledError):
            list(reply.pieces())
