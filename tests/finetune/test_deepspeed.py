"""Two processes tune on the CPU, by plain data parallelism and with DeepSpeed, and learn what one process learns.

Opt-in: `make test-deepspeed`. The first run compiles an operation of DeepSpeed, about a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

from assistant.generalist.open import open_generalist
from finetune.model import open_checkpoint, part_of
from instruct_data.records import Record, write
from tests.families import checkpoint

pytestmark = pytest.mark.deepspeed
ROOT = Path(__file__).parents[2]
COLORS = ("red", "green", "blue", "gray")
NEAR = 0.02
"""Of a loss that falls by more than 1: between 16 and 32 bits, and sums in another order."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, images, and eight conversations, two of them without one; the same about others to measure."""
    root = tmp_path_factory.mktemp("processes")
    (root / "data").mkdir()
    records = []
    for number, color in enumerate(COLORS):
        Image.new("RGB", (60, 40), color).save(root / "data" / f"{color}.png")
        Image.new("RGB", (60, 41), color).save(root / "data" / f"other_{color}.png")
        parts = [{"type": "image"}, {"type": "text", "text": "What is shown?"}]
        answer = {"role": "assistant", "content": f"This is {color}."}
        records += [Record(f"{color}-{n}", "x", (f"{color}.png",), ({"role": "user", "content": parts}, answer))
                    for n in range(2 if number < 2 else 1)]
    words = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Send an image."})
    records += [Record(f"hello-{n}", "x", (), words) for n in range(2)]
    write(records, root / "records" / "records.jsonl")
    write([replace(record, images=tuple(f"other_{name}" for name in record.images)) for record in records],
          root / "held" / "records.jsonl")
    checkpoint("qwen3_vl", root / "model")
    return root


def start(world: Path, out: Path, verb: str, processes: int, *more: str) -> subprocess.Popen[str]:
    """Start the command; all processes of a run end with the first."""
    several = ["torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m"]
    words = [sys.executable, "-m", *(several if processes > 1 else []), "finetune", verb, "--model", world / "model",
             "--data", world / "records", "--images", world / "data", "--validate", world / "held", "--out", out,
             "--batch", 4 // processes, "--passes", 3, "--learning-rate", 0.01, *more]
    return subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "DS_ACCELERATOR": "cpu"})


def tuned(world: Path, out: Path, verb: str, processes: int, *more: str) -> float:
    """Run the command and return the loss on other images of the same colors afterwards."""
    run = start(world, out, verb, processes, *more)
    _, said = run.communicate(timeout=400)
    assert run.returncode == 0, said[-3000:]
    figures = json.loads((out / "card.json").read_text())["figures"]
    assert figures["processes"] == processes
    assert figures["steps"] == 6
    return figures["held_out_loss"]["after"]


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The loss that one process comes to."""
    out = tmp_path_factory.mktemp("alone")
    return {"lora": tuned(world, out / "lora", "lora", 1, "--dropout", "0"),
            "full": tuned(world, out / "full", "full", 1, "--freeze")}


@pytest.mark.parametrize("spread", ["none", "zero2", "zero3"])
def test_lora_by_two_processes_learns_what_one_learns(
    world: Path, tmp_path: Path, alone: dict[str, float], spread: str
) -> None:
    assert tuned(world, tmp_path, "lora", 2, "--dropout", "0", "--deepspeed", spread) == pytest.approx(
        alone["lora"], abs=NEAR)
    prompt = [{"role": "user", "content": "Hello"}]
    before = open_generalist(world / "model").score(prompt, ["This", "Send"])
    adapted = open_generalist(world / "model", adapter=tmp_path).score(prompt, ["This", "Send"])
    assert adapted != pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("spread", ["zero2", "zero3", "zero3_offload"])
def test_full_tuning_by_two_processes_learns_what_one_learns(
    world: Path, tmp_path: Path, alone: dict[str, float], spread: str
) -> None:
    assert tuned(world, tmp_path, "full", 2, "--freeze", "--deepspeed", spread) == pytest.approx(
        alone["full"], abs=NEAR)
    start, _ = open_checkpoint(world / "model")
    after, _ = open_checkpoint(tmp_path)
    old = dict(start.named_parameters())
    assert {part_of(name) for name, weight in after.named_parameters() if not torch.equal(weight, old[name])} == {
        "language", "connector", "vision", "other"}


def test_a_spread_run_that_was_killed_goes_on(world: Path, tmp_path: Path, alone: dict[str, float]) -> None:
    """ZeRO-3's checkpoint holds the parts of both processes."""
    more = ("--dropout", "0", "--deepspeed", "zero3", "--save-steps", "2")
    run = start(world, tmp_path, "lora", 2, *more)
    deadline = time.monotonic() + 300
    while not (tmp_path / "checkpoints" / "checkpoint-2" / "trainer_state.json").is_file():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for process in (*psutil.Process(run.pid).children(recursive=True), run):
        process.kill()
    run.communicate()
    assert not (tmp_path / "card.json").exists()
    assert tuned(world, tmp_path, "lora", 2, *more) == pytest.approx(alone["lora"], abs=NEAR)
    assert "went_on_from_step" in json.loads((tmp_path / "card.json").read_text())["figures"]
