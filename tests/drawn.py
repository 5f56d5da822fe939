"""A small data folder in the record layout, drawn by the tests: two sets, two labels each, boxes in one."""

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
