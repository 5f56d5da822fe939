"""How large, in a volume? Reads masks of volumes, draws structures, says their size in mm3 and measures both.

A single image, and a volume of quite another extent, are refused: what is not a volume has no volume. Volumes that
repeat a frame clear of the structures stand beside the real ones, so that "not present" is learned and measured.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from specialists.core.card import Card
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Finding, Refusal, Volumes
from specialists.core.fit import FitConfig
from specialists.core.study import Study, read_study
from specialists.core.volumes import to_box
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation.measure import dice, mean_interval

LOG = logging.getLogger(__name__)
CUTS = (0.3, 0.4, 0.5, 0.6, 0.7)
SMALLEST = 0.25
"""A structure is present from this part of the smallest one of validation on."""
FARTHEST = 1.8
"""A volume whose extent is so many times larger or smaller than usual is one of something else."""
EVERY = 4
"""Beside every so many volumes stands one that repeats a frame clear of the structures."""


class Predicts(Protocol):
    """Anything that answers about a study."""

    def predict(self, study: Study) -> Finding:
        """Return the finding."""
        ...


def answer(card: Card, study: Study, outputs: np.ndarray) -> Volumes | Refusal:
    """Resize the probabilities of logits (L, d, h, w) to the volume; a voxel has one structure at most."""
    if (reason := refused(card, study)) is not None:
        return Refusal(card.name, reason)
    said = torch.sigmoid(torch.from_numpy(np.array(outputs, dtype=np.float32)))[None]  # (1, L, d, h, w)
    probabilities = functional.interpolate(said, tuple(study.pixels.shape[:3]), mode="trilinear")[0].numpy()
    likeliest = probabilities.argmax(axis=0)
    masks: dict[str, np.ndarray] = {}
    absent: list[str] = []
    for number, name in enumerate(card.label_names):
        wanted = card.input["thresholds"][name]
        mask = (probabilities[number] > wanted["mask"]) & (likeliest == number)
        if mask.any() and mask.mean() >= wanted["part"]:
            masks[name] = mask
        else:
            absent.append(name)
    return Volumes(card.name, masks, study.spacing_mm, tuple(absent))


def refused(card: Card, study: Study) -> str | None:
    """Say why a study is not a volume of what was taught, None if it may be one."""
    wanted = " or ".join(card.kinds)
    if not study.volume:
        return (f"It answers for volumes ({wanted}); this is {'a single image' if study.frames == 1 else 'a film'}. "
                "Give the whole volume, e.g. as NIfTI.")
    usual, spacing = card.config.get("extent_mm"), study.spacing_mm
    if usual is None or spacing is None or spacing[0] is None:
        return None
    extent = [n * float(step or 0) for n, step in zip(study.pixels.shape[:3], spacing, strict=True)]
    if all(1 / FARTHEST <= own / ordinary <= FARTHEST for own, ordinary in zip(extent, usual, strict=True)):
        return None
    return (f"It answers for {wanted}, cut to about {_sides(usual)}; this volume covers {_sides(extent)}. "
            "Cut out the region first.")


def _sides(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:.0f}" for side in sides) + " mm"


def truth(sample: Sample, labels: Sequence[str]) -> np.ndarray | None:
    """Return bool (labels, frames, H, W), None where a record has no mask of them; raises BadStudy.

    A record names a file a structure, or one file whose `mask_values` are the structures.
    """
    masks, values = sample.record.get("masks") or {}, sample.record.get("mask_values") or {}
    of_label = {name: int(value) for value, name in values.items()}
    if all(name in of_label for name in labels) and masks:
        whole = _voxels(sample.path.parent.parent / next(iter(masks.values())))
        return np.stack([whole == of_label[name] for name in labels])
    if not all(name in masks for name in labels):
        return None
    return np.stack([_voxels(sample.path.parent.parent / masks[name]) > 0 for name in labels])


def _voxels(path: Path) -> np.ndarray:
    study = read_study(path)
    return (study.pixels if study.values is None else study.values)[..., 0].round()


def read(samples: Sequence[Sample], labels: Sequence[str], config: FitConfig) -> Table:
    """Read every volume with a mask. One that cannot be read is named and left out.

    Pixels are uint8 (N, D, H, W, 1) and targets uint8 (N, labels, D, H, W).
    """
    shape = _shape(config)
    kept, pixels, masks = [], [], []
    for sample in samples:
        try:
            drawn = truth(sample, labels)
            if drawn is None:
                continue
            gray = read_study(sample.path).pixels.mean(axis=3)
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        views = [(gray, drawn)]
        if len(kept) % EVERY == 0 and (frame := clear_frame(drawn)) is not None:
            views.append((np.repeat(gray[frame:frame + 1], len(gray), axis=0), np.zeros_like(drawn)))
        for volume, wanted in views:
            kept.append(sample)
            pixels.append((to_box(volume, shape) * 255).round().astype(np.uint8)[..., None])
            masks.append(np.stack([to_box(mask, shape, smooth=False) for mask in wanted]).astype(np.uint8))
    if not any(mask.any() for mask in masks):
        raise BadData(f"No readable volume has a mask named {' or '.join(labels)}.")
    return Table(tuple(kept), np.stack(pixels), np.stack(masks), tuple(labels))


def clear_frame(masks: np.ndarray) -> int | None:
    """Return the frame farthest from all masks (labels, frames, H, W), None if all frames have some."""
    drawn = np.flatnonzero(masks.any(axis=(0, 2, 3)))
    free = np.setdiff1d(np.arange(masks.shape[1]), drawn)
    if not len(drawn) or not len(free):
        return None
    return int(free[np.argmax(np.abs(free[:, None] - drawn).min(axis=1))])


def choose(outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the card's `input` holds: of each label the cut by the mean Dice of validation, and a least size."""
    probabilities = 1 / (1 + np.exp(-outputs.astype(np.float32)))  # (n, L, d, h, w)
    chosen = {}
    for number, name in enumerate(labels):
        true = targets[:, number] > 0
        has = true.any(axis=(1, 2, 3))
        scores = [np.mean([dice(said > cut, mask) for said, mask in
                           zip(probabilities[has, number], true[has], strict=True)]) for cut in CUTS]
        least = float(true[has].mean(axis=(1, 2, 3)).min())
        chosen[name] = {"mask": CUTS[int(np.argmax(scores))], "part": round(SMALLEST * least, 6)}
    return {"thresholds": chosen}


def figures(specialist: Predicts, samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, dice, ci95, volume_error, clear, clear_said_none, refused, per_class, labels}.

    Dice is the mean over the structures in voxels of the originals; the volume error is the mean of absolute
    differences over true volumes. `clear` are volumes that repeat a frame without the structures. What was refused
    counts as nothing found.
    """
    rows, groups, clear, declined = [], [], [], 0
    for sample in samples:
        true = truth(sample, labels)
        if true is None or not true.any():
            continue
        study = read_study(sample.path)
        finding = specialist.predict(study)
        declined += isinstance(finding, Refusal)
        rows.append([_row(finding, name, mask) for name, mask in zip(labels, true, strict=True)])
        groups.append(sample.group)
        if (frame := clear_frame(true)) is not None:
            beside = specialist.predict(repeated(study, frame))
            clear.append(not (isinstance(beside, Volumes) and beside.masks))
    table = np.array(rows)  # (n, labels, 2): Dice and relative error
    each = {name: {"dice": _mean(table[:, i, 0]), "ci95": mean_interval(table[:, i, 0], groups),
                   "volume_error": _mean(table[:, i, 1]), "volume_error_ci95": mean_interval(table[:, i, 1], groups)}
            for i, name in enumerate(labels)}
    whole = table.mean(axis=1)
    return {"n": len(rows), "dice": _mean(whole[:, 0]), "ci95": mean_interval(whole[:, 0], groups),
            "volume_error": _mean(whole[:, 1]), "clear": len(clear),
            "clear_said_none": round(float(np.mean(clear)), 4) if clear else None, "refused": declined,
            "per_class": {name: own["dice"] for name, own in each.items()}, "labels": each}


def _row(finding: Finding, name: str, true: np.ndarray) -> tuple[float, float]:
    said = finding.masks.get(name) if isinstance(finding, Volumes) else None
    said = np.zeros_like(true) if said is None else said
    return dice(said, true), abs(int(said.sum()) - int(true.sum())) / max(1, int(true.sum()))


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 4)


def repeated(study: Study, frame: int) -> Study:
    """Return a volume of as many frames, all of them one."""
    pixels = np.repeat(study.pixels[frame:frame + 1], study.frames, axis=0)
    return dataclasses.replace(study, pixels=pixels, values=None)


def _shape(config: FitConfig) -> tuple[int, int, int]:
    shape: Callable[[int], tuple[int, int, int]] = sys.modules[type(config).__module__].shape
    return shape(config.size)
