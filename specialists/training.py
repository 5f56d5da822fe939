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
from collections.abc import Sequence
from dataclasses import dataclass
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
from specialists.core.fit import FitConfig, fit
from specialists.core.inputs import to_float, to_square
from specialists.core.method import class_weights, weighted_cross_entropy
from specialists.core.study import read_study
from specialists.datasets.layout import Sample

LOG = logging.getLogger(__name__)
FOLDS = 2


@dataclass(frozen=True)
class Table:
    """Images of one question, decoded: rows stay aligned."""

    samples: tuple[Sample, ...]
    pixels: np.ndarray
    """uint8 (N, size, size, 3)."""
    targets: np.ndarray
    """int64 (N,), numbers into `labels`."""
    labels: tuple[str, ...]

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return np.array([i for i, s in enumerate(self.samples) if s.split == split], dtype=np.int64)


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


def train(method: str, config: FitConfig, table: Table, out: Path) -> None:
    """Fit the net on train and on each fold; write model.safetensors, raw.npz and config.json under `out`.

    raw.npz: ids; `logits`, `features` of every row by the whole net; `oof_logits`, `oof_features` of train
    rows by the net of the other fold; `fold` of each row (-1 outside train); `fold_bank_K` features of fold
    K's own training rows by its own net, which is what retrieval sees in use.
    """
    module = method_module(method)
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    rows = table.rows("train")
    parts = folds(table, rows, config.seed)
    whole = _fit(module, config, table, rows, f"{out.name} whole")
    raw: dict[str, np.ndarray] = {"ids": np.array([s.id for s in table.samples]), "targets": table.targets}
    raw["logits"], raw["features"] = outputs(whole, table.pixels)
    raw["oof_logits"], raw["oof_features"] = np.zeros_like(raw["logits"]), np.zeros_like(raw["features"])
    raw["fold"] = np.full(len(table.samples), -1)
    for number, held in enumerate(parts):
        taught = np.setdiff1d(rows, held)
        net = _fit(module, config, table, taught, f"{out.name} fold {number}")
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
    net = _fit(method_module(method), config, table, table.rows("train"), f"{out.name} whole")
    logits, features = outputs(net, table.pixels)
    raw = {"ids": np.array([s.id for s in table.samples]), "targets": table.targets, "logits": logits,
           "features": features}
    _save(net, raw, {"method": method, "labels": list(table.labels)}, config, started, out)


def _save(net: nn.Module, raw: dict[str, np.ndarray], facts: dict[str, Any], config: FitConfig,
          started: float, out: Path) -> None:
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out / "model.safetensors")
    np.savez(out / "raw.npz", **raw)  # pyright: ignore[reportArgumentType]
    facts = {**facts, "config": dataclasses.asdict(config), "seconds": round(time.perf_counter() - started),
             "parameters": sum(p.numel() for p in net.parameters())}
    (out / "config.json").write_text(json.dumps(facts, indent=1) + "\n")


def _fit(module: ModuleType, config: FitConfig, table: Table, rows: np.ndarray, name: str) -> nn.Module:
    torch.manual_seed(config.seed)
    net = module.build(config)
    weights = class_weights(table.targets[rows], len(table.labels))
    loss = weighted_cross_entropy(weights, config.label_smoothing)

    def report(epoch: int, value: float) -> None:
        if (epoch + 1) % 4 == 0:
            LOG.info("%s: epoch %d of %d, loss %.3f", name, epoch + 1, config.epochs, value)

    return fit(net, table.pixels[rows], table.targets[rows], loss, config, report)


@torch.inference_mode()
def outputs(net: nn.Module, pixels: np.ndarray, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, labels) and L2-normalized features (N, D), both averaged over image and mirror."""
    logits, features = [], []
    for start in range(0, len(pixels), batch):
        x = torch.from_numpy(to_float(pixels[start:start + batch]))
        found = [net.features(view) for view in (x, x.flip(-1))]
        logits.append(sum(net.head(f) for f in found) / 2)
        mean = (found[0] + found[1]) / 2
        features.append(torch.nn.functional.normalize(mean, dim=1))
    return torch.cat(logits).numpy(), torch.cat(features).numpy()
