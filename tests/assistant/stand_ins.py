"""A small zoo that answers what it is told, in place of trained specialists; it loads no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from assistant.collaboration import arbiter, fitted
from specialists.core import registry
from specialists.core.card import Card, Label
from specialists.core.errors import UnknownSpecialist
from specialists.core.findings import Classification, Finding, Masks
from specialists.core.index import Neighbor, Row
from specialists.core.study import Study, read_study

BRAIN = ("glioma", "meningioma", "no tumour", "pituitary tumour")
Answers = Finding | Exception | Callable[[Study], Finding]


def picture(seed: int = 0, side: int = 32) -> np.ndarray:
    """Return a gray picture (side, side, 3), uint8."""
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


def study(seed: int = 0) -> Study:
    """Return the study of a picture."""
    return read_study(picture(seed))


def card(name: str, *, kinds: tuple[str, ...] = ("brain MRI",), labels: tuple[str, ...] = BRAIN,
         task: str = "classification", domain: str = "brain_mri") -> Card:
    """Return a card with validated figures."""
    figures = {"val": {"macro_f1": 0.9, "per_class": dict.fromkeys(labels, 0.8)}}
    return Card(name=name, method="small_cnn", task=task, domain=domain, title=name, kinds=kinds,
                modality="MR", body_part="brain", labels=tuple(Label(x) for x in labels), figures=figures,
                weights={"sha256": f"of {name}"})


def said(name: str, *shares: float, labels: tuple[str, ...] = BRAIN) -> Classification:
    """Return an opinion."""
    return Classification(name, dict(zip(labels, shares, strict=True)))


def lesion(name: str) -> Masks:
    """Return a square mask at (8, 4) to (16, 12)."""
    mask = np.zeros((32, 32), dtype=bool)
    mask[4:12, 8:16] = True
    return Masks(name, {"lesion": mask})


@dataclass
class Zoo:
    """What is in the registry: cards, what each answers, the kind triage names, and the cases of an index."""

    cards: dict[str, Card]
    answers: dict[str, Answers]
    kind: str = "brain MRI"
    neighbors: list[Neighbor] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    retrieved: list[tuple[str, int, str | None]] = field(default_factory=list)

    def load(self, name: str) -> Any:
        """Return a specialist that answers as told."""
        if name not in self.cards:
            raise UnknownSpecialist(f"No specialist named {name!r}.")

        def predict(study: Study) -> Finding:
            self.asked.append(name)
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer(study) if callable(answer) else answer

        return SimpleNamespace(card=self.cards[name], predict=predict)

    def triage(self) -> Any:
        """Return the triage."""
        return SimpleNamespace(predict=lambda study: Classification("triage", {self.kind: 0.9, "other": 0.1}))

    def similar_cases(self, domain: str, study: Study, k: int = 10, *, patient: str | None = None
                      ) -> list[Neighbor]:
        """Return the neighbors, and remember who asked."""
        self.retrieved.append((domain, k, patient))
        return self.neighbors[:k]

    def domains(self) -> Mapping[str, tuple[str, ...]]:
        """Return the domains."""
        return {"brain_mri": tuple(self.cards)}


def install(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Put three brain specialists, a segmenter of the breast and an index into the registry."""
    names = ("brain_mri_hybrid", "brain_mri_residual", "brain_mri_small_cnn")
    cards = {name: card(name) for name in names}
    cards["breast_lesion_unet"] = card("breast_lesion_unet", kinds=("breast ultrasound",), labels=("lesion",),
                                       task="segmentation", domain="breast_ultrasound")
    cards["triage"] = card("triage", kinds=("any",), labels=("brain MRI", "other"),
                           task="triage", domain="triage")
    answers: dict[str, Answers] = {name: said(name, 0.7, 0.1, 0.1, 0.1) for name in names}
    answers["breast_lesion_unet"] = lesion("breast_lesion_unet")
    neighbors = [Neighbor(f"c{i}", "glioma" if i < 3 else "meningioma", 0.9 - i / 10, "set", "CC0")
                 for i in range(5)]
    zoo = Zoo(cards, answers, neighbors=neighbors, rows=[Row("r", label, patient="p7") for label in BRAIN])
    monkeypatch.setattr(registry, "cards", lambda: dict(zoo.cards))
    monkeypatch.setattr(registry, "load", zoo.load)
    monkeypatch.setattr(registry, "triage", zoo.triage)
    index = SimpleNamespace(card=None, rows=tuple(zoo.rows), features=np.zeros((0, 0)))
    monkeypatch.setattr(registry, "load_index", lambda domain: index)
    monkeypatch.setattr(registry, "similar_cases", zoo.similar_cases)
    monkeypatch.setattr(registry, "domains", zoo.domains)
    monkeypatch.setattr(arbiter, "shipped", arbiter.Arbiter)
    monkeypatch.setattr(fitted, "shipped", fitted.Fitted)
    return zoo
