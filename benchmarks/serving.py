"""What the endpoint costs over the bare generalist, and what it carries: 1, 4, 16 and 64 clients, in one run.

    python -m benchmarks.serving [--model M] [--requests 8] [--clients 1,4,16,64] [--sides passed,full] [--write]

Sides, each request with a drawn ultrasound that nobody sent before; replies are as long as they are, which is told:
bare      the generalist in this process, one after the other and as one batch; with a URL as --model, its server
passed    a report, the endpoint handing the question to the generalist as it is: what is compared with bare
short     as passed, but asked for the kind of image: a few words, in which whatever a request costs weighs most
alone     the endpoint's consultation without collaboration (triage, trace)
full      the endpoint's consultation with specialists and similar cases
stream    as passed, streamed: time to the first text
Reports of 556 real test images have 33 tokens in the median, consilium-nano's other answers 2 to 32.
The server runs in a process of its own (`consilium serve`), the clients in this one; a closed loop: each client asks
again when it is answered. What is told is requests a second and the median, and the 95th percentile, of seconds.
Requests are written out before the clock starts, as load clients do: what a client spends on its JSON is not the
endpoint's. Bare and passed at one client take turns, request by request, so that a busy machine harms both alike; and
processor time is told beside wall time (the server's own, of all its threads): on a busy machine it is the steadier.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from assistant import template
from assistant.generalist.open import open_generalist
from specialists.__main__ import parse
from specialists.core.study import read_study
from ui import phantoms

RESULTS = Path(__file__).resolve().parent.parent / "results" / "serving.json"
QUESTIONS = {"short": "What kind of image is this?"}
"""Of sides; the others ask for a report."""
REPORT = "Write a short report with findings and impression."
OPTIONS = ["glioma", "meningioma", "no tumour", "pituitary tumour"]
TOKENS = 128
"""At most."""
AIM = {"overhead": 0.10, "speed_up_at_16": 3.0}
PATH, JSON = "/v1/chat/completions", {"Content-Type": "application/json"}
TOOL = {"type": "function", "function": {"name": "none", "parameters": {"type": "object", "properties": {}}}}
BARE = ("passed", "short")
"""Sides that are compared with the generalist in this process."""
Ask = Callable[[httpx.AsyncClient, bytes], Awaitable[float]]
"""Asks once and returns the seconds to the first text, 0 where it is not streamed."""


@dataclass(frozen=True)
class Flags:
    """What is measured."""

    model: str = ""
    """Generalist: a folder, a hub id, or the URL of a server; the embedded one by default."""
    requests: int = 8
    """Requests of one client; of several, at least two each."""
    clients: str = "1,4,16,64"
    """How many clients ask at once, with commas."""
    sides: str = "passed,short,alone,full,stream"
    """Which sides are put under load, with commas."""
    write: bool = False
    """Write results/serving.json."""


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0."""
    flags = parse(Flags, argv, "python -m benchmarks.serving")
    with tempfile.TemporaryDirectory() as home, served(flags.model, Path(home)) as server:
        report = {"machine": machine(), "model": flags.model or "consilium-nano", "aim": AIM, **measure(flags, server)}
    show(report)
    if flags.write:
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    return 0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Process

    def processor_s(self) -> float:
        """Return the processor time that it has used."""
        used = self.process.cpu_times()
        return used.user + used.system


def measure(flags: Flags, server: Server) -> dict[str, Any]:
    """Return all figures."""
    generalist, rounds, batch = open_generalist(flags.model or None), 2 * flags.requests, 16
    new = itertools.count()
    turns, kinds = {}, flags.sides.split(",")
    with httpx.Client(base_url=server.url, timeout=600) as web:
        for kind in (*BARE, *kinds):
            web.post(PATH, content=written(kind, next(new)), headers=JSON).raise_for_status()

        def passed(requests: Iterator[bytes], tokens: list[int]) -> None:
            answered = web.post(PATH, content=next(requests), headers=JSON).raise_for_status()
            tokens.append(answered.json()["usage"]["completion_tokens"])

        def bare(conversations: Iterator[Any]) -> None:
            generalist.invoke(next(conversations), max_tokens=TOKENS)

        for kind in BARE:
            # The same pictures on both sides, so that the replies are of the same length.
            pictures, tokens = [next(new) for _ in range(rounds)], list[int]()
            ours = partial(bare, iter([conversation(kind, number) for number in (next(new), *pictures)]))
            theirs = partial(passed, iter([written(kind, number) for number in pictures]), tokens)
            ours()
            turns[kind] = overhead(ours, theirs, server.processor_s, rounds) | {"tokens": statistics.mean(tokens)}
    together = [[conversation("passed", next(new)) for _ in range(batch)] for _ in range(2)]
    generalist.reply_many(together[0], max_tokens=TOKENS)
    began = time.perf_counter()
    generalist.reply_many(together[1], max_tokens=TOKENS)
    seconds = time.perf_counter() - began
    sides: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for kind, clients in itertools.product(kinds, map(int, flags.clients.split(","))):
        requests = [written(kind, next(new)) for _ in range(max(flags.requests, 2 * clients))]
        ask = streamed if kind == "stream" else whole
        sides[kind][str(clients)] = asyncio.run(load(server, requests, clients, ask))
    return {"one_client": turns["passed"], "one_client_short": turns["short"],
            "bare_batch_of_16_per_second": batch / seconds, "sides": sides,
            "speed_up": {kind: {n: at["per_second"] / side["1"]["per_second"] for n, at in side.items()}
                         for kind, side in sides.items() if "1" in side},
            "speed_up_of_processor": {kind: {n: side["1"]["processor_s"] / at["processor_s"] for n, at in side.items()}
                                      for kind, side in sides.items() if "1" in side}}


def overhead(bare: Callable[[], object], passed: Callable[[], object], server: Callable[[], float], rounds: int
             ) -> dict[str, float]:
    """Return the medians of both sides, in turn, and the median of the rounds' ratios."""
    pairs, worked = [], []
    for _ in range(rounds):
        ours, theirs = time.process_time(), server()
        one, ours = clocked(bare), time.process_time() - ours
        client = time.process_time()
        pairs.append((one, clocked(passed)))
        worked.append((ours, server() - theirs, time.process_time() - client))
    ones, others = zip(*pairs, strict=True)
    return {"bare_processor_s": statistics.median(a for a, _, _ in worked),
            "passed_processor_s": statistics.median(b for _, b, _ in worked),
            "client_processor_s": statistics.median(c for _, _, c in worked),
            "overhead_of_processor": sum(b for _, b, _ in worked) / sum(a for a, _, _ in worked) - 1,
            "bare_s": statistics.median(ones), "passed_s": statistics.median(others),
            "overhead": statistics.median(b / a for a, b in pairs) - 1,
            "overhead_of_medians": statistics.median(others) / statistics.median(ones) - 1}


def clocked(work: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def load(server: Server, requests: Sequence[bytes], clients: int, ask: Ask) -> dict[str, float]:
    """Ask from so many clients until all requests are answered; raises where one is not."""
    left, seconds, first = iter(requests), [], []
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits) as web:
        async def client() -> None:
            for asked in left:
                began = time.perf_counter()
                first.append(await ask(web, asked))
                seconds.append(time.perf_counter() - began)
        began, worked = time.perf_counter(), server.processor_s()
        await asyncio.gather(*(client() for _ in range(clients)))
        took, worked = time.perf_counter() - began, server.processor_s() - worked
    count = len(requests)
    found = {"processor_s": worked / count, "per_second": count / took, "median_s": statistics.median(seconds),
             "p95_s": float(np.percentile(seconds, 95))}
    return found | ({"first_text_s": statistics.median(first)} if any(first) else {})


async def whole(web: httpx.AsyncClient, asked: bytes) -> float:
    """Ask once; a server without room is asked again."""
    while (reply := await web.post(PATH, content=asked, headers=JSON)).status_code == 429:
        await asyncio.sleep(int(reply.headers["retry-after"]))
    reply.raise_for_status()
    return 0.0


async def streamed(web: httpx.AsyncClient, asked: bytes) -> float:
    """Ask once and return the seconds to the first text."""
    began, first = time.perf_counter(), 0.0
    async with web.stream("POST", PATH, content=asked, headers=JSON) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if not first and line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - began
    return first


def conversation(kind: str, number: int) -> Any:
    """Return a side's question about one picture as the generalist takes it."""
    url = template.png_url(read_study(picture(number)))
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                         {"type": "text", "text": QUESTIONS.get(kind, REPORT)}]}]


def written(kind: str, number: int) -> bytes:
    """Return a request's body as it is sent."""
    return json.dumps(body(kind, number)).encode()


def body(kind: str, number: int) -> dict[str, Any]:
    """Return the request of a side about one picture."""
    url = "data:image/png;base64," + base64.b64encode(picture(number)).decode()
    asked: dict[str, Any] = {"model": "consilium", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTIONS.get(kind, REPORT)}]}]}
    if kind in (*BARE, "stream"):
        more = {"tools": [TOOL], "tool_choice": "none", "max_completion_tokens": TOKENS, "stream": kind == "stream"}
        return asked | more
    return asked | {"consilium": {"collaboration": "none" if kind == "alone" else "full", "options": OPTIONS}}


def picture(number: int) -> bytes:
    """Return one of many drawn ultrasound images of 256 pixels, as PNG: one picture, the speckle of each its own."""
    buffer, drawn = io.BytesIO(), np.asarray(Image.open(io.BytesIO(phantoms.ultrasound())).convert("L"))
    speckle = np.random.default_rng(number).integers(0, 6, drawn.shape, dtype=np.uint8)
    Image.fromarray(np.minimum(drawn, 250) + speckle).save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def served(model: str, home: Path) -> Iterator[Server]:
    """Run `consilium serve` until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "CONSILIUM_HOME": str(home)}
    command = [sys.executable, "-m", "assistant", "serve", "--port", str(port), *(["--model", model] if model else [])]
    server = subprocess.Popen(command, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/ready", timeout=120).status_code == 200:
                    break
            if server.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.2)
        yield Server(url, psutil.Process(server.pid))
    finally:
        server.terminate()
        server.wait(60)


def machine() -> dict[str, Any]:
    """Return what it ran on."""
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"), "python": platform.python_version()}


def show(report: dict[str, Any]) -> None:
    """Print the figures."""
    for name, side in (("a report", "one_client"), ("a few words", "one_client_short")):
        one = report[side]
        print(f"one client, {name} of {one['tokens']:.0f} tokens: bare {one['bare_s']:.3f} s, through the endpoint "
              f"{one['passed_s']:.3f} s, "
              f"overhead {one['overhead']:+.1%} (of medians {one['overhead_of_medians']:+.1%}); processor "
              f"{one['bare_processor_s']:.3f} and {one['passed_processor_s']:.3f} s, "
              f"{one['overhead_of_processor']:+.1%}, and {one['client_processor_s']:.4f} s of the client's own")
    print(f"bare, a batch of 16: {report['bare_batch_of_16_per_second']:.2f} a second")
    for kind, side in report["sides"].items():
        for clients, at in side.items():
            first = f", first text {at['first_text_s']:.3f} s" if "first_text_s" in at else ""
            times = report["speed_up"].get(kind, {}).get(clients, float("nan"))
            print(f"{kind:7} {clients:>3} clients: {at['per_second']:6.2f} a second (x {times:.2f}), "
                  f"median {at['median_s']:.3f} s, 95 % {at['p95_s']:.3f} s, "
                  f"processor {at['processor_s']:.3f} s{first}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
