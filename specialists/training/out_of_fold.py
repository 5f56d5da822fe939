"""Opinions and similar cases for images that teach the generalist, from nets that never saw the image.

A train row is judged by the net of the other fold and retrieves from that net's own training rows; a
validation row is judged by the nets that ship. It writes text, no image and no weights.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from specialists.core.calibrate import softmax
from specialists.core.index import CaseIndex, IndexCard, Neighbor, joined
from specialists.evaluation import measure
from specialists.training.publish import KEEPS, Run, best_similarity, index_rows, temperatures
from specialists.zoo import Domain

CASES = 10


def write(domain: Domain, runs: Sequence[Run], dhashes: Sequence[bytes], whole: CaseIndex,
          out: Path) -> dict[str, Any]:
    """Write DOMAIN.jsonl, one line a train or validation image, and return figures of simple decisions on it.

    `runs` are the domain's opinions in their order, `dhashes` one a row, `whole` the index that ships.
    """
    opinions = _probabilities(runs)
    cases = _cases(domain, runs, dhashes, whole)
    first = runs[0]
    names = [f"{domain.name}_{run.facts['method']}" for run in runs]
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{domain.name}.jsonl").open("w", encoding="utf-8") as file:
        for row in sorted(cases):
            sample = first.samples[row]
            said = [_opinion(name, run.labels, opinions[k][row])
                    for k, (name, run) in enumerate(zip(names, runs, strict=True))]
            near = [{"id": c.id, "label": c.label, "similarity": round(c.similarity, 4)} for c in cases[row]]
            line = {"id": sample.id, "dataset": sample.dataset, "split": sample.split, "label": sample.label,
                    "group": sample.group, "opinions": said, "cases": near}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    report = {split: _decisions(first, names, opinions, cases, split) for split in ("train", "val")}
    (out / f"{domain.name}.report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def _probabilities(runs: Sequence[Run]) -> np.ndarray:
    """Return (opinions, N, labels): out-of-fold for train, of the shipped nets elsewhere."""
    found = []
    for run in runs:
        half, whole = temperatures(run)
        probabilities = softmax(run.raw["logits"] / whole)
        train = run.rows("train")
        probabilities[train] = softmax(run.raw["oof_logits"][train] / half)
        found.append(probabilities)
    return np.stack(found)


def _cases(domain: Domain, runs: Sequence[Run], dhashes: Sequence[bytes],
           whole: CaseIndex) -> dict[int, list[Neighbor]]:
    """Return the similar cases of each row; thresholds keep as many queries as in the index that ships."""
    first = runs[0]
    samples, fold, train = first.samples, first.raw["fold"], first.rows("train")
    found: dict[int, list[Neighbor]] = {}

    def search(cases: CaseIndex, vector: np.ndarray, row: int) -> list[Neighbor]:
        own = samples[row]
        return cases.search(vector, CASES, exclude_group=own.group, exclude_patient=own.patient,
                            dhash=dhashes[row])

    queries = joined([run.raw["oof_features"] for run in runs])
    for number in sorted(set(fold[train].tolist())):
        held, taught = train[fold[train] == number], train[fold[train] != number]
        bank = joined([run.raw[f"fold_bank_{number}"] for run in runs])[taught]
        rows = index_rows([samples[i] for i in taught], [dhashes[i] for i in taught])
        free = CaseIndex.build(rows, bank, IndexCard(domain.name, ()))
        top = [best_similarity(free, queries[i], samples[i], dhashes[i]) for i in held]
        cases = CaseIndex.build(rows, bank, IndexCard(domain.name, (), float(np.quantile(top, 1 - KEEPS))))
        found |= {int(i): search(cases, queries[i], i) for i in held}
    vectors = joined([run.raw["features"] for run in runs])
    return found | {int(i): search(whole, vectors[i], i) for i in first.rows("val")}


def _opinion(name: str, labels: Sequence[str], probabilities: np.ndarray) -> dict[str, Any]:
    rounded = [round(float(p), 4) for p in probabilities]
    return {"specialist": name, "label": labels[int(probabilities.argmax())],
            "probabilities": dict(zip(labels, rounded, strict=True))}


def _decisions(run: Run, names: Sequence[str], opinions: np.ndarray, cases: dict[int, list[Neighbor]],
               split: str) -> dict[str, Any]:
    """Return figures of each opinion, of their majority and mean, and of the vote of the cases."""
    rows = run.rows(split)
    own = opinions[:, rows]  # (opinions, n, labels)
    mean = own.mean(axis=0)
    ballots = np.eye(own.shape[-1])[own.argmax(axis=-1)].sum(axis=0)
    arms = {**dict(zip(names, own, strict=True)), "mean_probability": mean, "majority": ballots + mean / 10,
            "knn": np.stack([_vote(cases[i], run.labels) for i in rows.tolist()])}
    kept = float(np.mean([bool(cases[i]) for i in rows.tolist()]))
    report: dict[str, Any] = {"n": len(rows), "with_cases": round(kept, 4)}
    for arm, scores in arms.items():
        figures = measure.classification(scores / scores.sum(axis=1, keepdims=True), run.targets[rows],
                                         run.groups(rows), run.labels)
        report[arm] = {key: figures[key] for key in ("accuracy", "macro_f1", "brier", "ece")}
    return report


def _vote(cases: Sequence[Neighbor], labels: Sequence[str]) -> np.ndarray:
    votes: dict[str, float] = defaultdict(float)
    for case in cases:
        votes[case.label] += max(case.similarity, 0) ** 4
    return np.array([votes[label] for label in labels]) + 1e-6
