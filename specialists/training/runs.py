"""From a method and a set to raw material of a specialist: nets, out-of-fold logits and features.

It fits three nets a specialist: one on all of train, and one on each half of train (split by group) that
gives the opinion on the other half, so that evidence for teaching the generalist never comes from a net that
saw the image.
`publish` turns the raw material into a card, weights and an index.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from specialists.catalog import method_module
from specialists.core.errors import BadData, BadStudy
from specialists.core.fit import FitConfig, Watch, affine, fit
from specialists.core.inputs import to_square
from specialists.core.method import Served, class_weights, weighted_cross_entropy
from specialists.core.start import begin
from specialists.core.study import read_study
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table

LOG = logging.getLogger(__name__)
FOLDS = 2
PARTS = ("whole", *(f"fold {number}" for number in range(FOLDS)))
"""The fits of `train` in their order."""
Told = Callable[[str, int, float], None]
"""(name of the fit, epoch, mean loss) after each epoch."""


def decode(samples: Sequence[Sample], labels: Sequence[str], size: int) -> Table:
    """Read every image that carries one of the labels; one that cannot be read is named and left out."""
    kept: list[Sample] = []
    pixels: list[np.ndarray] = []
    for sample in samples:
        if sample.label not in labels:
            continue
        try:
            pixels.append(to_square(read_study(sample.path).image(), size))
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        kept.append(sample)
    if not kept:
        raise BadData(f"No readable image carries one of the labels {', '.join(labels)}.")
    targets = np.array([list(labels).index(str(s.label)) for s in kept], dtype=np.int64)
    return Table(tuple(kept), np.stack(pixels), targets, tuple(labels))


def folds(table: Table, rows: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the rows of each fold: disjoint by group, balanced by label."""
    groups = np.array([table.samples[i].group for i in rows])
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return [rows[held] for _, held in splitter.split(rows, table.targets[rows], groups)]


def train(method: str, config: FitConfig, table: Table, out: Path, told: Told | None = None) -> None:
    """Fit the net on train and on each fold; write model.safetensors, raw.npz and config.json under `out`.

    A run that was killed goes on from its last epoch when it is called again on the same table.

    raw.npz: ids; `logits`, `features` of every row by the whole net; `oof_logits`, `oof_features` of train
    rows by the net of the other fold; `fold` of each row (-1 outside train); `fold_bank_K` features of fold
    K's own training rows by its own net, which is what retrieval sees in use.
    """
    module = method_module(method)
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    rows = table.rows("train")
    parts = folds(table, rows, config.seed)
    whole = _fit(module, config, table, rows, _watch(out, PARTS[0], config, told))
    raw: dict[str, np.ndarray] = {"ids": np.array([s.id for s in table.samples]), "targets": table.targets}
    raw["logits"], raw["features"] = outputs(whole, table.pixels)
    raw["oof_logits"], raw["oof_features"] = np.zeros_like(raw["logits"]), np.zeros_like(raw["features"])
    raw["fold"] = np.full(len(table.samples), -1)
    for number, held in enumerate(parts):
        taught = np.setdiff1d(rows, held)
        net = _fit(module, config, table, taught, _watch(out, PARTS[number + 1], config, told))
        raw["fold"][held] = number
        raw["oof_logits"][held], raw["oof_features"][held] = outputs(net, table.pixels[held])
        bank = np.zeros_like(raw["features"])
        bank[taught] = outputs(net, table.pixels[taught])[1]
        raw[f"fold_bank_{number}"] = bank
    _save(whole, raw, {"method": method, "labels": list(table.labels)}, config, started, out)


def train_whole(method: str, config: FitConfig, table: Table, out: Path) -> None:
    """Fit the net on train alone, where no out-of-fold opinion is needed; write the same files as `train`."""
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    net = _fit(method_module(method), config, table, table.rows("train"), _watch(out, PARTS[0], config))
    logits, features = outputs(net, table.pixels)
    raw = {"ids": np.array([s.id for s in table.samples]), "targets": table.targets, "logits": logits,
           "features": features}
    _save(net, raw, {"method": method, "labels": list(table.labels)}, config, started, out)


def train_tool(method: str, config: FitConfig, table: Table, out: Path) -> None:
    """Fit the net of a tool on train; raw.npz holds the features of all rows and the outputs (float16) of val.

    The method file gives `loss(config)`, and `augment` where the usual one does not fit.
    """
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    module, train, val = method_module(method), table.rows("train"), table.rows("val")
    torch.manual_seed(config.seed)
    net = module.build(config)
    if config.start:
        begin(net, config.start)
    net = fit(net, table.pixels[train], table.targets[train], module.loss(config), config,
              _watch(out, PARTS[0], config), getattr(module, "augment", affine))
    known = np.concatenate([train, val])
    _, features = outputs(net, table.pixels[known], mirror=config.mirror)
    said, _ = outputs(net, table.pixels[val], mirror=config.mirror)
    raw = {"ids": np.array([table.samples[i].id for i in known]), "features": features,
           "outputs": said.astype(np.float16), "targets": table.targets[val]}
    _save(net, raw, {"method": method, "labels": list(table.labels)}, config, started, out)


def _save(net: nn.Module, raw: dict[str, np.ndarray], facts: dict[str, Any], config: FitConfig,
          started: float, out: Path) -> None:
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out / "model.safetensors")
    np.savez(out / "raw.npz", **raw)  # pyright: ignore[reportArgumentType]
    facts = {**facts, "config": dataclasses.asdict(config), "seconds": round(time.perf_counter() - started),
             "parameters": sum(p.numel() for p in net.parameters())}
    (out / "config.json").write_text(json.dumps(facts, indent=1) + "\n")
    for checkpoint in out.glob("*.checkpoint"):
        checkpoint.unlink()


def _fit(module: ModuleType, config: FitConfig, table: Table, rows: np.ndarray, watch: Watch) -> nn.Module:
    torch.manual_seed(config.seed)
    net = module.build(config)
    if config.start:
        begin(net, config.start)
    weights = class_weights(table.targets[rows], len(table.labels))
    loss = weighted_cross_entropy(weights, config.label_smoothing)
    return fit(net, table.pixels[rows], table.targets[rows], loss, config, watch)


def _watch(out: Path, part: str, config: FitConfig, told: Told | None = None) -> Watch:
    def report(epoch: int, value: float) -> None:
        if told is not None:
            told(part, epoch, value)
        elif (epoch + 1) % 4 == 0:
            LOG.info("%s %s: epoch %d of %d, loss %.3f", out.name, part, epoch + 1, config.epochs, value)
    return Watch(report, out / f"{part.replace(' ', '_')}.checkpoint")


@torch.inference_mode()
def outputs(net: nn.Module, pixels: np.ndarray, batch: int = 32, mirror: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return what the net says of pixels (N, ..., C) as it does in use, and its L2-normalized features (N, D)."""
    served = Served(net, mirror)
    found, features = [], []
    for start in range(0, len(pixels), batch):
        said, vectors = served(torch.from_numpy(pixels[start:start + batch]).movedim(-1, 1).float().div(255))
        found.append(said)
        features.append(torch.nn.functional.normalize(vectors, dim=1))
    return torch.cat(found).numpy(), torch.cat(features).numpy()
