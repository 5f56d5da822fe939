"""From a segmentation method and a set with masks to raw material: a net, its logits and its features.

Images known to lack the structure have empty masks. `publish` turns the raw material into a card and weights.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from specialists.catalog import method_module
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Masks, Refusal
from specialists.core.fit import FitConfig, fit
from specialists.core.inputs import to_float, to_square
from specialists.core.specialist import Specialist
from specialists.core.study import read_study
from specialists.datasets.layout import Sample
from specialists.measure import dice, mean_interval

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskTable:
    """Images with the masks of one structure, decoded: rows stay aligned."""

    samples: tuple[Sample, ...]
    pixels: np.ndarray
    """uint8 (N, size, size, 3)."""
    masks: np.ndarray
    """uint8 (N, 1, size, size), 0 or 1."""

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return np.array([i for i, s in enumerate(self.samples) if s.split == split], dtype=np.int64)


def read_mask(sample: Sample, name: str, size: tuple[int, int]) -> np.ndarray:
    """Return a mask as bool (height, width) for `size` (width, height); empty where the sample has none."""
    path = sample.mask_path(name)
    if path is None:
        return np.zeros(size[::-1], dtype=bool)
    return np.asarray(read_study(path).image().convert("L").resize(size, Image.Resampling.BILINEAR)) >= 128


def decode(samples: Sequence[Sample], name: str, size: int) -> MaskTable:
    """Read every image with its mask; one that cannot be read is named and left out."""
    kept, pixels, masks = [], [], []
    for sample in samples:
        try:
            image = to_square(read_study(sample.path).image(), size)
            mask = read_mask(sample, name, (size, size))
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        kept.append(sample)
        pixels.append(image)
        masks.append(mask[None].astype(np.uint8))
    if not any(mask.any() for mask in masks):
        raise BadData(f"No readable image has a mask named {name!r}.")
    return MaskTable(tuple(kept), np.stack(pixels), np.stack(masks))


def train(method: str, config: FitConfig, table: MaskTable, out: Path) -> None:
    """Fit the net on train; write model.safetensors, raw.npz (ids, logits, features) and config.json."""
    module = method_module(method)
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    rows = table.rows("train")
    torch.manual_seed(config.seed)

    def report(epoch: int, value: float) -> None:
        if (epoch + 1) % 5 == 0:
            LOG.info("%s: epoch %d of %d, loss %.3f", out.name, epoch + 1, config.epochs, value)

    net = module.build(config)
    fit(net, table.pixels[rows], table.masks[rows], module.loss(config), config, report)
    logits, features = outputs(net, table.pixels)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out / "model.safetensors")
    np.savez(out / "raw.npz", ids=np.array([s.id for s in table.samples]), logits=logits, features=features)
    facts: dict[str, Any] = {"method": method, "config": dataclasses.asdict(config),
                             "seconds": round(time.perf_counter() - started),
                             "parameters": sum(p.numel() for p in net.parameters())}
    (out / "config.json").write_text(json.dumps(facts, indent=1) + "\n")


@torch.inference_mode()
def outputs(net: nn.Module, pixels: np.ndarray, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return logits float16 (N, labels, size, size) and features (N, D), averaged over image and mirror."""
    logits, features = [], []
    for start in range(0, len(pixels), batch):
        x = torch.from_numpy(to_float(pixels[start:start + batch]))
        logits.append(((net(x) + net(x.flip(-1)).flip(-1)) / 2).half())
        mean = (net.features(x) + net.features(x.flip(-1))) / 2
        features.append(torch.nn.functional.normalize(mean, dim=1))
    return torch.cat(logits).numpy(), torch.cat(features).numpy()


def thresholds(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Choose mask_threshold, present and min_area for probabilities (N, H, W) and masks (N, H, W).

    What is maximized is the mean Dice of images with the structure plus the balanced accuracy of "present".
    """
    has = truth.any(axis=(1, 2))
    top = probabilities.max(axis=(1, 2))
    best, chosen = -1.0, {}
    for cut in (0.3, 0.4, 0.5, 0.6, 0.7):
        drawn = probabilities > cut
        overlap = np.array([dice(a, b) for a, b in zip(drawn, truth, strict=True)])
        for present in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97):
            for area in (0.0, 0.002, 0.004, 0.008, 0.012, 0.016):
                said = (top >= present) & (drawn.mean(axis=(1, 2)) >= area) & drawn.any(axis=(1, 2))
                balanced = (said[has].mean() + (1 - said[~has].mean() if (~has).any() else 1)) / 2
                score = float((overlap * said)[has].mean() + balanced)
                if score > best + 1e-6:
                    best, chosen = score, {"mask_threshold": cut, "present": present, "min_area": area}
    return chosen


def figures(specialist: Specialist, samples: Sequence[Sample], name: str) -> dict[str, Any]:
    """Return {n, dice, ci95, sensitivity, normals, specificity, refused} in pixels of the original images."""
    overlap, said, has, refused = [], [], [], 0
    for sample in samples:
        study = read_study(sample.path)
        finding = specialist.predict(study)
        refused += isinstance(finding, Refusal)
        drawn = finding.masks.get(name) if isinstance(finding, Masks) else None
        truth = read_mask(sample, name, study.size)
        has.append(truth.any())
        said.append(drawn is not None)
        overlap.append(dice(drawn, truth) if drawn is not None else 0.0)
    there, found = np.array(has), np.array(said)
    groups = [s.group for s, one in zip(samples, has, strict=True) if one]
    values = np.array(overlap)[there]
    return {"n": int(there.sum()), "dice": round(float(values.mean()), 4),
            "ci95": mean_interval(values, groups), "sensitivity": round(float(found[there].mean()), 4),
            "normals": int((~there).sum()),
            "specificity": round(1 - float(found[~there].mean()), 4) if (~there).any() else None,
            "refused": refused}
