"""What the window costs: time to its first paint, and the memory of its server over many questions.

    python -m benchmarks.window [--questions 100] [--browser /usr/bin/chromium] [--write]

`consilium chat` runs in a process of its own with what ships; a real browser asks, as a person would, about drawn
images that are never the same twice, and starts over after every tenth question. Told are the memory of the server
after 10 and after each quarter of the questions, resident and in use (`benchmarks.held`) in MB, by how many kB each
question of the second half raised it (the generalist remembers its last 64 images, so the first ones do), and the paint
times of a fresh visitor in seconds (the best of three: other work on the machine only adds). What the models answer is
not judged.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from specialists.__main__ import parse
from ui import phantoms

RESULTS = Path(__file__).resolve().parent.parent / "results" / "window.json"
ASKED = (
    (phantoms.brain_slice, "What is the diagnosis?", "glioma, meningioma, no tumour, pituitary tumour"),
    (phantoms.ultrasound, "What is the diagnosis?", "benign, malignant, normal"),
)
AIM = {"first_paint_s": 3.0}
WAIT_MS = 300_000
OVER = 10
"""Questions of one conversation."""
SERVER = """
import sys
from benchmarks import held
from ui.__main__ import main
held.tell_when_asked()
sys.exit(main(sys.argv[1:]))"""
PAINTED = """() => Object.fromEntries(
  performance.getEntriesByType("paint").map((one) => [one.name, one.startTime / 1000]))"""


@dataclass(frozen=True)
class Flags:
    """What is measured."""

    questions: int = 100
    """How many are asked."""
    browser: str = "chromium"
    """Chromium, by name or path."""
    write: bool = False
    """Write results/window.json."""


def main() -> int:
    """Measure, and print what was measured."""
    flags = parse(Flags, sys.argv[1:], prog="python -m benchmarks.window")
    path = shutil.which(flags.browser)
    if path is None:
        sys.stderr.write(f"No browser {flags.browser!r}; name one with --browser.\n")
        return 2
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as server, sync_playwright() as made:
        browser = made.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        told: dict[str, Any] = {"paint": paints(browser, server.address), "aim": AIM, "questions": flags.questions}
        told |= asked(browser, server, flags.questions)
        browser.close()
    text = json.dumps(told, indent=1)
    if flags.write:
        RESULTS.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0


@dataclass(frozen=True)
class Server:
    """`consilium chat` in a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def memory(self) -> dict[str, float]:
        """Return what it takes, in MB: resident, and in use."""
        assert self.process.stdout
        self.process.send_signal(signal.SIGUSR1)
        in_use = float(self.process.stdout.readline().split()[0])
        return {"resident": round(psutil.Process(self.process.pid).memory_info().rss / 1e6, 1), "in_use": in_use}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    """Run `consilium chat` on a free port until the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, "--port", str(port)]
    environment = os.environ | {"CONSILIUM_HOME": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        address = process.stdout.readline().split()[3]
        yield Server(process, address)
        process.terminate()


def paints(browser: Browser, address: str) -> dict[str, float]:
    """Return the paint times of the fastest of three fresh visitors, and when one can ask, in seconds."""
    seen = []
    for _ in range(3):
        page = browser.new_context().new_page()
        began = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("#ask")
        ready = time.perf_counter() - began
        seen.append({**page.evaluate(PAINTED), "can-ask": ready})
        page.context.close()
    return {name: round(min(one[name] for one in seen), 2) for name in seen[0]}


def asked(browser: Browser, server: Server, questions: int) -> dict[str, Any]:
    """Ask, and return the server's memory by the number of questions so far, how it rose, and how long it took."""
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(server.address)
    page.wait_for_selector("#ask")
    memory: dict[int, dict[str, float]] = {}
    began = time.perf_counter()
    for number in range(questions):
        ask(page, number)
        if number + 1 in (OVER, *(questions * quarter // 4 for quarter in (1, 2, 3, 4))):
            memory[number + 1] = server.memory()
            sys.stderr.write(f"{number + 1} questions: {memory[number + 1]} MB\n")
        if (number + 1) % OVER == 0:
            page.click("#clear")
            page.locator("#panel .cs-trace").wait_for(state="detached")
    half, whole = memory[questions // 2], memory[questions]
    rise = {name: round(1e3 * (whole[name] - half[name]) / (questions - questions // 2)) for name in whole}
    return {"memory_mb": memory, "rise_kb_a_question": rise, "seconds": round(time.perf_counter() - began)}


def ask(page: Page, number: int) -> None:
    """Give a picture that was never given before, ask, and wait for the end of the answer."""
    drawn, question, options = ASKED[number % len(ASKED)]
    page.set_input_files("#files input[type=file]",
                         {"name": f"{number}.png", "mimeType": "image/png", "buffer": noisy(drawn(), number)})
    page.locator("#panel .cs-trace").wait_for(state="detached")
    page.locator("#viewer svg").wait_for()
    page.fill("#question textarea", f"{question} ({number})")
    page.fill("#options textarea", options)
    page.click("#ask")
    page.locator("#panel .cs-trace").wait_for()
    page.wait_for_function("document.querySelector('#stop').disabled")


def noisy(data: bytes, number: int) -> bytes:
    """Return a PNG with a little noise of its own."""
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(np.int16)
    pixels += np.random.default_rng(number).integers(-3, 4, pixels.shape, dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
