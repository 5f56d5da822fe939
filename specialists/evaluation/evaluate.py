"""The command `consilium specialists evaluate`: figures of every specialist on held-out images, beside its card.

It trains nothing but the yardsticks, and chooses nothing: thresholds and temperatures are those of the cards.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from specialists.__main__ import parse
from specialists.catalog import task_module
from specialists.core import registry
from specialists.core.calibrate import softmax
from specialists.core.card import Card, write_card
from specialists.core.errors import BadData, UnknownSpecialist
from specialists.core.scope import UNKNOWN
from specialists.core.specialist import Specialist
from specialists.datasets.layout import Sample, read_set, set_names
from specialists.evaluation import yardsticks
from specialists.evaluation.measure import without
from specialists.evaluation.profile import outside, profile
from specialists.evaluation.refusals import (
    EACH,
    Asked,
    Shown,
    asked,
    kinds_under,
    readable,
    refusals,
    shown,
)

LOG = logging.getLogger(__name__)
PACKAGES = ("torch", "monai", "scikit-learn", "numpy")
NO_PATIENTS = "The set names no patients: images of one patient may stand on both sides of the split."


@dataclass(frozen=True)
class Evaluate:
    """Measure specialists on the test images of the sets that they were taught from."""

    names: tuple[str, ...]
    """Specialists or domains; all whose sets are there when none is named."""
    data: Path = Path("data")
    """Folder with one folder a set, each with records.jsonl."""
    out: Path | None = None
    """Write a JSON file of results."""
    yardsticks: bool = False
    """Measure simple classifiers on the same splits, too."""
    record: bool = False
    """Write the figures into the cards beside the weights."""
    others: int = EACH
    """Images of each other set that a specialist is shown to count its refusals."""
    cache: Path = Path("build/yardsticks")
    """Folder for the answers of yardsticks that take long to train."""


@dataclass
class Heard:
    """What one specialist gave on images of its own sets and of others."""

    card: Card
    samples: list[Sample] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    """Logits (L,) of a classifier, aligned with `samples`."""
    rows: list[Asked] = field(default_factory=list)

    def probabilities(self) -> np.ndarray:
        """Return calibrated probabilities (N, L) of the samples."""
        return softmax(np.stack(self.outputs) / float(self.card.calibration.get("temperature", 1.0)))

    def truths(self) -> np.ndarray:
        """Return the numbers of the samples' labels (N,)."""
        return np.array([self.card.label_names.index(str(sample.label)) for sample in self.samples])


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, or 1 where a card's figures are not reproduced."""
    flags = parse(Evaluate, argv, "consilium specialists evaluate")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cards = wanted(flags.names, set(set_names(flags.data)))
    rows = evaluate(cards, flags.data, flags.others)
    result: dict[str, Any] = {"settings": _settings(flags, argv), "specialists": rows}
    if flags.yardsticks:
        domains = sorted({card.domain for card in cards if card.task == "classification"})
        result["yardsticks"] = yardsticks.measured(domains, flags.data, flags.cache)
    for name, row in rows.items():
        LOG.info("%s", said(name, row))
    if flags.yardsticks:
        LOG.info("%s", yardsticks.said(result["yardsticks"]))
    if flags.record:
        record(rows)
    if flags.out is not None:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        flags.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(row["missed"] for row in rows.values()))


def wanted(names: Sequence[str], sets: set[str]) -> list[Card]:
    """Return the cards that are named, by name or domain, or all of which a set is there; raises UnknownSpecialist."""
    cards = registry.cards()
    unknown = [n for n in names if n not in cards and all(card.domain != n for card in cards.values())]
    if unknown:
        raise UnknownSpecialist(f"No specialist and no domain named {', '.join(unknown)}. Known: {', '.join(cards)}. "
                                "Choose of these.")
    named = [c for c in cards.values() if not names or c.name in names or c.domain in names]
    found = [card for card in named if any(row["set"] in sets for row in card.data)]
    if not found:
        raise BadData("None of the sets that these specialists were taught from is there; wanted a folder with one of "
                      + ", ".join(sorted({row["set"] for card in named for row in card.data})) + ".")
    return found


def evaluate(cards: Sequence[Card], root: Path, each: int = EACH) -> dict[str, dict[str, Any]]:
    """Return a row a specialist, and one a domain of several ("DOMAIN trio"), by name."""
    own = {row["set"] for card in cards for row in card.data}
    heard = {card.name: Heard(card) for card in cards if card.task != "triage"}
    of_kinds: list[tuple[Sample, str, dict[str, float]]] = []
    names = kinds_under(root)
    if "triage" in registry.cards() and names:
        limits = {name: None if name in own else each for name in names}
        for batch in shown(root, names, registry.triage(), each=limits):
            of_kinds += [(one.sample, one.kind, one.triaged.probabilities) for one in batch]
            for one in heard.values():
                hear(one, batch, each)
            if batch:
                LOG.info("%s: %d images seen", batch[0].sample.dataset, len(of_kinds))
    for one in heard.values():
        if one.card.task == "classification" and not one.samples:
            hear_alone(one, root)
    rows = {name: row for name, one in heard.items() if (row := measured(one, root))}
    for domain, several in trios(list(heard.values())).items():
        rows[f"{domain} trio"] = of_trio(several)
    if any(card.task == "triage" for card in cards):
        rows["triage"] = of_triage(registry.cards()["triage"], of_kinds)
    return rows


def hear(one: Heard, batch: Sequence[Shown], each: int) -> None:
    """Ask one specialist about a batch of one set: all images of its own sets, a share of the others."""
    if not batch:
        return
    dataset, card = batch[0].sample.dataset, one.card
    own = dataset in {row["set"] for row in card.data}
    seen = sum(row.dataset == dataset for row in one.rows)
    images = list(batch) if own else list(batch)[:max(0, each - seen)]
    if not images:
        return
    specialist = registry.load(card.name)
    studies = [image.study for image in images]
    one.rows += asked(card, images, specialist.predict_many(studies))
    if own and card.task == "classification":
        _keep(one, specialist, [(image.sample, image.study) for image in images])


def hear_alone(one: Heard, root: Path) -> None:
    """Ask a classifier about its own sets alone, where nothing tells the kind of these images."""
    for dataset in {row["set"] for row in one.card.data}:
        if (root / dataset / "records.jsonl").is_file():
            for sample, study in readable(read_set(root / dataset, ("test",))):
                _keep(one, registry.load(one.card.name), [(sample, study)])


def _keep(one: Heard, specialist: Specialist, pairs: Iterable[tuple[Sample, Any]]) -> None:
    labelled = [(sample, study) for sample, study in pairs if sample.label in one.card.label_names]
    if labelled:
        outputs, _ = specialist.raw([study for _, study in labelled])
        one.samples += [sample for sample, _ in labelled]
        one.outputs += list(outputs)


def measured(one: Heard, root: Path) -> dict[str, Any] | None:
    """Return the row of one specialist; None where no test image has a truth for it."""
    card = one.card
    if card.task == "classification":
        if not one.samples:
            return None
        groups = [sample.group for sample in one.samples]
        test = profile(one.probabilities(), one.truths(), groups, card.label_names)
        patients = any(sample.patient for sample in one.samples)
    else:
        samples = [s for row in card.data for s in _test(root, str(row["set"]))]
        if not samples:
            return None
        test = task_module(card.task).figures(registry.load(card.name), samples, card.label_names)
        patients = any(sample.patient for sample in samples)
    limits = [*card.limits, *([] if patients else [NO_PATIENTS])]
    return _row(card, test, refusals(card, one.rows) if one.rows else None, limits)


def _row(card: Card, test: dict[str, Any], scope: dict[str, Any] | None, limits: Sequence[str]) -> dict[str, Any]:
    stated = card.figures.get("test") or {}
    return {"task": card.task, "domain": card.domain, "kinds": list(card.kinds), "test": test, "scope": scope,
            "limits": list(dict.fromkeys(limits)), "stated": bool(stated), "missed": outside(stated, test)}


def trios(heard: Sequence[Heard]) -> dict[str, list[Heard]]:
    """Return the classifiers of each domain with several that saw the same images and know the same labels."""
    found: dict[str, list[Heard]] = defaultdict(list)
    for one in heard:
        if one.card.task == "classification" and one.samples:
            found[one.card.domain].append(one)
    return {domain: several for domain, several in found.items() if len(several) > 1
            and len({one.card.label_names for one in several}) == 1
            and len({tuple(s.id for s in one.samples) for one in several}) == 1}


def of_trio(several: Sequence[Heard]) -> dict[str, Any]:
    """Return the row of a domain's specialists together: the mean of their calibrated probabilities."""
    first = several[0]
    mean = np.mean([one.probabilities() for one in several], axis=0)
    test = profile(mean, first.truths(), [s.group for s in first.samples], first.card.label_names)
    joint = [dataclasses.replace(rows[0], by_distance=all(row.by_distance for row in rows))
             for rows in zip(*(one.rows for one in several), strict=True)]
    row = _row(first.card, test, refusals(first.card, joint) if joint else None, first.card.limits)
    return {**row, "task": "trio", "members": [one.card.name for one in several], "stated": False, "missed": []}


def of_triage(card: Card, seen: Sequence[tuple[Sample, str, dict[str, float]]]) -> dict[str, Any]:
    """Return the row of triage: its figures on kinds that it was taught, and how it refuses images of the others."""
    known = [(s, kind, shares) for s, kind, shares in seen if kind in card.label_names and s.dataset in _sets(card)]
    labels = card.label_names
    probabilities = np.array([[shares.get(label, 0.0) for label in labels] for *_, shares in known])
    truths = np.array([labels.index(kind) for _, kind, _ in known])
    test = profile(probabilities, truths, [s.group for s, *_ in known], labels)
    others = [(kind, max(shares, key=shares.__getitem__)) for s, kind, shares in seen if s.dataset not in _sets(card)]
    by_kind = {}
    for kind in sorted({k for k, _ in others}):
        labelled = [label for k, label in others if k == kind]
        by_kind[kind] = {"n": len(labelled), "unknown": labelled.count(UNKNOWN), "named": labelled.count(kind)}
    kept = float(np.mean(probabilities.argmax(axis=1) == truths))
    return _row(card, test, {"n": len(known), "kept": round(kept, 4), "not_taught": by_kind}, card.limits)


def _sets(card: Card) -> set[str]:
    return {str(row["set"]) for row in card.data}


def _test(root: Path, dataset: str) -> list[Sample]:
    return read_set(root / dataset, ("test",)) if (root / dataset / "records.jsonl").is_file() else []


def record(rows: dict[str, dict[str, Any]]) -> None:
    """Write what was measured into the cards beside the weights: figures alone, nothing that an answer hangs on."""
    cards = registry.cards()
    for name, row in rows.items():
        if name not in cards:
            continue
        card = cards[name]
        calibration, scope = dict(card.calibration), dict(card.scope)
        if "ece" in row["test"]:
            calibration["test"] = {"ece": row["test"]["ece"], "ci95": row["test"]["intervals"]["ece"]}
        if row["scope"] is not None:
            scope["test"] = row["scope"]
            scope |= {key: row["scope"][key] for key in ("kept", "refused") if row["scope"].get(key) is not None}
        limits = tuple(row["limits"]) if not any("names no patients" in x for x in card.limits) else card.limits
        write_card(dataclasses.replace(card, figures={**card.figures, "test": row["test"]}, calibration=calibration,
                                       scope=scope, limits=limits), registry.place(name))


def said(name: str, row: dict[str, Any]) -> str:
    """Return a line for people: the main figures, the refusals, and whether the card's figures were met."""
    test, scope = row["test"], row["scope"] or {}
    shown_keys = ("accuracy", "macro_f1", "auroc", "dice", "kappa", "ap50", "brier", "ece")
    few = f" ({without(test)})" if without(test) else ""
    figures = ", ".join(f"{key} {test[key]:.3f}{few if key == 'macro_f1' else ''}" for key in shown_keys
                        if isinstance(test.get(key), float))
    kept = "".join(f", {key} {scope[key]:.1%}" for key in ("kept", "refused") if scope.get(key) is not None)
    verdict = "as its card says" if row["stated"] else "no test figures on its card"
    verdict = "NOT as its card says: " + "; ".join(row["missed"]) if row["missed"] else verdict
    return f"{name}: n {test.get('n')}, {figures}{kept}; {verdict}"


def _settings(flags: Evaluate, argv: Sequence[str]) -> dict[str, Any]:
    return {"command": " ".join(["consilium specialists evaluate", *_without_folders(argv)]), "split": "test",
            "others": flags.others, "date": datetime.now(UTC).date().isoformat(),
            "versions": {name: version(name) for name in PACKAGES}}


def _without_folders(argv: Sequence[str]) -> list[str]:
    """Return the words of the command without the folders of one machine."""
    words = list(argv)
    for place, (flag, word) in enumerate(zip(words, words[1:], strict=False), start=1):
        if flag in ("--data", "--cache"):
            words[place] = "DIR"
        elif Path(word).is_absolute():
            words[place] = Path(word).name
    return words
