"""From distributions to the file of figures and its table; it asks nobody and reads no image."""

from __future__ import annotations

import json
import math
import os
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from assistant.evaluation import figures
from assistant.evaluation.arms import DECIDED, Floats, places_shown, truths
from assistant.evaluation.cases import CaseEvidence, Domain, LeftOut, refusal_counts
from assistant.evaluation.figures import Scores
from specialists.datasets.kinds import OUT_OF_DOMAIN

PACKAGES = ("torch", "transformers", "langchain", "faiss-cpu", "monai", "numpy", "consilium")
PARTS = ("generalist", "best_specialist", "majority", "mean_probability", "knn")
"""What is put together: the arms that the decision must not fall behind."""


@dataclass(frozen=True)
class Measured:
    """One set with the distributions (N, L) of every arm."""

    name: str
    domain: Domain
    cases: Sequence[CaseEvidence]
    left_out: Sequence[LeftOut]
    arms: Mapping[str, Floats]
    confidence: Floats | None = None
    """What users are told with a decision (N,): calibrated, lowered by conflict; None if not asked for."""
    refer: NDArray[np.bool_] | None = None
    """Whether the decision refers to a human (N,)."""
    label_sets: Sequence[Sequence[str]] | None = None
    """Labels that are not ruled out for each case; None where no sets were fitted."""

    @property
    def patients_known(self) -> bool:
        """Whether every case names its patient; else neighbours may be slices of the same one."""
        return all(case.sample.patient is not None for case in self.cases)


MEANS: Mapping[str, Callable[[Measured], bool]] = {
    "mean": lambda m: True,
    "mean_patients_known": lambda m: m.patients_known,
    "mean_in_domain": lambda m: m.name not in OUT_OF_DOMAIN,
    "mean_out_of_domain": lambda m: m.name in OUT_OF_DOMAIN,
}
"""Means by the sets that enter them; sets without specialists enter none."""


def figures_of(measured: Sequence[Measured], seed: int = 0, best_by: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the figures of every set and arm, their means, pooled calibration and paired differences.

    `best_by` are such figures of another split; the parts that are best there are compared as "foreseen".
    """
    scored = {m.name: scores_of(m, seed) for m in measured}
    whole = [m for m in measured if m.domain.cards]  # a set without specialists has no collaboration to compare
    arms = list((whole or measured)[0].arms) if measured else []
    by_name = {**{m.name: [scored[m.name]] for m in whole}, "mean": [scored[m.name] for m in whole]}
    return {
        "datasets": {m.name: {arm: _row(m, arm, s) for arm, s in scored[m.name].items()} for m in measured},
        **{name: {arm: mean_of([scored[m.name][arm] for m in whole if kept(m)]) for arm in arms}
           for name, kept in MEANS.items()},
        "pooled": {arm: _pooled(whole, arm) for arm in arms if whole},
        "paired": _paired([scored[m.name] for m in whole], arms),
        "mcnemar": _mcnemar(whole, arms),
        "parts": {name: _against_best(rows) for name, rows in by_name.items()},
        "foreseen": {name: _against_best(rows, part.get("best")) for name, rows in by_name.items()
                     if (part := (best_by or {}).get("parts", {}).get(name))},
        "trust": trust_of(whole),
        "confidence": _confidence(whole),
        "sets": {m.name: _about(m) for m in measured},
    }


def scores_of(measured: Measured, seed: int) -> dict[str, Scores]:
    """Return the figures of every arm of a set; equal seeds draw equal resamples for a set of this name."""
    labels = measured.domain.labels
    rng = np.random.default_rng([seed, zlib.crc32(measured.name.encode())])
    weights = figures.resample_weights([c.group for c in measured.cases], figures.RESAMPLES, rng)
    truth, order = truths(measured.cases, labels), places_shown(measured.cases, labels)
    return {arm: figures.scores(truth, p, order, weights) for arm, p in measured.arms.items()}


def _row(measured: Measured, arm: str, scores: Scores) -> dict[str, Any]:
    names = {measured.domain.best} if arm == "best_specialist" else {c.name for c in measured.domain.cards}
    blind = arm in ("generalist", "rad", "knn")
    refused = sum(any(r.specialist in names for r in c.evidence.refusals) for c in measured.cases)
    return {"n": scores.n, "accuracy": scores.accuracy, "macro_f1": scores.macro_f1,
            "ci95": list(scores.ci95), "brier": scores.brier, "refusals": 0 if blind else refused}


def mean_of(rows: Sequence[Scores]) -> dict[str, Any]:
    """Return the mean of an arm over sets, those without macro-F1 left out."""
    rows = [r for r in rows if not math.isnan(r.macro_f1)]
    if not rows:
        return {"macro_f1": None, "ci95": [None, None], "accuracy": None, "brier": None, "sets": 0}
    return {"macro_f1": float(np.mean([r.macro_f1 for r in rows])),
            "ci95": list(figures.interval(np.mean([r.resampled for r in rows], axis=0))),
            "accuracy": float(np.mean([r.accuracy for r in rows])),
            "brier": float(np.mean([r.brier for r in rows])), "sets": len(rows)}


def predicted(measured: Measured, arm: str) -> figures.Ints:
    """Return the label numbers (N,) that an arm says."""
    return figures.predictions(measured.arms[arm], places_shown(measured.cases, measured.domain.labels))


def _pooled(measured: Sequence[Measured], arm: str) -> dict[str, Any]:
    top = np.concatenate([m.arms[arm].max(axis=1) for m in measured])
    right = np.concatenate([predicted(m, arm) == truths(m.cases, m.domain.labels) for m in measured])
    return {"ece": figures.ece(top, right), "n": len(top)}


def _paired(scored: Sequence[Mapping[str, Scores]], arms: Sequence[str]) -> dict[str, Any]:
    if DECIDED not in arms:
        return {}
    rows = {}
    for other in arms:
        if other != DECIDED:
            difference, ci95 = figures.paired([s[DECIDED] for s in scored], [s[other] for s in scored])
            rows[f"{DECIDED}-{other}"] = {"mean_difference": difference, "ci95": list(ci95)}
    return rows


def _mcnemar(measured: Sequence[Measured], arms: Sequence[str]) -> dict[str, Any]:
    """Return McNemar's test of the decision against each other arm, over the cases of all sets and of each."""
    if DECIDED not in arms:
        return {}
    right = {m.name: {arm: predicted(m, arm) == truths(m.cases, m.domain.labels) for arm in arms} for m in measured}
    rows = {}
    for other in (arm for arm in arms if arm != DECIDED):
        pooled = [np.concatenate([row[arm] for row in right.values()]) for arm in (DECIDED, other)]
        rows[f"{DECIDED}-{other}"] = {**_test(pooled[0], pooled[1]),
                                      "sets": {name: _test(row[DECIDED], row[other]) for name, row in right.items()}}
    return rows


def _test(first: figures.Flags, second: figures.Flags) -> dict[str, Any]:
    only_first, only_second, p = figures.mcnemar(first, second)
    return {f"only_{DECIDED}": only_first, "only_other": only_second, "p": p}


def _against_best(scored: Sequence[Mapping[str, Scores]], best: str | None = None) -> dict[str, Any]:
    """Return the best of the parts over these sets, or the one named, and the decision minus it."""
    names = [part for part in PARTS if scored and all(part in row for row in scored)]
    if not names or not all(DECIDED in row for row in scored):
        return {}
    means = {part: mean_of([row[part] for row in scored])["macro_f1"] for part in names}
    known = {part: value for part, value in means.items() if value is not None}
    if not known:
        return {}
    best = best if best in known else max(known, key=lambda part: known[part])
    difference, ci95 = figures.paired([row[DECIDED] for row in scored], [row[best] for row in scored])
    return {"best": best, "macro_f1": known[best], "difference": difference, "ci95": list(ci95)}


def trust_of(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return how the decision settles what image alone and the specialists' mean say, over the cases of all sets."""
    if not measured or not all({"generalist", "mean_probability", DECIDED} <= set(m.arms) for m in measured):
        return {}
    return figures.together([figures.Trust.of(
        truths(m.cases, m.domain.labels), predicted(m, "generalist"), predicted(m, "mean_probability"),
        predicted(m, DECIDED)) for m in measured]).rates()


def _confidence(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return how true the confidence of `gsco` is, and how right the answers kept and those referred are."""
    known = [(m, m.confidence, m.refer) for m in measured if m.confidence is not None and m.refer is not None]
    if not known:
        return {}
    right = np.concatenate([predicted(m, DECIDED) == truths(m.cases, m.domain.labels) for m, *_ in known])
    refer = np.concatenate([refer for *_, refer in known])
    return {"n": len(right), "ece": figures.ece(np.concatenate([c for _, c, _ in known]), right),
            "referred": float(refer.mean()) if len(refer) else None,
            "accuracy_kept": float(right[~refer].mean()) if (~refer).any() else None,
            "accuracy_referred": float(right[refer].mean()) if refer.any() else None}


def _about(measured: Measured) -> dict[str, Any]:
    cases, domain = measured.cases, measured.domain
    counts = {label: sum(c.truth == label for c in cases) for label in domain.labels}
    return {"domain": domain.name, "kind": domain.kind, "n": len(cases),
            "groups": len({c.group for c in cases}), "labels": counts,
            "not_in_macro_f1": [x for x, n in counts.items() if n < figures.MIN_COUNT],
            "best_specialist": domain.best, "refusals": refusal_counts(cases),
            "no_similar_case": sum(c.evidence.no_similar_case for c in cases),
            "patients_known": measured.patients_known,
            "left_out": {"n": len(measured.left_out),
                         "images": [{"id": x.id, "reason": x.reason} for x in measured.left_out]}}


def answers(measured: Measured) -> list[dict[str, Any]]:
    """Return every answer of a set as one object a case, for a log."""
    labels = measured.domain.labels
    return [{"set": measured.name, "id": case.sample.id, "truth": case.truth, "options": list(case.options),
             "arms": {arm: dict(zip(labels, np.round(p[row], 6).tolist(), strict=True))
                      for arm, p in measured.arms.items()},
             "evidence": case.evidence.json()} for row, case in enumerate(measured.cases)]


def provenance(measured: Sequence[Measured], revision: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the figures rest on, without a word about the machine: commit, model, weights, versions."""
    cards = {c.name: c for m in measured for c in m.domain.cards}
    return {"commit": commit(), "model": {k: _unplaced(v) for k, v in (revision or {}).items()} or None,
            "specialists": {name: (cards[name].weights or {}).get("sha256") for name in sorted(cards)},
            "versions": {name: version for name in PACKAGES if (version := _version(name))}}


def commit() -> str | None:
    """Return the commit of the source, with "+" where files differ from it; None outside a repository."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True,
                              timeout=10).stdout.strip()
    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _unplaced(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value


def write(file: Path, result: Mapping[str, Any]) -> None:
    """Write the file whole or not at all; figures that do not exist become null."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(_finite(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    part.replace(file)


def note_reading(ledger: Path, figures: str, settings: Mapping[str, Any]) -> None:
    """Note that the test split was read, and for which file of figures; a result rests on one reading."""
    row = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "figures": figures,
           "commit": settings["commit"], "command": settings["command"]}
    with ledger.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return macro-F1 by arm and set, and the means with intervals, all in percent."""
    sets = result["datasets"]
    by_set, by_arm = Table(title="macro-F1 in percent"), Table(title="mean over sets, 95 % intervals")
    by_set.add_column("arm", no_wrap=True)
    for name in sets:
        head = f"{name} n={result['sets'][name]['n']}"
        by_set.add_column(head, justify="right", overflow="fold", min_width=5)
    for head in ("arm", "macro-F1", "gsco minus this", "ECE"):
        by_arm.add_column(head, no_wrap=True)
    for arm, mean in result["mean"].items():
        by_set.add_row(arm, *(_percent(row[arm]["macro_f1"] if arm in row else None) for row in sets.values()))
        pair = result["paired"].get(f"{DECIDED}-{arm}")
        by_arm.add_row(arm, _percent(mean["macro_f1"], mean["ci95"]),
                       _percent(pair["mean_difference"], pair["ci95"]) if pair else "",
                       _percent(result["pooled"][arm]["ece"]))
    return [by_set, by_arm]


def _percent(value: float | None, ci95: Sequence[float | None] = ()) -> str:
    if value is None or math.isnan(value):
        return "-"
    ends = " – ".join(f"{100 * v:.1f}" for v in ci95 if v is not None and not math.isnan(v))
    return f"{100 * value:.1f}" + (f" ({ends})" if ends else "")
