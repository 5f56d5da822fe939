"""Simple classifiers on the splits of the specialists: what the trained nets have to beat, and figures of others.

A linear probe and neighbors on the specialists' own features, gradient boosting on simple features of the image, and
a plain residual net. What is chosen (which net, C, k, leaves, epoch) is chosen on validation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.color import rgb2hsv
from skimage.feature import hog, local_binary_pattern
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from specialists.core import registry
from specialists.core.calibrate import softmax
from specialists.core.errors import BadData
from specialists.core.index import joined
from specialists.core.inputs import to_square
from specialists.datasets.layout import Sample, read_set
from specialists.datasets.table import Table
from specialists.evaluation.measure import classification, rounded
from specialists.evaluation.plain import PlainConfig, plain_probabilities
from specialists.evaluation.refusals import BATCH, readable

LOG = logging.getLogger(__name__)
SIDE = 128
SPLITS = ("train", "val", "test")
ARMS = ("best of trio", "trio", "linear probe", "kNN", "boosting", "plain net")


@dataclass(frozen=True)
class Published:
    """A figure that others state for a set made of the same images; never measured here."""

    dataset: str
    what: str
    accuracy: float
    source: str
    merged: tuple[tuple[str, ...], ...]
    """The labels of our set that make one of theirs each: our trio is measured so, too."""


MEDMNIST = "MedMNIST+ benchmark (Doerrich et al., 2024, https://arxiv.org/abs/2404.15786)"
PUBLISHED: tuple[Published, ...] = (
    Published("busi_breast_ultrasound", "BreastMNIST, AlexNet at 128 px", 0.9060, MEDMNIST,
              (("benign", "normal"), ("malignant",))),
    Published("busi_breast_ultrasound", "BreastMNIST, kNN on frozen DINO features", 0.8718, MEDMNIST,
              (("benign", "normal"), ("malignant",))),
    Published("kermany_chest_xray", "PneumoniaMNIST, linear probe on frozen DINO features", 0.9156, MEDMNIST,
              (("bacterial pneumonia", "viral pneumonia"), ("normal",))),
    Published("kermany_chest_xray", "PneumoniaMNIST, ResNet-18", 0.9113, MEDMNIST,
              (("bacterial pneumonia", "viral pneumonia"), ("normal",))),
)
"""Of nets pre-trained on ImageNet, other splits and more images; ours are from scratch on small images."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One diagnosis set: what each classifier is given; rows of all arrays stay aligned."""

    table: Table
    features: np.ndarray
    """(N, D) of the trio side by side."""
    opinions: np.ndarray
    """(members, N, labels), calibrated."""
    flip_vertical: bool = False
    """Whether the kind of image has no upper side: the plain net is told so as the others are."""

    def of(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return self.table.rows(split)

    def score(self, probabilities: np.ndarray, split: str) -> dict[str, Any]:
        """Return the figures of probabilities (n, labels) of a split."""
        rows = self.of(split)
        groups = [self.table.samples[i].group for i in rows]
        return classification(probabilities, self.table.targets[rows], groups, self.table.labels)


def measured(domains: Iterable[str], root: Path, cache: Path) -> dict[str, Any]:
    """Return {sets: {set: {arm: figures}}, mean: {arm: macro-F1}, wins, published} on test, a set a domain."""
    sets: dict[str, dict[str, Any]] = {}
    published: list[dict[str, Any]] = []
    for domain in domains:
        rows = gathered(domain, root)
        if rows is None or not all(len(rows.of(split)) for split in SPLITS):
            LOG.info("%s: no yardsticks, for want of images in %s", domain, ", ".join(SPLITS))
            continue
        dataset = rows.table.samples[0].dataset
        arms = {**ours(rows), "linear probe": probe(rows), "kNN": neighbors(rows), "boosting": boosting(rows),
                "plain net": plain(rows, cache / f"{dataset}.npz", dataset)}
        sets[dataset] = {arm: rows.score(shares[rows.of("test")], "test") for arm, shares in arms.items()}
        sets[dataset]["patients"] = any(sample.patient for sample in rows.table.samples)
        published += beside(rows, arms["trio"], dataset)
        LOG.info("%s: %s", dataset, {arm: sets[dataset][arm]["macro_f1"] for arm in ARMS})
    return {"sets": sets, "mean": means(sets), "mean_with_patients": means(
        {name: row for name, row in sets.items() if row["patients"]}), "published": published}


def gathered(domain: str, root: Path) -> Rows | None:
    """Read a domain's set once and ask its specialists about every image; None where the set is not there."""
    members = [registry.load(name) for name in registry.domains()[domain]]
    dataset, labels = str(members[0].card.data[0]["set"]), members[0].card.label_names
    if not (root / dataset / "records.jsonl").is_file():
        return None
    samples = [s for s in read_set(root / dataset, SPLITS) if s.label in labels]
    kept: list[Sample] = []
    pixels: list[np.ndarray] = []
    heard: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in members]
    for start in range(0, len(samples), BATCH):
        pairs = list(readable(samples[start:start + BATCH]))
        kept += [sample for sample, _ in pairs]
        pixels += [to_square(study.image(), SIDE) for _, study in pairs]
        for member, rows in zip(members, heard, strict=True) if pairs else ():
            outputs, features = member.raw([study for _, study in pairs])
            rows += zip(outputs, features, strict=True)
    if not kept:
        raise BadData(f"No readable image of {dataset} carries one of the labels {', '.join(labels)}.")
    targets = np.array([labels.index(str(s.label)) for s in kept], dtype=np.int64)
    opinions = np.stack([softmax(np.stack([o for o, _ in rows]) / float(m.card.calibration.get("temperature", 1.0)))
                         for m, rows in zip(members, heard, strict=True)])
    features = joined([_unit(np.stack([f for _, f in rows])) for rows in heard])
    return Rows(Table(tuple(kept), np.stack(pixels), targets, labels), features, opinions,
                bool(members[0].card.config.get("flip_vertical")))


def ours(rows: Rows) -> dict[str, np.ndarray]:
    """Return probabilities (N, labels) of the specialist that is best on validation, and of all together."""
    val = rows.of("val")
    best = max(range(len(rows.opinions)), key=lambda i: rows.score(rows.opinions[i][val], "val")["macro_f1"])
    return {"best of trio": rows.opinions[best], "trio": rows.opinions.mean(axis=0)}


def probe(rows: Rows) -> np.ndarray:
    """Return probabilities of a linear probe on the features."""
    return _best_of(rows, rows.features, [
        lambda c=c: make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
        for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)])


def neighbors(rows: Rows) -> np.ndarray:
    """Return shares of the k nearest training images by cosine."""
    most = len(rows.of("train"))
    return _best_of(rows, rows.features, [
        lambda k=k: KNeighborsClassifier(min(k, most), metric="cosine", weights="distance", algorithm="brute")
        for k in (1, 3, 5, 10, 20, 40)])


def boosting(rows: Rows) -> np.ndarray:
    """Return probabilities of gradient boosting on simple features of the image."""
    simple = np.stack([described(image) for image in rows.table.pixels])
    fixed: dict[str, Any] = {"max_iter": 150, "early_stopping": False, "class_weight": "balanced", "random_state": 0}
    return _best_of(rows, simple, [
        lambda n=n: HistGradientBoostingClassifier(max_leaf_nodes=n, **fixed) for n in (7, 15, 31)])


def described(pixels: np.ndarray) -> np.ndarray:
    """Return simple features of pixels uint8 (size, size, 3): colors, edges by direction, small patterns."""
    channels = [*np.moveaxis(pixels / 255, -1, 0), *np.moveaxis(rgb2hsv(pixels), -1, 0)]
    colors = [np.histogram(channel, 16, (0, 1))[0] / channel.size for channel in channels]
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    edges = hog(np.asarray(Image.fromarray(gray).resize((64, 64))), 8, (16, 16), (1, 1))
    patterns = [np.histogram(local_binary_pattern(gray, 8, r, "uniform"), 10, (0, 10))[0] / gray.size for r in (1, 3)]
    return np.concatenate([*colors, edges, *patterns]).astype(np.float32)


def plain(rows: Rows, place: Path, dataset: str) -> np.ndarray:
    """Return probabilities of the plain net, as stored at `place` or trained now and stored there."""
    ids = [sample.id for sample in rows.table.samples]
    if place.is_file():
        with np.load(place) as stored:
            known = dict(zip(stored["ids"].tolist(), stored["probabilities"], strict=True))
            same = stored["labels"].tolist() == list(rows.table.labels)
        if same and set(ids) <= set(known):
            return np.stack([known[name] for name in ids])
    LOG.info("%s: the plain net trains, which takes minutes", dataset)
    found = plain_probabilities(rows.table, PlainConfig(flip_vertical=rows.flip_vertical))
    place.parent.mkdir(parents=True, exist_ok=True)
    np.savez(place, ids=np.array(ids), probabilities=found.astype(np.float32), labels=np.array(rows.table.labels))
    return found


def means(sets: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the mean macro-F1 of each arm over the sets; empty without sets."""
    return {arm: rounded(np.mean([row[arm]["macro_f1"] for row in sets.values()])) for arm in ARMS if sets}


def beside(rows: Rows, shares: np.ndarray, dataset: str) -> list[dict[str, Any]]:
    """Return the published figures of a set, each with ours for the labels merged as theirs."""
    test, found = rows.of("test"), []
    for told in PUBLISHED:
        labels = rows.table.labels
        if told.dataset != dataset or {x for group in told.merged for x in group} != set(labels):
            continue
        place = np.array([next(i for i, group in enumerate(told.merged) if label in group) for label in labels])
        merged = np.stack([shares[test][:, place == i].sum(axis=1) for i in range(len(told.merged))], axis=1)
        right = merged.argmax(axis=1) == place[rows.table.targets[test]]
        found.append({**asdict(told), "ours": rounded(right.mean()), "n": len(test),
                      "note": "ours: from scratch, small images, another split"})
    return found


def said(result: dict[str, Any]) -> str:
    """Return the table for people: a line a set, macro-F1 of each arm, and the means."""
    lines = [f"{'set':<26}" + "".join(f"{arm:>15}" for arm in ARMS)]
    for name, row in result["sets"].items():
        lines.append(f"{name:<26}" + "".join(f"{row[arm]['macro_f1']:>15.3f}" for arm in ARMS))
    for name in ("mean", "mean_with_patients"):
        if result[name]:
            lines.append(f"{name:<26}" + "".join(f"{result[name][arm]:>15.3f}" for arm in ARMS))
    return "\n".join(lines)


def _best_of(rows: Rows, features: np.ndarray, makers: Sequence[Callable[[], Any]]) -> np.ndarray:
    """Fit each on train, and return probabilities (N, labels) of the one best on validation; of equals the first."""
    train, val, labels = rows.of("train"), rows.of("val"), len(rows.table.labels)
    best, chosen = -1.0, np.zeros((len(features), labels))
    for make in makers:
        model = make().fit(features[train], rows.table.targets[train])
        shares = np.zeros((len(features), labels))
        shares[:, model.classes_] = model.predict_proba(features)
        score = rows.score(shares[val], "val")["macro_f1"]
        if score > best:
            best, chosen = score, shares
    return chosen


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
