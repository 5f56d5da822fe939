"""A small labelled folder in the record layout, for tests that train; no test itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train",) * 6 + ("val",) * 2
COLORS = {"blue": (30, 60, 200), "red": (200, 60, 30)}


def write_set(root: Path, name: str = "colors", mask: str | None = None) -> Path:
    """Write a set of red and blue images, two a group; with `mask`, red ones have a bright square."""
    folder = root / name
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    noise = np.random.default_rng(0)
    records = []
    for label, color in COLORS.items():
        for number, split in enumerate(SPLITS):
            for side in "ab":
                key = f"{label}{number}{side}"
                pixels = noise.normal(color, 30, (40, 48, 3))
                record = {"id": f"{name}/{key}", "image": f"images/{key}.png", "dataset": name,
                          "label": label, "group": f"{label}{number}", "split": split, "source": "made up",
                          "licence": "CC0", "tier": "A"}
                if mask and label == "red":
                    drawn = np.zeros((40, 48), np.uint8)
                    drawn[8:28, 10:34] = 255
                    pixels[drawn > 0] += 90
                    Image.fromarray(drawn).save(folder / "masks" / f"{key}.png")
                    record["masks"] = {mask: f"masks/{key}.png"}
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / record["image"])
                records.append(record)
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder
