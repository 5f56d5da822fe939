"""How fast a trio of specialists answers: as it is used (ONNX Runtime) against the same nets in PyTorch eager.

    python -m benchmarks.specialists [--threads 2] [--rounds 40] [--domain brain_mri] [--write]

Both sides are the same `Specialist` with the same weights in single precision, the mirror image averaged in, and the
same number of threads; PyTorch runs in inference mode. "whole" is `predict` from a decoded 224 px study to a finding:
resizing, the net, the distance to the training images, the temperature. "nets" is the net alone on images that are
ready. The three answer one after the other. Sides take turns round by round in one process; what is told is the
median, and the median of the rounds' ratios. Processor time is told beside it: on a busy machine it is the steadier
one, as long as one thread works. The image is drawn noise: the time does not depend on what it shows.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from specialists.__main__ import parse
from specialists.core import onnx_files, registry
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study

RESULTS = Path(__file__).resolve().parent.parent / "results" / "specialists-speed.json"
SIDE, MANY = 224, 32
AIM = {"milliseconds": 40.0, "ratio": 2.0}


@dataclass(frozen=True)
class Flags:
    """What is measured."""

    domain: str = "brain_mri"
    """Domain of the trio."""
    threads: int = 2
    """Threads of either side."""
    rounds: int = 40
    """Rounds of one image; a quarter as many of 32 images."""
    write: bool = False
    """Write results/specialists-speed.json."""


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0."""
    flags = parse(Flags, argv, "python -m benchmarks.specialists")
    torch.set_num_threads(flags.threads)
    onnx_files.set_threads(flags.threads)
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONSILIUM_HOME"] = home
        report = measure(flags)
    show(report)
    if flags.write:
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def measure(flags: Flags) -> dict[str, Any]:
    """Return everything that was measured."""
    names = registry.domains()[flags.domain]
    cards = [registry.cards()[name] for name in names]
    eager = [Specialist(card, registry.SHIPPED, runtime="torch") for card in cards]
    quick, export = timed(lambda: [Specialist(card, registry.SHIPPED, runtime="onnx") for card in cards])
    again, load = timed(lambda: [Specialist(card, registry.SHIPPED, runtime="onnx") for card in cards])
    noise = np.random.default_rng(0)
    studies = [read_study(noise.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(MANY)]
    rows = []
    for count, rounds in ((1, flags.rounds), (MANY, max(3, flags.rounds // 4))):
        for what, work in (("whole", whole), ("nets", nets)):
            rows.append({"what": what, "images": count,
                         **turns(work(quick, studies[:count]), work(eager, studies[:count]), rounds, count)})
    return {"specialists": list(names), "threads": flags.threads, "rounds": flags.rounds, "image": f"{SIDE} px",
            "machine": machine(), "load_average": [round(x, 1) for x in os.getloadavg()], "aim": AIM,
            "first_use_s": {"export_and_check": round(export, 2), "from_the_file": round(load, 2)},
            "largest_difference": differing(again, eager, studies[:4]), "rows": rows}


def whole(trio: Sequence[Specialist], studies: Sequence[Study]) -> Callable[[], object]:
    """Return the work of a trio from studies to findings."""
    def work() -> object:
        fresh = [replace(study) for study in studies]  # what was resized for one round is no help in the next
        return [specialist.predict_many(fresh) for specialist in trio]
    return work


def nets(trio: Sequence[Specialist], studies: Sequence[Study]) -> Callable[[], object]:
    """Return the work of a trio's nets on inputs made beforehand."""
    ready = [(s._net, np.stack([s._net.read(study, int(s.card.input["size"])) for study in studies])) for s in trio]
    return lambda: [net(images) for net, images in ready]


def turns(quick: Callable[[], object], eager: Callable[[], object], rounds: int, images: int) -> dict[str, Any]:
    """Return medians of two works that take turns, who is first changing from round to round."""
    for work in (quick, eager, quick, eager):
        work()
    took = np.array([[clocked(work) for work in (quick, eager)] if number % 2 else
                     [clocked(work) for work in (eager, quick)][::-1] for number in range(rounds)]) * 1000
    (ours, our_work), (theirs, their_work) = np.median(took, axis=0)
    return {"onnx_ms": round(float(ours), 2), "eager_ms": round(float(theirs), 2),
            "ratio": round(float(np.median(took[:, 1, 0] / took[:, 0, 0])), 2),
            "onnx_cpu_ms": round(float(our_work), 2), "eager_cpu_ms": round(float(their_work), 2),
            "onnx_images_per_s": round(1000 * images / float(ours), 1),
            "eager_images_per_s": round(1000 * images / float(theirs), 1)}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a work returns, and its seconds."""
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a work takes, and those of the processor in all threads."""
    before = time.process_time()
    return timed(work)[1], time.process_time() - before


def differing(one: Sequence[Specialist], other: Sequence[Specialist], studies: Sequence[Study]) -> float:
    """Return the largest absolute difference of logits and features of two trios."""
    return float(max(np.abs(a - b).max() for s, t in zip(one, other, strict=True)
                     for a, b in zip(s.raw(studies), t.raw(studies), strict=True)))


def machine() -> dict[str, Any]:
    """Return the processor, its cores and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {"processor": model or platform.processor(), "cores": os.cpu_count(), "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "onnxruntime")}}


def show(report: dict[str, Any]) -> None:
    """Print a row a measurement, and what was aimed at."""
    print(f"{', '.join(report['specialists'])}; {report['threads']} threads; load {report['load_average'][0]}")
    print(f"first use {report['first_use_s']['export_and_check']} s with export, then "
          f"{report['first_use_s']['from_the_file']} s; largest difference {report['largest_difference']:.1e}")
    print(f"{'':14}{'ONNX ms':>10}{'eager ms':>10}{'ratio':>8}{'CPU ms':>9}{'eager':>9}"
          f"{'ONNX img/s':>12}{'eager img/s':>13}")
    for row in report["rows"]:
        print(f"{row['what']:<7}x{row['images']:<6}{row['onnx_ms']:>10.1f}{row['eager_ms']:>10.1f}{row['ratio']:>8.2f}"
              f"{row['onnx_cpu_ms']:>9.1f}{row['eager_cpu_ms']:>9.1f}"
              f"{row['onnx_images_per_s']:>12.1f}{row['eager_images_per_s']:>13.1f}")
    print(f"aim: a trio on one image in at most {AIM['milliseconds']:.0f} ms and {AIM['ratio']:.0f} times as fast")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
