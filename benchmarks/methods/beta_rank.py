"""What ranking filters by Beta-Rank is worth against other ranks, on drawn textures and on trained specialists.

Every rank gets the same net, shares and epochs. What lies within the noise of the seeds is said to do so.
    python -m benchmarks.methods.beta_rank --out results/beta-rank.json [--data DIR --runs build/specialists]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.methods.written import won, write
from specialists.catalog import method_module
from specialists.classification import residual
from specialists.core.fit import fit
from specialists.core.method import class_weights, weighted_cross_entropy
from specialists.datasets.layout import Sample, read_set
from specialists.datasets.table import Table
from specialists.evaluation.measure import confusion
from specialists.pruning import beta_rank
from specialists.pruning.beta_rank import RANKERS, Config
from specialists.training.runs import decode, outputs
from specialists.zoo import DOMAINS

SHARES = (0.5, 0.75)
"""Parts of the filters between the convolutions of each block that are removed."""
SEEDS = 5
MIX = (0.80, 0.15, 0.05)
REAL = ("brain_mri", "breast_ultrasound", "knee_xray")
NET = residual.Config(size=32, epochs=24, batch=16, labels=3, widths=(12, 16, 24, 32))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/beta-rank.json"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("build/specialists"))
    parser.add_argument("--thin", type=Path, default=Path("build/thin"))
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--jobs", type=int, default=1)
    flags = parser.parse_args()
    started = time.perf_counter()
    with ProcessPoolExecutor(flags.jobs) as pool:
        drawn = list(pool.map(on_textures, range(SEEDS)))
    facts: dict[str, Any] = {
        "claim": "filters ranked by standardized weights cost a small set of unequal classes less than other ranks",
        "paper": beta_rank.METHOD.paper, "command": "python -m benchmarks.methods.beta_rank --data DIR",
        "published": "ISIC ResNet-56 at 41 % FLOPs cut, accuracy: L1 60.89, HRank 57.33, Beta-Rank 72.44",
        "seeds": SEEDS, "textures": summary(drawn), "held": claims(drawn)}
    if flags.data:
        wanted = [(flags, domain, method) for domain in REAL for method in ("small_cnn", "residual")]
        with ProcessPoolExecutor(flags.jobs) as pool:
            found = pool.map(on_specialist, *zip(*wanted, strict=True))
            facts["specialists"] = {f"{domain}_{method}": row
                                    for (_, domain, method), row in zip(wanted, found, strict=True)}
        facts |= means(facts["specialists"])
    write(flags.out, facts, started)


def means(found: dict[str, Any]) -> dict[str, str]:
    """Return macro-F1 of trained specialists before and after, the mean over them, and how many copies were refused."""
    def mean(arm: str) -> str:
        return f"{np.mean([row[arm]['macro_f1'] for row in found.values()]):.3f}"
    said = {f"macro-F1 of {len(found)} specialists on validation, mean: {arm}": mean(arm)
            for arm in ("before", "out_over_in", "l1", "in_over_out")}
    return {**said, "copies by out_over_in that were refused":
            ", ".join(name for name, row in found.items() if row["out_over_in"]["refused"]) or "none"}


def textures(seed: int, counts: tuple[int, int], size: int = 32) -> Table:
    """Draw three textures of unequal frequency: smooth noise of three grains that lie close to each other."""
    rng = np.random.default_rng(seed)
    samples, pixels, targets = [], [], []
    for split, count in zip(("train", "val"), counts, strict=True):
        mix = MIX if split == "train" else (1 / 3,) * 3
        for label in np.repeat(range(3), [round(count * share) for share in mix]):
            grain = gaussian_filter(rng.normal(size=(size, size)), (0.9 + 0.45 * label, 1.3))
            gray = 128 + 40 * grain / grain.std() + rng.normal(0, 15, (size, size))
            pixels.append((gray[..., None] + rng.normal(0, 20, 3)).clip(0, 255).astype(np.uint8))
            targets.append(int(label))
            key = str(len(samples))
            samples.append(Sample(key, Path(), "textures", split, "abc"[label], None, key, "", "", "A"))
    return Table(tuple(samples), np.stack(pixels), np.array(targets, dtype=np.int64), tuple("abc"))


def on_textures(seed: int) -> dict[str, Any]:
    """Return the figures of the whole net and of every thinner one on one drawing."""
    table = textures(seed, (400, 300))
    train = table.rows("train")
    torch.manual_seed(seed)
    loss = weighted_cross_entropy(class_weights(table.targets[train], 3), NET.label_smoothing)
    config = dataclasses.replace(NET, seed=seed)
    net = fit(residual.build(config), table.pixels[train], table.targets[train], loss, config)
    found: dict[str, Any] = {"whole": {**figures(net, table), "cost": cost(net)}}
    for share in SHARES:
        for ranker in RANKERS:
            how = Config(ranker=ranker, share=share, epochs=3, seed=seed)
            made = beta_rank.compress(residual, config, net, table, how)
            found[f"{ranker} {share}"] = {**figures(made.net, table), "cost": cost(made.net)}
    print(seed, {name: row["balanced"] for name, row in found.items()}, flush=True)
    return {**found, "overlap": {ranker: overlap(net, table, ranker) for ranker in RANKERS[:4]}}


def figures(net: nn.Module, table: Table) -> dict[str, float]:
    """Return balanced accuracy, macro-F1 and the recall of the rarest class on validation."""
    rows = table.rows("val")
    matrix = confusion(outputs(net, table.pixels[rows])[0].argmax(axis=1), table.targets[rows], 3)
    said = beta_rank.figures(net, table)
    recall = np.diagonal(matrix) / matrix.sum(axis=1)
    return {"balanced": round(float(recall.mean()), 4), "macro_f1": said["macro_f1"],
            "minority_recall": said["minority_recall"]}


def cost(net: nn.Module) -> dict[str, float]:
    """Return parameters, millions of floating point operations and milliseconds of one image on this CPU."""
    image = torch.rand(1, 3, NET.size, NET.size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(image)
    with torch.inference_mode():
        times = []
        for _ in range(30):
            begun = time.perf_counter()
            net(image)
            times.append(time.perf_counter() - begun)
    return {"parameters": sum(p.numel() for p in net.parameters()),
            "mflops": round(counter.get_total_flops() / 1e6, 3), "ms": round(1000 * float(np.median(times)), 3)}


def overlap(net: nn.Module, table: Table, ranker: str) -> float:
    """Return the share of the top quarter of filters that two other batches agree on, the mean over layers."""
    tops = []
    for seed in (1, 2):
        chosen = np.random.default_rng(seed).choice(table.rows("train"), 64, replace=False)
        images = torch.from_numpy(table.pixels[chosen]).movedim(-1, 1).float() / 255
        scores = beta_rank.ranks(net, residual.links(NET), images, Config(ranker=ranker))
        tops.append([set(np.argsort(-s)[:max(1, len(s) // 4)].tolist()) for s in scores])
    return round(float(np.mean([len(a & b) / len(a) for a, b in zip(*tops, strict=True)])), 3)


def summary(drawn: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of each arm by seed with their means, and the cost, by arm."""
    out: dict[str, Any] = {}
    for name in drawn[0]:
        if name == "overlap":
            out[name] = {ranker: float(np.mean([run[name][ranker] for run in drawn])) for ranker in drawn[0][name]}
            continue
        rows = [run[name] for run in drawn]
        out[name] = {"balanced": [row["balanced"] for row in rows],
                     "balanced_mean": round(float(np.mean([row["balanced"] for row in rows])), 4),
                     "macro_f1_mean": round(float(np.mean([row["macro_f1"] for row in rows])), 4),
                     "minority_recall_mean": round(float(np.mean([row["minority_recall"] for row in rows])), 4),
                     "cost": {**rows[0]["cost"], "ms": float(np.median([row["cost"]["ms"] for row in rows]))}}
    return out


def claims(drawn: list[dict[str, Any]]) -> dict[str, str]:
    """Return in how many seeds each direction was ahead, by balanced accuracy, and the noise to judge it by."""
    def values(name: str) -> list[float]:
        return [run[name]["balanced"] for run in drawn]
    found = {}
    for direction in RANKERS[:2]:
        for share in SHARES:
            own = values(f"{direction} {share}")
            found |= {f"{direction} over {other}, {share} removed": won(own, values(f"{other} {share}"))
                      for other in RANKERS if other != direction}
            gaps = np.subtract(own, values(f"l1 {share}"))
            found[f"{direction} less l1, {share} removed, balanced accuracy"] = (
                f"{gaps.mean():+.3f} ± {gaps.std(ddof=1):.3f} over seeds")
    return found


def on_specialist(flags: argparse.Namespace, domain: str, method: str) -> dict[str, Any]:
    """Compress a trained run by three ranks on one budget; the copy by the code's direction is the one to keep."""
    spec = {d.name: d for d in DOMAINS}[domain]
    run = flags.runs / f"{domain}_{method}"
    with np.load(run / "raw.npz") as raw:
        known = set(raw["ids"].tolist())
    samples = [s for s in read_set(flags.data / spec.dataset) if s.id in known]
    table = decode(samples, tuple(sorted({s.label for s in samples if s.label})), 128)
    found: dict[str, Any] = {}
    for ranker in ("out_over_in", "l1", "in_over_out"):
        how = Config(ranker=ranker, share=flags.share if method == "small_cnn" else 1.75 * flags.share, epochs=8)
        out = flags.thin / (run.name if ranker == "out_over_in" else f"{run.name}_{ranker}")
        made = beta_rank.compress_run(run, table, how, out)
        found["before"] = made.before
        found[ranker] = {**made.after, "share": how.share, "refused": made.refused,
                         "bytes_fp16": 2 * made.after["parameters"]}
        print(run.name, ranker, made.before, made.after, flush=True)
    assert hasattr(method_module(method), "links")
    return found


if __name__ == "__main__":
    main()
