"""Real vLLM on the CPU gives what transformers gives here: the model, its adapters by name, the merged model.

`make test-vllm` runs this; it writes the figures to build/parity.json. The server is started by the command that we
render for users.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.generalist.open import NANO
from assistant.generalist.served import ServedGeneralist
from assistant.generalist.vllm_command import VllmServer, vllm_command
from finetune.merge import merge
from finetune.parity import TOLERANCE, Report, compare, opened, samples
from tests.adapters import random_adapter

pytestmark = pytest.mark.vllm
FIGURES = Path(__file__).parents[2] / "build" / "parity.json"
FLAG = "--enable-tower-connector-lora"
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
         "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> str:
    return str(Path(request.config.getoption("--vllm")).absolute())


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that changes the language alone, one that changes vision tower and connector alone."""
    root = tmp_path_factory.mktemp("adapters")
    return {"language": random_adapter(NANO, root / "language", rank=8, size=0.05),
            "vision": random_adapter(NANO, root / "vision", ("vision", "connector"), rank=8, size=0.2)}


@pytest.fixture(scope="module")
def figures(python: str) -> Iterator[dict[str, Any]]:
    """What was measured; written when all is done."""
    told: dict[str, Any] = {}
    yield told
    listed = "import torch, transformers, vllm; print(torch.__version__, transformers.__version__, vllm.__version__)"
    done = subprocess.run([python, "-c", listed], capture_output=True, text=True, env={**os.environ, **QUIET})
    there = dict(zip(("torch", "transformers", "vllm"), done.stdout.split()[-3:], strict=True))
    here = next(iter(told.values()))["versions"]
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps({
        "claim": "A model and an adapter saved by our transformers give the same next-token log-probabilities in vLLM; "
                 "an adapter on the vision tower does so only with --enable-tower-connector-lora.",
        "model": "consilium-nano; adapters of rank 8 with random matrices; 8 made samples, 20 next tokens of each",
        "command": "make test-vllm", "here": _told(here), "there": _told(there), "tolerance_nats": TOLERANCE,
        **{f"largest difference in nats: {name}": row["largest_difference_nats"] for name, row in told.items()},
        "figures": {name: {key: row[key] for key in ("served", "agrees", "largest_difference_nats", "samples")}
                    for name, row in told.items()}}, indent=1) + "\n")


def _told(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items() if name != "server")


@contextlib.contextmanager
def serving(words: Sequence[str], log: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    with log.open("wb") as file:
        server = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **QUIET},
                                  start_new_session=True)
    port = words[words.index("--port") + 1]
    try:
        until = time.monotonic() + 400
        while not _healthy(port):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, "vLLM did not start:\n" + log.read_text()[-3000:]
            time.sleep(1)
        yield
    finally:
        _ended(server)


def _ended(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(server.pid, how)
            server.wait(30)
            return


def _healthy(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def command(python: str, model: Path, adapters: dict[str, Path] | None = None) -> tuple[list[str], str]:
    """Return the rendered command, run by this Python, and the server's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = ("--enforce-eager", "--dtype", "float32", "--max-model-len", "4096")
    how = VllmServer(port=port, name="nano", images=8, more=more,
                     program=(python, "-m", "vllm.entrypoints.openai.api_server", "--model"))
    return vllm_command(model, adapters, how), f"http://127.0.0.1:{port}/v1"


def noted(figures: dict[str, Any], name: str, report: Report) -> Report:
    figures[name] = report.json()
    return report


def test_the_model_and_its_adapters(python: str, adapters: dict[str, Path], figures: dict[str, Any],
                                    tmp_path: Path) -> None:
    words, url = command(python, NANO, adapters)
    assert FLAG in words
    base = opened(NANO)
    with serving(words, tmp_path / "log"):
        assert noted(figures, "base", compare(base, f"{url}#nano")).agrees
        for name, folder in adapters.items():
            report = noted(figures, name, compare(base.with_adapter(str(folder)), f"{url}#{name}"))
            assert report.agrees, report.table()
        assert not compare(base, f"{url}#vision").agrees, "the adapter must tell in the answers"
        served = ServedGeneralist(url, "nano").with_adapter("vision")
        served.ready()
        asked = [s.messages for s in samples(base)][2]
        here = base.with_adapter(str(adapters["vision"])).score(asked, ["A", "B", "C"])
        assert served.score(asked, ["A", "B", "C"]) == pytest.approx(here, abs=TOLERANCE)
        assert len(served.revision()["adapter_sha256"]) == 64


def test_without_its_flag_an_adapter_on_the_tower_is_silently_wrong(
        python: str, adapters: dict[str, Path], figures: dict[str, Any], tmp_path: Path) -> None:
    """Which is why the command is never rendered without it."""
    words, url = command(python, NANO, adapters)
    words.remove(FLAG)
    base = opened(NANO)
    with serving(words, tmp_path / "log"):
        language = compare(base.with_adapter(str(adapters["language"])), f"{url}#language")
        assert noted(figures, "language, without the flag", language).agrees
        vision = compare(base.with_adapter(str(adapters["vision"])), f"{url}#vision")
        assert not noted(figures, "vision, without the flag", vision).agrees


def test_a_merged_model(python: str, adapters: dict[str, Path], figures: dict[str, Any], tmp_path: Path) -> None:
    merge(NANO, adapters["vision"], tmp_path / "merged")
    words, url = command(python, tmp_path / "merged")
    with serving(words, tmp_path / "log"):
        report = noted(figures, "vision, merged", compare(opened(tmp_path / "merged"), url))
        assert report.agrees, report.table()
        apart = compare(opened(NANO, adapters["vision"]), url, tolerance=10.0)
        noted(figures, "vision, merged there and beside the model here (the merged weights are bfloat16)", apart)
