"""Small data folders drawn by the tests: the record layout with two sets and boxes in one, and pictures with masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SETS = {"brain_tumor_mri": ("glioma", "no tumour"), "busi_breast_ultrasound": ("benign", "malignant")}


def data_folder(root: Path, count: int = 4) -> Path:
    """Write `count` images of each label of each set under `root`; return it."""
    for number, (name, labels) in enumerate(SETS.items()):
        (root / name / "images").mkdir(parents=True)
        rows = []
        for place, label in enumerate(labels):
            for i in range(count):
                rng = np.random.default_rng([number, place, i])
                image = Image.fromarray(rng.integers(0, 90, (96, 96, 3), dtype=np.uint8))
                x, y = (int(v) for v in rng.integers(10, 50, 2))
                ImageDraw.Draw(image).ellipse((x, y, x + 30, y + 20), fill=(200, 80 * place, 80))
                image.save(root / name / "images" / f"{label}_{i}.png")
                box = [x / 96, y / 96, (x + 30) / 96, (y + 20) / 96]
                rows.append({"id": f"{name}/{label}_{i}", "image": f"images/{label}_{i}.png", "dataset": name,
                             "label": label, "group": len(rows), "split": "train" if i else "val", "licence": "CC0",
                             "tier": "A", "boxes": [{"name": "lesion", "box": box}] if number else []})
        (root / name / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return root


def evidence_folder(root: Path, data: Path) -> Path:
    """Write out-of-fold opinions and cases for the first set; return the folder."""
    root.mkdir(parents=True, exist_ok=True)
    name, labels = next(iter(SETS.items()))
    lines = []
    for line in (data / name / "records.jsonl").read_text().splitlines():
        row = json.loads(line)
        shares = {label: 0.8 if label == row["label"] else 0.2 for label in labels}
        opinions = [{"specialist": f"brain_mri_{m}", "label": row["label"], "probabilities": shares}
                    for m in ("small_cnn", "residual", "hybrid")]
        cases = [{"id": f"case{i}", "label": row["label"], "similarity": 0.9 - i / 100} for i in range(5)]
        lines.append(json.dumps({"id": row["id"], "dataset": name, "split": row["split"], "label": row["label"],
                                 "group": row["group"], "opinions": opinions, "cases": cases}))
    (root / "brain_mri.jsonl").write_text("\n".join(lines) + "\n")
    return root


def masks_folder(root: Path, count: int = 20) -> Path:
    """Write `count` pictures, masks of their names and a label map under `root`; return it.

    Each has one or two polyps (value 1) in different halves; each other one has an instrument (value 2).
    """
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(count):
        rng = np.random.default_rng([7, i])
        picture = Image.fromarray(rng.integers(90, 130, (96, 128, 3), dtype=np.uint8))
        mask = Image.new("L", (128, 96))
        for half in range(1 + i % 2):
            x, y = int(rng.integers(6, 24)) + 64 * half, int(rng.integers(6, 40))
            corners = (x, y, x + 30, y + 20)
            ImageDraw.Draw(picture).ellipse(corners, fill=(200, 90, 90))
            ImageDraw.Draw(mask).ellipse(corners, fill=1)
        if i % 4 < 2:
            ImageDraw.Draw(picture).rectangle((20, 72, 90, 84), fill=(230, 230, 235))
            ImageDraw.Draw(mask).rectangle((20, 72, 90, 84), fill=2)
        picture.save(root / "images" / f"case_{i:02d}.png")
        mask.save(root / "masks" / f"case_{i:02d}.png")
    (root / "labels.json").write_text(json.dumps({"0": "background", "1": "polyp", "2": "instrument"}) + "\n")
    (root / "info.json").write_text(json.dumps({"kind": "colonoscopy", "license": "CC0", "source": "drawn"}) + "\n")
    return root
