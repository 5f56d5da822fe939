"""Servers kept running together: started in order, started again when killed or deaf, ended with all they started."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from assistant.__main__ import main
from assistant.generalist.open import NANO
from assistant.up import DidNotStart, Part, Patience, Up
from tests.adapters import random_adapter

QUICK = Patience(every_s=0.05, hear_s=0.5, deaf=2, starts=2, end_s=5)
SERVER = """
import os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(f"{os.getpid()} {child.pid}".encode())
    def log_message(self, *args): pass
child = subprocess.Popen(["sleep", "600"])
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def part(name: str, wait_s: float = 30.0) -> Part:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Part(name, [sys.executable, "-c", SERVER, str(port)], f"http://127.0.0.1:{port}/", wait_s)


def answer(server: Part) -> list[int]:
    """Return the processes of a server: itself and what it started."""
    with contextlib.suppress(httpx.TransportError):
        return [int(word) for word in httpx.get(server.health or "", timeout=1).text.split()]
    return []


def eventually(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def lives(process: int) -> bool:
    """Tell whether a process runs: one that waits to be collected does not."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextlib.contextmanager
def running(*parts: Part) -> Iterator[Up]:
    up = Up(parts, QUICK)
    thread = threading.Thread(target=up.run)
    thread.start()
    try:
        eventually(lambda: all(answer(server) for server in parts))
        yield up
    finally:
        up.stop()
        thread.join(20)
    assert not thread.is_alive()


def test_one_after_the_other_and_all_end_together() -> None:
    first, second = part("first"), part("second")
    with running(first, second) as up:
        assert list(up.running) == ["first", "second"]
        processes = [*answer(first), *answer(second)]
        assert len(processes) == 4
        assert all(map(lives, processes))
    eventually(lambda: not any(map(lives, processes)))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_what_is_killed_or_deaf_comes_back_and_the_other_stays(how: signal.Signals) -> None:
    first, second = part("first"), part("second")
    with running(first, second):
        before, other = answer(first), answer(second)
        os.kill(before[0], how)
        eventually(lambda: answer(first) not in ([], before))
        assert answer(second) == other
        eventually(lambda: not any(map(lives, before)))


def test_what_never_starts_is_given_up() -> None:
    with pytest.raises(DidNotStart, match="bad did not start in 2 attempts"):
        Up([Part("bad", [sys.executable, "-c", "exit(3)"], "http://127.0.0.1:9/")], QUICK).run()
    with pytest.raises(DidNotStart, match="Is it installed"):
        Up([Part("absent", ["no-such-program"], None)], QUICK).run()
    first = part("first")
    silent = Part("silent", ["sleep", "600"], "http://127.0.0.1:9/", wait_s=0.2)
    with pytest.raises(DidNotStart):
        Up([first, silent], QUICK).run()
    assert answer(first) == [], "what had started is ended"


def test_a_part_without_an_address_is_ready_when_it_runs() -> None:
    up = Up([Part("plain", ["sleep", "600"], None)], QUICK)
    thread = threading.Thread(target=up.run)
    thread.start()
    eventually(lambda: up.running)
    process = up.running["plain"]
    up.stop()
    thread.join(20)
    assert process.poll() == -signal.SIGTERM


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert main(["up", "--print", *words]) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = random_adapter(NANO, tmp_path / "brain", rank=4, size=0.1)
    vllm, serve, chat = printed(
        capsys, "--adapter", f"brain={adapter}", "--tensor-parallel", "2", "--data-parallel", "4", "--images", "3",
        "--flag=--dtype float32 --seed 1", "--program", "env/bin/vllm serve", "--vllm-port", "9001", "--port", "9002")
    assert vllm[:3] == ["env/bin/vllm", "serve", str(NANO)]
    assert after(vllm, "--lora-modules") == f"brain={adapter.resolve()}"
    assert (after(vllm, "--tensor-parallel-size"), after(vllm, "--data-parallel-size")) == ("2", "4")
    assert (after(vllm, "--dtype"), after(vllm, "--seed"), after(vllm, "--port")) == ("float32", "1", "9001")
    assert json.loads(after(vllm, "--limit-mm-per-prompt")) == {"image": 3}
    assert after(serve, "--model") == after(chat, "--model") == "http://127.0.0.1:9001/v1#nano"
    assert (after(serve, "--adapter"), after(serve, "--port"), after(chat, "--port")) == ("brain=brain", "9002", "7860")
    assert [words[3] for words in printed(capsys, "--chat-port", "0")[1:]] == ["serve"]


def test_several_machines(capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--model", "Qwen/Qwen3-VL-235B-A22B-Instruct", "--nodes", "2", "--first-node", "10.0.0.1",
              "--pipeline-parallel", "2"]
    first = printed(capsys, *shared)
    assert (len(first), after(first[0], "--node-rank"), "--headless" in first[0]) == (3, "0", False)
    (second,) = printed(capsys, *shared, "--node", "1")
    assert (after(second, "--nnodes"), after(second, "--node-rank"), after(second, "--master-addr")) == (
        "2", "1", "10.0.0.1")
    assert "--headless" in second


@pytest.mark.parametrize(("words", "said"), [
    (["--nodes", "2"], "the address of node 0"), (["--node", "1"], "wanted a node from 0"),
    (["--print", "--nodes", "2", "--node", "1"], "the address of node 0"),
    (["--print", "--tensor-parallel", "0"], "Got --tensor-parallel 0; wanted at least 1"),
    (["--print", "--vllm-port", "0"], "Got --vllm-port 0; wanted 1 to 65535"),
    (["--host", "0.0.0.0"], "CONSILIUM_API_KEY is not set"), (["--program", "no-such-program"], "Is it installed")])
def test_what_cannot_be_started_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", *words]) == 2
    assert said in capsys.readouterr().err
