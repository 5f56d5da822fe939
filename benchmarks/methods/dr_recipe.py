"""What each choice of the DR grading recipe is worth: one factor at a time, on drawn eyes and on real ones.

It trains small nets for minutes: it tells directions, not the figures of the paper. Test splits stay unread.
    python -m benchmarks.methods.dr_recipe --out results/dr-recipe.json [--data DIR] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.methods.written import won, write
from specialists.core.fit import fit
from specialists.datasets.drawn import fundus, smaller
from specialists.datasets.layout import read_set
from specialists.evaluation.measure import grading
from specialists.grading import dr_recipe, task
from specialists.grading.dr_recipe import Config
from specialists.training.runs import outputs

MIX = (0.73, 0.07, 0.15, 0.025, 0.025)
"""Shares of the grades 0..4, about those of EyePACS."""
STEPS = tuple("01234")
STRENGTH = 1.5
"""Of the lesions: fainter ones are not learned in so few steps with any augmentation."""
FULL = Config(size=64, epochs=16, batch=16, widths=(12, 24, 32, 48))
ARMS: dict[str, Config] = {
    "full recipe": FULL,
    "half the resolution": replace(FULL, size=32),
    "cross-entropy": replace(FULL, loss="ce", label_smoothing=0.0),
    "cross-entropy, most probable grade": replace(FULL, loss="ce", label_smoothing=0.0, top=True),
    "usual augmentation": replace(FULL, augmentation="usual"),
    "no augmentation": replace(FULL, augmentation="none"),
    "class-balanced": replace(FULL, balanced=True),
}
REAL: dict[str, dict[str, Any]] = {
    "odir_fundus": {"scale": "diabetic retinopathy grade",
                    "base": Config(size=128, epochs=30, batch=16, augmentation="usual", flip_vertical=False)},
}


@dataclass(frozen=True, eq=False)
class Eyes:
    """Drawn eyes, two a patient, one after the other."""

    pixels: np.ndarray
    grades: np.ndarray
    patients: list[str]


def draw(patients: int, seed: int, noise: float) -> Eyes:
    """Draw both eyes of patients: one severity a patient, which an eye leaves by a grade in one of five; then noise."""
    rng = np.random.default_rng(seed)
    severity = rng.choice(5, patients, p=MIX).repeat(2)
    eyes = np.clip(severity + rng.choice((-1, 0, 1), 2 * patients, p=(0.1, 0.8, 0.1)) * (severity > 0), 0, 4)
    pixels = np.stack([fundus(rng, 128, int(grade), STRENGTH).pixels for grade in eyes])
    wrong = rng.choice((-1, 1), len(eyes)) * (rng.random(len(eyes)) < noise)
    return Eyes(pixels, np.clip(eyes + wrong, 0, 4), [str(row // 2) for row in range(len(eyes))])


def train(config: Config, pixels: np.ndarray, grades: np.ndarray) -> torch.nn.Module:
    """Return the net that a configuration trains."""
    torch.manual_seed(config.seed)
    return fit(dr_recipe.build(config), pixels, grades, dr_recipe.loss(config), config, move=dr_recipe.augment)


def figures(values: np.ndarray, grades: np.ndarray) -> dict[str, Any]:
    """Return kappa, macro-F1, accuracy and recall of real grades (N,)."""
    found = grading(values, grades.astype(np.int64), [str(row) for row in range(len(grades))], STEPS)
    return {key: found[key] for key in ("kappa", "macro_f1", "accuracy", "mae", "recall")}


def on_drawn(seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of every arm on one drawing of train and test."""
    known, asked = draw(300, 10 + seed, 0.1), draw(150, 1000 + seed, 0.0)
    found: dict[str, dict[str, Any]] = {}
    for name, arm in ARMS.items():
        config = replace(arm, seed=seed)
        sized = [smaller(eyes.pixels, config.size) for eyes in (known, asked)]
        if name == "cross-entropy, most probable grade":
            net.top = True  # type: ignore[union-attr] # noqa: F821 the same weights, another answer
        else:
            net = train(config, sized[0], known.grades)
        said, _ = outputs(net, sized[1])
        found[name] = figures(said[:, 0], asked.grades)
        if name == "full recipe":
            found["both eyes"] = pair(net, sized, known, asked, seed)
        print(seed, name, found[name], flush=True)
    return found


def pair(net: torch.nn.Module, sized: list[np.ndarray], known: Eyes, asked: Eyes, seed: int) -> dict[str, Any]:
    """Return the figures when a small net sees the features of both eyes."""
    taught, judged = (torch.from_numpy(outputs(net, pixels)[1]) for pixels in sized)
    middle, spread = taught.mean(0), taught.std(0) + 1e-6
    taught, judged = (taught - middle) / spread, (judged - middle) / spread
    own, other = dr_recipe.pairs(known.patients)
    head = dr_recipe.fit_pair(taught[own], taught[other], torch.from_numpy(known.grades)[own], seed=seed)
    own, other = dr_recipe.pairs(asked.patients)
    with torch.inference_mode():
        said = head(judged[own], judged[other])[:, 0].numpy()
    return figures(said, asked.grades[own])


def on_real(data: Path, name: str, scale: str, base: Config) -> dict[str, Any]:
    """Return the figures of the squared error and of cross-entropy on the validation split of a real set."""
    table = task.read(read_set(data / name, ("train", "val")), (scale,), base)
    rows, val = table.rows("train"), table.rows("val")
    found: dict[str, Any] = {"train": len(rows), "val": len(val), "size": base.size, "epochs": base.epochs}
    for arm in ("mse", "ce"):
        net = train(replace(base, loss=arm, label_smoothing=0.0), table.pixels[rows], table.targets[rows])
        found[arm] = figures(outputs(net, table.pixels[val])[0][:, 0], table.targets[val])
        print(name, arm, found[arm], flush=True)
    return found


def claims(runs: list[dict[str, dict[str, Any]]]) -> dict[str, str]:
    """Return how often each finding of the paper held, by kappa."""
    def values(name: str, key: str = "kappa") -> list[float]:
        return [run[name][key] for run in runs]
    full = values("full recipe")
    return {"resolution helps (64 over 32 px)": won(full, values("half the resolution")),
            "squared error over cross-entropy (mean grade)": won(full, values("cross-entropy")),
            "squared error over cross-entropy (most probable)": won(full, values("cross-entropy, most probable grade")),
            "full over usual augmentation": won(full, values("usual augmentation")),
            "full over no augmentation": won(full, values("no augmentation")),
            "natural over class-balanced sampling": won(full, values("class-balanced")),
            "class-balanced over natural in macro-F1":
                won(values("class-balanced", "macro_f1"), values("full recipe", "macro_f1")),
            "both eyes over one": won(values("both eyes"), full)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/dr-recipe.json"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    flags = parser.parse_args()
    started = time.perf_counter()
    with ProcessPoolExecutor(flags.jobs) as pool:
        runs = list(pool.map(on_drawn, range(flags.seeds)))
    arms = {name: {"kappa": [run[name]["kappa"] for run in runs],
                   "kappa_mean": round(float(np.mean([run[name]["kappa"] for run in runs])), 4),
                   "macro_f1_mean": round(float(np.mean([run[name]["macro_f1"] for run in runs])), 4),
                   "recall": [run[name]["recall"] for run in runs]} for name in runs[0]}
    real = {name: on_real(flags.data, name, **facts) for name, facts in REAL.items()} if flags.data else {}
    write(flags.out, {"claim": "DR grading depends on resolution, loss, augmentation, sampling and both eyes",
                      "paper": dr_recipe.METHOD.paper, "published": "EyePACS test kappa 0.8631",
                      "command": "python -m benchmarks.methods.dr_recipe --data DIR", "seeds": flags.seeds,
                      "drawn": arms, "held": claims(runs), "real": real, **summary(arms, real)}, started)


def summary(arms: dict[str, Any], real: dict[str, Any]) -> dict[str, str]:
    """Return the mean kappas in words."""
    found = {f"drawn, {name}": f"kappa {arm['kappa_mean']:.3f}, macro-F1 {arm['macro_f1_mean']:.3f}"
             for name, arm in arms.items()}
    return found | {f"{name} val, {arm}": f"kappa {row[arm]['kappa']:.3f}" for name, row in real.items()
                    for arm in ("mse", "ce")}


if __name__ == "__main__":
    main()
