"""From the raw material of a training run to what ships: weights, cards and the index of a domain.

It trains nothing. Every choice (temperature, scope, thresholds) is made on validation and out-of-fold rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from specialists.catalog import method_module, task_module
from specialists.core.calibrate import fit_temperature, softmax
from specialists.core.card import Card, Label, write_card
from specialists.core.errors import BadData
from specialists.core.findings import Refusal
from specialists.core.index import CaseIndex, IndexCard, Row, joined
from specialists.core.scope import UNKNOWN, Scope, distance, fit_scope
from specialists.core.specialist import Specialist, save_weights
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample, copied
from specialists.evaluation import measure
from specialists.zoo import Domain, Tool

COMMAND = "consilium specialists train --zoo --data DIR"
KEEPS = 0.96
"""Part of the validation queries that keep similar cases."""
LIMITS = ("Trained from scratch on few, small images of one source; other devices and sites were not tried.",
          "For research: not clinically validated, no medical device.")
UNSURE_SPLIT = ("The set names no patients: images of one patient may stand on both sides of the split, so "
                "figures and similar cases may flatter.")


@dataclass(frozen=True)
class Run:
    """Raw material of one training run; rows of arrays and samples stay aligned."""

    folder: Path
    facts: Mapping[str, Any]
    raw: Mapping[str, np.ndarray]
    samples: tuple[Sample, ...]

    @property
    def targets(self) -> np.ndarray:
        """Numbers of the labels (N,)."""
        return self.raw["targets"]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the order of the logits."""
        return tuple(self.facts["labels"])

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return np.array([i for i, s in enumerate(self.samples) if s.split == split], dtype=np.int64)

    def groups(self, rows: Iterable[int]) -> list[str]:
        """Return the groups of rows."""
        return [self.samples[i].group for i in rows]


def done(folder: Path) -> bool:
    """Tell whether a run is complete: config.json is written last."""
    return (folder / "config.json").is_file()


def read_run(folder: Path, samples: Iterable[Sample]) -> Run:
    """Read the rows of a run that are among the samples; raises BadData where one it was taught on is not."""
    if not done(folder):
        raise BadData(f"No complete run in {folder}; wanted model.safetensors, raw.npz and config.json. "
                      "Train it first.")
    by_id = {sample.id: sample for sample in samples}
    with np.load(folder / "raw.npz") as stored:
        raw = {name: stored[name] for name in stored.files}
    known = np.array([name in by_id for name in raw["ids"].tolist()])
    lost = raw["ids"][~known & (raw["fold"] >= 0 if "fold" in raw else True)]
    if len(lost):
        raise BadData(f"{folder.name} was trained on {len(lost)} images that are not there, e.g. {lost[0]}; wanted "
                      "the data it was trained on. Give that folder, or train again.")
    raw = {name: values[known] if len(values) == len(known) else values for name, values in raw.items()}
    facts = json.loads((folder / "config.json").read_text())
    return Run(folder, facts, raw, tuple(by_id[name] for name in raw["ids"].tolist()))


def load_net(run: Run) -> tuple[torch.nn.Module, ModuleType]:
    """Return the trained net of a run and the module of its method."""
    module = method_module(run.facts["method"])
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in run.facts["config"].items()}
    net = module.build(module.Config(**config))
    net.load_state_dict(load_file(run.folder / "model.safetensors"))
    return net.eval(), module


def temperatures(run: Run) -> tuple[float, float]:
    """Return the temperature of out-of-fold train rows, and that of these together with validation."""
    train, val = run.rows("train"), run.rows("val")
    oof, whole = run.raw["oof_logits"][train], run.raw["logits"][val]
    return (fit_temperature(oof, run.targets[train]),
            fit_temperature(np.concatenate([oof, whole]), run.targets[np.concatenate([train, val])]))


def opinion(domain: Domain, run: Run, out: Path) -> Card:
    """Write the card and the weights of one opinion of a domain."""
    train, val = run.rows("train"), run.rows("val")
    _, temperature = temperatures(run)
    figures = {}
    for name, rows, logits in (("val", val, "logits"), ("oof", train, "oof_logits")):
        probabilities = softmax(run.raw[logits][rows] / temperature)
        figures[name] = measure.classification(probabilities, run.targets[rows], run.groups(rows), run.labels)
    scope = fit_scope(run.raw["features"][train], run.targets[train], run.raw["features"][val])
    name = f"{domain.name}_{run.facts['method']}"
    return _write(run, scope, out, {
        "name": name, "task": "classification", "domain": domain.name, "title": domain.title,
        "kinds": (domain.kind,), "modality": domain.modality, "body_part": domain.body_part,
        "labels": tuple(Label(label, domain.codes.get(label)) for label in run.labels), "figures": figures,
        "calibration": {"temperature": temperature, "ece": figures["val"]["ece"]}})


def triage(run: Run, scope: Scope, out: Path) -> Card:
    """Write the card and the weights of triage; the scope is the caller's, fitted on the kinds alone."""
    val, unknown = run.rows("val"), run.labels.index(UNKNOWN)
    logits, targets = run.raw["logits"][val], run.targets[val]
    temperature = fit_temperature(logits, targets)
    probabilities = softmax(logits / temperature)
    far = distance(run.raw["features"][val], scope) > scope.threshold
    probabilities[far] = np.eye(len(run.labels))[unknown]
    known = targets != unknown
    figures = measure.classification(probabilities[known], targets[known], run.groups(val[known]), run.labels)
    figures["unknown_refused"] = round(float((probabilities.argmax(1) == unknown)[~known].mean()), 4)
    kinds = tuple(label for label in run.labels if label != UNKNOWN)
    return _write(run, scope, out, {
        "name": "triage", "task": "triage", "domain": "triage", "title": "Which kind of image it is",
        "kinds": kinds, "modality": "any", "body_part": "any", "labels": tuple(map(Label, run.labels)),
        "figures": {"val": figures}, "calibration": {"temperature": temperature, "ece": figures["ece"]}})


def tool(spec: Tool, run: Run, out: Path) -> Card:
    """Write the card and the weights of a tool; its figures are those of the specialist as it ships."""
    task = task_module(spec.task)
    train, val = run.rows("train"), run.rows("val")
    classes = np.unique([str(s.label) for s in run.samples], return_inverse=True)[1]
    scope = fit_scope(run.raw["features"][train], classes[train], run.raw["features"][val])
    card = _write(run, scope, out, {
        "name": spec.name, "task": spec.task, "domain": spec.domain, "title": spec.title, "kinds": (spec.kind,),
        "modality": spec.modality, "body_part": spec.body_part,
        "labels": tuple(Label(label, spec.codes.get(label)) for label in run.labels),
        "input": task.choose(run.raw["outputs"].astype(np.float32), run.raw["targets"], run.labels)})
    own = list({s.id: s for s in run.samples if s.split == "val"}.values())
    card = dataclasses.replace(card, figures={"val": task.figures(Specialist(card, out), own, run.labels)})
    write_card(card, out / f"{spec.name}.json")
    return card


def _write(run: Run, scope: Scope, out: Path, said: dict[str, Any]) -> Card:
    """Write weights, then the card with what every card says."""
    net, module = load_net(run)
    val = [i for i in run.rows("val") if run.samples[i].label != UNKNOWN]
    kept = float((distance(run.raw["features"][val], scope) <= scope.threshold).mean())
    sets = data_rows(run.samples)
    config = run.facts["config"]
    said["input"] = {"size": config["size"], "channels": 3, "flip": config.get("mirror", True), **said.pop("input", {})}
    unsure = any(s.patient is None for s in run.samples if s.dataset != "drawn")
    limits = (*((UNSURE_SPLIT,) if unsure else ()), *LIMITS)
    card = Card(method=run.facts["method"], paper=module.METHOD.paper, data=tuple(sets),
                license=inherited(sets), config=config, limits=limits,
                scope={"threshold": scope.threshold, "kept": round(kept, 4)},
                weights=save_weights(net, scope, out / f"{said['name']}.safetensors"),
                trained={"seed": config["seed"], "seconds": run.facts["seconds"], "epochs": config["epochs"],
                         "parameters": run.facts["parameters"], "command": COMMAND}, **said)
    write_card(card, out / f"{card.name}.json")
    return card


def with_refusals(card: Card, out: Path, others: Sequence[Study]) -> Card:
    """Add to a published card which part of images of other kinds its scope alone refuses."""
    answers = Specialist(card, out).predict_many(others)
    part = round(float(np.mean([isinstance(answer, Refusal) for answer in answers])), 4)
    card = dataclasses.replace(card, scope={**card.scope, "refused": part})
    write_card(card, out / f"{card.name}.json")
    return card


def data_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return one row a set: how many images of each split, license and tier."""
    rows = []
    for name in sorted({s.dataset for s in samples}):
        own = list({copied(s): s for s in samples if s.dataset == name}.values())  # copies count once
        licenses = Counter(s.license for s in own)
        said = "; ".join(sorted(licenses))
        said = f"per image: {said}" if len(licenses) > 1 else said
        splits = Counter(s.split for s in own)
        rows.append({"set": name, "train": splits["train"], "val": splits["val"], "license": said,
                     "tier": max(s.tier for s in own)})
    return rows


def inherited(sets: Sequence[Mapping[str, Any]]) -> str:
    """Say what the licenses of the training sets allow, by the strictest of them."""
    tier = max((row["tier"] for row in sets), default="A")
    if not tier:  # nobody sorted the terms of these images
        return "as the images: " + "; ".join(sorted({row["license"] for row in sets}))
    words = {"A": "open: use with attribution", "C": "research use only, with attribution",
             "B": "non-commercial, with attribution and share-alike where stated"}[tier]
    return f"{words} (inherits {', '.join(row['set'] for row in sets)})"


def hashes(samples: Sequence[Sample]) -> list[bytes]:
    """Return the difference hash of each image, by which near-duplicates are told."""
    return [read_study(sample.path).dhash() for sample in samples]


def index_rows(samples: Sequence[Sample], duplicates: Sequence[bytes]) -> list[Row]:
    """Return the rows of an index."""
    return [Row(s.id, str(s.label), s.patient or "", s.group, s.source, s.license, dhash)
            for s, dhash in zip(samples, duplicates, strict=True)]


def index(domain: Domain, runs: Sequence[Run], dhashes: Sequence[bytes], out: Path) -> CaseIndex:
    """Write the index of a domain's train rows with the features of all its opinions."""
    first = runs[0]
    train, val = first.rows("train"), first.rows("val")
    features = joined([run.raw["features"] for run in runs])
    rows = index_rows([first.samples[i] for i in train], [dhashes[i] for i in train])
    names = tuple(f"{domain.name}_{run.facts['method']}" for run in runs)
    free = CaseIndex.build(rows, features[train], IndexCard(domain.name, names))
    top = [best_similarity(free, features[i], first.samples[i], dhashes[i]) for i in val]
    threshold = float(np.quantile(top, 1 - KEEPS))
    kept = round(float((np.array(top) >= threshold).mean()), 4)
    figures = {"rows": len(rows), "val": {"n": len(val), "kept": kept}}
    made = CaseIndex.build(rows, features[train], IndexCard(domain.name, names, threshold, figures))
    made.save(out / "index")
    return made


def best_similarity(cases: CaseIndex, vector: np.ndarray, sample: Sample, dhash: bytes) -> float:
    """Return how like the most similar case is that is not the sample's own patient or near-duplicate."""
    found = cases.search(vector, 1, exclude_group=sample.group, exclude_patient=sample.patient, dhash=dhash)
    return found[0].similarity if found else -1.0
