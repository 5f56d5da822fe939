"""Untrained specialists written to a folder as trained ones are; for the tests beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from specialists.catalog import method_module
from specialists.core.card import Card, Label, write_card
from specialists.core.scope import Scope
from specialists.core.specialist import save_weights

LABELS = {"classification": ("benign", "malignant", "normal"), "triage": ("brain MRI", "head CT"),
          "segmentation": ("lesion", "cyst")}


def specialist_files(folder: Path, name: str, task: str = "classification", *, domain: str = "breast",
                     reach: float | None = None, **card: Any) -> Card:
    """Write a card and random weights; with `reach` a scope around features of zero."""
    method = "unet" if task == "segmentation" else "small_cnn"
    labels = LABELS[task]
    module = method_module(method)
    torch.manual_seed(len(name))
    config = module.tiny(len(labels))
    model = module.build(config).eval()
    width = model.look(torch.zeros(1, 3, 32, 32))[1].shape[1]
    thresholds = {label: {"mask": 0.5, "present": 0.5, "area": 0.0} for label in labels}
    card["input"] = {"size": 32, "thresholds": thresholds, **card.pop("input", {})}
    means, whitening = np.zeros((1, width), np.float32), np.eye(width, dtype=np.float32)
    scope = None if reach is None else Scope(means, whitening, reach)
    weights = save_weights(model, scope, folder / f"{name}.safetensors")
    made = Card(name=name, method=method, task=task, domain=domain, title=name,
                kinds=card.pop("kinds", ("breast ultrasound",)),
                modality="US", body_part="BREAST", labels=tuple(map(Label, labels)), weights=weights,
                config=asdict(config), **card)
    write_card(made, folder / f"{name}.json")
    return made
