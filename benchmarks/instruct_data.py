"""How fast instruction data is built: in one process against two workers on Ray, over the same images.

    python -m benchmarks.instruct_data [--images 240] [--side 1400] [--rounds 3] [--write]

The work is bound by decoding: large photographs with masks, drawn here, of which each is read, its shapes are
parted, and conversations are written. Both sides make the same parts; the sides take turns round by round, and what
is told is the median and the median of the rounds' ratios. Ray is started beforehand, as it is on a cluster, and each
worker has made a part before the clock runs; the time to start it is told beside it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import ray
from PIL import Image, ImageDraw

from instruct_data.build import finish
from instruct_data.engine import Plan, local, parts
from instruct_data.on_ray import run
from specialists.__main__ import parse

RESULTS = Path(__file__).resolve().parent.parent / "results" / "instruct-data-speed.json"
WORKERS = 2
COMMAND = "python -m benchmarks.instruct_data"


@dataclass(frozen=True)
class Flags:
    """What is measured."""

    images: int = 240
    side: int = 1400
    """Pixels of a side."""
    rounds: int = 3
    write: bool = False
    """Write results/instruct-data-speed.json."""


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0."""
    flags = parse(Flags, argv, "python -m benchmarks.instruct_data")
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(flags, Path(folder))
    sys.stdout.write(json.dumps(measured, indent=1) + "\n")
    if flags.write:
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


def measure(flags: Flags, folder: Path) -> dict[str, object]:
    """Return the figures of both sides."""
    data = drawn(folder / "data", flags.images, flags.side)
    plan = Plan(data, folder / "out", part=10)
    started = time.perf_counter()
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    up = time.perf_counter() - started
    run(replace(plan, out=folder / "warm"), lambda number: None)
    seconds: dict[str, list[float]] = {"one process": [], "two workers": []}
    records = 0
    for turn in range(flags.rounds):
        here, there = (replace(plan, out=folder / f"{side}{turn}") for side in ("here", "there"))
        seconds["one process"].append(clocked(lambda plan=here: local(plan, lambda number: None)))
        seconds["two workers"].append(clocked(lambda plan=there: run(plan, lambda number: None)))
        records = finish(here)["records"]
        if finish(there)["records"] != records:
            raise RuntimeError("The two sides made different records.")
    ray.shutdown()
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    rate = {name: round(records / statistics.median(found), 1) for name, found in seconds.items()}
    return {"claim": "instruction data: two Ray workers against one process, decoding-bound",
            "images": flags.images, "side": flags.side, "records": records, "parts": parts(plan),
            "records_a_second": rate, "images_a_second": {n: round(r * flags.images / records, 1)
                                                          for n, r in rate.items()},
            "ratio": round(statistics.median(ratios), 2), "ratios": [round(r, 2) for r in ratios],
            "aim": 1.7, "ray_start_s": round(up, 1), "cores": os.cpu_count(), "python": platform.python_version(),
            "ray": version("ray"), "command": f"{COMMAND} --images {flags.images} --side {flags.side} --rounds "
            f"{flags.rounds} --write"}


def clocked(work) -> float:
    """Return the seconds that the work took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def drawn(folder: Path, count: int, side: int) -> Path:
    """Write photographs with a lesion each and its mask, in the record layout; return the folder."""
    root = folder / "drawn_lesions"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rows = []
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = rng.integers(60, 200, (side // 40, side // 40, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        mask = Image.new("L", image.size)
        x, y = (int(v) for v in rng.integers(side // 8, side // 2, 2))
        for canvas, color in ((image, (150, 60, 40)), (mask, 255)):
            ImageDraw.Draw(canvas).ellipse((x, y, x + side // 3, y + side // 4), fill=color)
        image.save(root / "images" / f"{i}.png")
        mask.save(root / "masks" / f"{i}.png")
        rows.append({"id": f"drawn/{i}", "image": f"images/{i}.png", "masks": {"lesion": f"masks/{i}.png"},
                     "modality": "drawing", "split": "train", "licence": "made by the project", "tier": "A"})
    (root / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
