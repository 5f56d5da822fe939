"""A small world to measure in: drawn images, three specialists and an index that know them by content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assistant.evaluation import __main__ as command
from specialists.core import registry
from specialists.core.card import Card, Label
from specialists.core.errors import UnknownSpecialist
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.index import CaseIndex, IndexCard, Row
from specialists.core.study import Study, read_study

LABELS = ("alpha", "beta", "gamma")
NAMES = ("stones_first", "stones_second", "stones_third")


def card(name: str, macro_f1: float, labels: Sequence[str] = LABELS, domain: str = "stones") -> Card:
    return Card(name, "small_cnn", "classification", domain, name, ("stone photograph",), "XC", "stone",
                tuple(Label(x) for x in labels), data=({"set": "stones_a"},),
                figures={"val": {"macro_f1": macro_f1, "per_class": dict.fromkeys(labels, macro_f1)}})


def said(right: str, chance: float, labels: Sequence[str] = LABELS) -> dict[str, float]:
    """Return a distribution that gives `right` the chance and the others the rest."""
    rest = (1 - chance) / (len(labels) - 1)
    return {label: chance if label == right else rest for label in labels}


@dataclass
class FakeSpecialist:
    """Answers by content of the image; refuses where it holds a text; its features are those of the truth."""

    card: Card
    answers: dict[str, Mapping[str, float] | str] = field(default_factory=dict)
    truths: dict[str, str] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)

    def predict_many(self, studies: Sequence[Study]) -> list[Finding]:
        self.calls.append(len(studies))
        return [self._finding(self.answers[s.sha256]) for s in studies]

    def _finding(self, answer: Mapping[str, float] | str) -> Finding:
        if isinstance(answer, str):
            return Refusal(self.card.name, answer)
        return Classification(self.card.name, dict(answer))

    def embed_many(self, studies: Sequence[Study]) -> np.ndarray:
        places = [LABELS.index(self.truths[s.sha256]) for s in studies]
        return np.eye(len(LABELS), dtype=np.float32)[places]


Rule = Callable[[str, dict[str, str], str], Mapping[str, float]]


class FakeGeneralist:
    """Scores letters by a rule over (truth, option -> letter, text of the prompt)."""

    def __init__(self, rule: Rule, truth_of: Mapping[str, str]) -> None:
        self.rule, self.truth_of = rule, truth_of
        self.seen: list[str] = []
        self.images: list[str] = []
        self.calls = 0

    def score(self, messages: Sequence[Any], options: Sequence[str]) -> dict[str, float]:
        image, text = (part for part in messages[-1]["content"])
        url, words = image["image_url"]["url"], text["text"]
        self.seen.append(words)
        self.images.append(url)
        letters = {label: letter for letter in options for label in LABELS if f"{letter} {label}" in words}
        shares = self.rule(self.truth_of.get(url, ""), letters, words)
        return {letter: float(np.log(shares.get(letter, 1e-9))) for letter in options}

    def score_many(self, conversations: Sequence[Any],
                   options: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        self.calls += 1
        return [self.score(m, o) for m, o in zip(conversations, options, strict=True)]

    def revision(self) -> dict[str, Any]:
        return {"model": "/models/fake", "sha256": "0" * 64}


@dataclass
class World:
    """The data folder, and all that is known of its images."""

    data: Path
    specialists: dict[str, FakeSpecialist]
    truth_of_content: dict[str, str]
    paths: dict[str, Path]

    def use(self, monkeypatch: pytest.MonkeyPatch, generalist: FakeGeneralist) -> None:
        """Let the command ask this generalist."""
        monkeypatch.setattr(command, "_generalist", lambda config: generalist)


def draw(folder: Path, name: str, labels: Sequence[str], count: int, *, patients: bool,
         seed: int) -> list[dict]:
    """Write `count` images a label, two of each patient or group, and their records."""
    rng = np.random.default_rng(seed)
    (folder / name / "images").mkdir(parents=True)
    records = []
    for row in range(count * len(labels)):
        image = f"images/{row}.png"
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / name / image)
        known = {"patient": f"p{row // 2}"} if patients else {"group": row // 2}
        split = ("test", "test", "val", "val", "train")[row // 2 % 5]
        records.append({"id": f"{name}/{row}", "image": image, "dataset": name, "split": split,
                        "source": "drawn", "label": labels[row % len(labels)], "licence": "CC0", "tier": "A",
                        **known})
    write_records(folder / name, records)
    return records


def write_records(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Write the data and let the registry know the stand-ins only."""
    data = tmp_path / "data"
    records = {"stones_a": draw(data, "stones_a", LABELS, 30, patients=True, seed=1),
               "stones_b": draw(data, "stones_b", [x.upper() for x in LABELS], 30, patients=False, seed=2),
               "leaves": draw(data, "leaves", ["green", "red"], 6, patients=True, seed=3)}
    fakes = {name: FakeSpecialist(card(name, 0.5 + i / 10)) for i, name in enumerate(NAMES)}
    truths, paths = {}, {}
    rows, features = [], []
    rng = np.random.default_rng(0)
    for name in ("stones_a", "stones_b"):
        for record in records[name]:
            path = data / name / record["image"]
            study, label = read_study(path), record["label"].lower()
            truths[study.sha256], paths[record["id"]] = label, path
            for fake, chance in zip(fakes.values(), (0.5, 0.6, 0.7), strict=True):
                right = rng.random() < chance
                other = LABELS[(LABELS.index(label) + 1) % 3]
                fake.answers[study.sha256] = said(label if right else other, 0.8)
                fake.truths[study.sha256] = label
            rows.append(Row(record["id"], label, record.get("patient", ""), "", "drawn", "CC0",
                            study.dhash()))
            features.append(np.eye(3)[LABELS.index(label)])
    index = CaseIndex.build(rows, np.array(features), IndexCard("stones", NAMES[:1]))
    monkeypatch.setattr(registry, "cards", lambda: {name: fake.card for name, fake in fakes.items()})
    monkeypatch.setattr(registry, "domains", lambda: {"stones": NAMES})
    monkeypatch.setattr(registry, "load", fakes.__getitem__)

    def load_index(domain: str) -> CaseIndex:
        if domain != "stones":
            raise UnknownSpecialist(domain)
        return index
    monkeypatch.setattr(registry, "load_index", load_index)
    return World(data, fakes, truths, paths)
