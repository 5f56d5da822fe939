"""What pasting the lesions of one case is worth: with and without each part of the idea, on drawn eyes and on BUSI.

Five donors each teach every arm on drawn eyes. On BUSI the arm is chosen on val,
and test is stated for that arm alone.
    python -m benchmarks.methods.lesion_paste --out results/lesion-paste.json [--data DIR]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.methods.written import won, write
from specialists.anomaly import lesion_paste, task
from specialists.anomaly.lesion_paste import Config
from specialists.core.fit import fit
from specialists.core.study import read_study
from specialists.datasets.drawn import fundus, smaller
from specialists.datasets.layout import Sample, read_set
from specialists.training.runs import outputs

STRENGTH, SPREAD = 1.2, 2.0
"""Lesions are so much stronger and wider than the drawing's own: at 64 px the smallest are 3 px wide, and with
strength 0.6 and spread 1 no arm, not even the supervised one, learned anything in so few steps."""
LARGE, SMALL = 128, 64
BASE = Config(size=SMALL, canvas=LARGE, copies=2, epochs=18, batch=16, widths=(8, 16, 32, 48), flip_vertical=True)
ARMS: dict[str, Config] = {
    "b normal tissue pasted": replace(BASE, content="normal", negatives=0.0),
    "c lesions, hard": replace(BASE, blend=1.0, negatives=0.0),
    "d lesions, blended": replace(BASE, negatives=0.0),
    "e blended, normal tissue in negatives": BASE,
}
DONORS = 5
LESION = "breast lesion"
BUSI = Config(size=96, canvas=128, copies=2, epochs=20, batch=16, widths=(8, 16, 32, 48, 64))
BUSI_ARMS = {"b normal tissue pasted": replace(BUSI, content="normal", negatives=0.0),
             "d lesions, blended": replace(BUSI, negatives=0.0), "e blended, normal tissue in negatives": BUSI}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/lesion-paste.json"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    flags = parser.parse_args()
    started = time.perf_counter()
    with ProcessPoolExecutor(flags.jobs) as pool:
        runs = list(pool.map(on_drawn, range(DONORS)))
    drawn = {name: {key: [run[name][key] for run in runs] for key in row} for name, row in runs[0].items()}
    facts = {"claim": "the lesions of one annotated image, pasted into normal images, teach a detector of abnormality",
             "paper": lesion_paste.METHOD.paper, "command": "python -m benchmarks.methods.lesion_paste --data DIR",
             "published": "equals a fully supervised classifier on EyeQ, better on early disease (no figures found)",
             "seeds": DONORS, "drawn": drawn, "held": claims(drawn)}
    if flags.data:
        facts["busi_breast_ultrasound"] = on_busi(flags.data / "busi_breast_ultrasound", flags.jobs)
    write(flags.out, {**facts, **summary(drawn, facts.get("busi_breast_ultrasound"))}, started)


def on_drawn(donor: int) -> dict[str, dict[str, float]]:
    """Return the AUCs of each arm for one donor: over all grades, for each grade, and for normal tissue pasted."""
    rng = np.random.default_rng(0)
    normals = np.stack([fundus(rng, LARGE).pixels for _ in range(150)])
    grades = np.repeat(np.arange(5), (120, 40, 40, 40, 40))
    asked = np.stack([fundus(rng, LARGE, int(grade), STRENGTH, SPREAD).pixels for grade in grades])
    case = fundus(np.random.default_rng(100 + donor), LARGE, 4, STRENGTH, SPREAD)
    bank = lesion_paste.lesion_bank(case.pixels, case.masks)
    pasted = with_normal_tissue(asked[grades == 0], bank, donor)
    arms: dict[str, Callable[[], Callable[[np.ndarray], np.ndarray]]] = {
        "a linear auto-encoder of patches": lambda: Reconstruction(smaller(normals, SMALL), donor),
        **{name: partial(taught, replace(arm, seed=donor), normals, bank) for name, arm in ARMS.items()},
        "f supervised, few labels": lambda: supervised(replace(BASE, seed=donor), normals, donor)}
    found = {}
    for name, arm in arms.items():
        scorer = arm()
        found[name] = areas(scorer(smaller(asked, SMALL)), scorer(smaller(pasted, SMALL)), grades)
        print(donor, name, found[name], flush=True)
    return found


def areas(scores: np.ndarray, short: np.ndarray, grades: np.ndarray) -> dict[str, float]:
    """Return AUCs against normal: of all, of each grade, and of normal tissue pasted into normals (0.5 is ideal)."""
    normal = grades == 0
    out = {"all": area(scores[normal], scores[~normal])}
    out |= {f"grade {grade}": area(scores[normal], scores[grades == grade]) for grade in range(1, 5)}
    return {**out, "shortcut": area(scores[normal], short)}


def area(low: np.ndarray, high: np.ndarray) -> float:
    """Return the AUC of scores that should be low against scores that should be high."""
    truth = np.repeat((0, 1), (len(low), len(high)))
    return round(float(roc_auc_score(truth, np.concatenate([low, high]))), 4)


class Scorer:
    """A trained net as a function from images uint8 (N, size, size, 3) to scores (N,)."""

    def __init__(self, config: Config, pixels: np.ndarray, targets: np.ndarray) -> None:
        """Train it."""
        torch.manual_seed(config.seed)
        self.net = fit(lesion_paste.build(config), pixels, targets, lesion_paste.loss(config), config,
                       move=lesion_paste.augment)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits (N,)."""
        return outputs(self.net, pixels)[0][:, 0]


class Reconstruction:
    """Normals alone: patches of 8 px are rebuilt from 24 components; the worst patch of an image is its score."""

    def __init__(self, normals: np.ndarray, seed: int) -> None:
        """Fit the components to random patches."""
        patches = self._patches(normals).reshape(-1, 192)
        chosen = np.random.default_rng(seed).choice(len(patches), 20000)
        self.mean = patches[chosen].mean(axis=0)
        self.parts = np.linalg.svd(patches[chosen] - self.mean, full_matrices=False)[2][:24]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the largest error of each image (N,)."""
        gaps = self._patches(pixels) - self.mean
        return np.square(gaps - gaps @ self.parts.T @ self.parts).mean(axis=2).max(axis=1)

    @staticmethod
    def _patches(pixels: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(pixels).movedim(-1, 1).float() / 255
        return torch.nn.functional.unfold(tensor, 8, stride=4).transpose(1, 2).numpy()  # (N, patches, 192)


def taught(config: Config, normals: np.ndarray, bank: lesion_paste.Bank) -> Scorer:
    """Return the scorer that pasting teaches."""
    pixels, targets, _ = lesion_paste.synthesize(normals, bank, config)
    return Scorer(config, pixels, targets)


def supervised(config: Config, normals: np.ndarray, seed: int) -> Scorer:
    """Return a scorer taught by 150 normals and 55 labelled images in the natural mix, as many steps as the others."""
    rng = np.random.default_rng(200 + seed)
    mix = np.repeat((1, 2, 3, 4), (14, 31, 5, 5))
    ill = np.stack([fundus(rng, LARGE, int(grade), STRENGTH, SPREAD).pixels for grade in mix])
    pixels = smaller(np.concatenate([normals, ill]), SMALL)
    targets = np.repeat((0, 1), (len(normals), len(ill)))
    turns = round(2 * config.copies * len(normals) / len(pixels))
    return Scorer(replace(config, epochs=config.epochs * turns, balanced=True), pixels, targets)


def with_normal_tissue(normals: np.ndarray, bank: lesion_paste.Bank, seed: int) -> np.ndarray:
    """Return normal images with patches of their own tissue pasted."""
    made = []
    for row, image in enumerate(normals):
        rng, field = np.random.default_rng((999, seed, row)), lesion_paste.field_of(image)
        own = lesion_paste.normal_bank(image, bank, field, rng)
        made.append(lesion_paste.paste(image, own, field, 0.9, rng).pixels)
    return np.stack(made)


def claims(drawn: dict[str, dict[str, list[float]]]) -> dict[str, str]:
    """Return how often each expectation held over the donors."""
    arms = {name[0]: values for name, values in drawn.items()}
    best = [max(a, b) + 0.05 for a, b in zip(arms["a"]["all"], arms["b"]["all"], strict=True)]
    return {"d over the better of a and b by 0.05": won(arms["d"]["all"], best),
            "e over the better of a and b by 0.05": won(arms["e"]["all"], best),
            "blended over hard": won(arms["d"]["all"], arms["c"]["all"]),
            "d over few labels on grade 1": won(arms["d"]["grade 1"], arms["f"]["grade 1"]),
            "e over few labels on grade 1": won(arms["e"]["grade 1"], arms["f"]["grade 1"]),
            "shortcut of e under 0.62": won([0.62] * DONORS, arms["e"]["shortcut"]),
            "shortcut of d under 0.62": won([0.62] * DONORS, arms["d"]["shortcut"])}


def on_busi(folder: Path, jobs: int) -> dict[str, Any]:
    """Return AUCs of normal against lesion by donor on val, and on test for the arm that is best on val."""
    _, marked = task.split_by_mask(read_set(folder), (LESION,))
    donors = donor_ids([s for s in marked if s.split == "train"])
    with ProcessPoolExecutor(jobs) as pool:
        runs = list(pool.map(by_donor, [folder] * DONORS, range(DONORS), donors))
    val, test = ({name: [run[name][split] for run in runs] for name in BUSI_ARMS} for split in ("val", "test"))
    best = max(val, key=lambda name: float(np.mean(val[name])))
    return {"donors": donors, "val": val, "chosen on val": best, "test of the chosen": test[best]}


def summary(drawn: dict[str, dict[str, list[float]]], busi: dict[str, Any] | None) -> dict[str, str]:
    """Return the mean AUCs over the donors in words."""
    found = {f"drawn, {name}": "AUC " + ", ".join(f"{key} {np.mean(values[key]):.3f}" for key in
                                                 ("all", "grade 1", "shortcut")) for name, values in drawn.items()}
    if busi:
        found |= {f"BUSI val, {name}": f"AUC {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
                  for name, values in busi["val"].items()}
        test = busi["test of the chosen"]
        found["BUSI test, the arm chosen on val"] = f"AUC {np.mean(test):.3f} ({min(test):.3f} to {max(test):.3f})"
    return found


def by_donor(folder: Path, seed: int, donor: str) -> dict[str, dict[str, float]]:
    """Return the AUCs of each arm on val and test when one image of BUSI is the donor."""
    samples, found = read_set(folder), {}
    for name, arm in BUSI_ARMS.items():
        config = replace(arm, donor=donor, seed=seed)
        table = task.read(samples, (LESION,), config)
        train = table.rows("train")
        scorer = Scorer(config, table.pixels[train], table.targets[train])
        found[name] = {}
        for split in ("val", "test"):
            rows = table.rows(split)
            scores = scorer(table.pixels[rows])
            found[name][split] = area(scores[table.targets[rows] == 0], scores[table.targets[rows] == 1])
        print(donor, name, found[name]["val"], flush=True)
    return found


def donor_ids(marked: list[Sample]) -> list[str]:
    """Return donors by turns of both labels, drawn once: their lesions cover 2 to 20 % of the image."""
    order = np.random.default_rng(0).permutation(len(marked))
    chosen: dict[str, list[str]] = {}
    for row in order:
        path = marked[row].mask_path(LESION)
        share = np.asarray(read_study(path).image().convert("L")).mean() / 255 if path else 0
        if 0.02 <= share <= 0.2:
            chosen.setdefault(str(marked[row].label), []).append(marked[row].id)
    turns = [ids[place] for place in range(DONORS) for ids in chosen.values() if place < len(ids)]
    return turns[:DONORS]


if __name__ == "__main__":
    main()
