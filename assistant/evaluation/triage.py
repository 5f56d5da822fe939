"""How often triage names the right kind of image, and refuses others; it asks no generalist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.evaluation.cases import BATCH, Asked, BadEvaluation, LeftOut, check_names, choose, reason
from assistant.evaluation.figures import wilson
from specialists.core.errors import SpecialistsError
from specialists.core.findings import Classification
from specialists.core.study import read_study
from specialists.datasets.kinds import HELD_OUT, KIND_OF
from specialists.datasets.layout import Sample, read_set, set_names

UNKNOWN = "unknown"
KINDS_OF_SETS = KIND_OF | HELD_OUT


@dataclass
class Said:
    """What triage said, by true kind."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(true kind, kind said) -> images."""
    left_out: list[LeftOut] = field(default_factory=list)


def samples_of_kinds(data: Path, split: str, wanted: Sequence[str], limit: int | None,
                     seed: int) -> list[tuple[Sample, str]]:
    """Return the split's samples with their kinds, of every set whose kind is known; raises BadEvaluation."""
    names = set_names(data)
    check_names("set", wanted, names)
    samples = [(sample, KINDS_OF_SETS[name]) for name in wanted or names if name in KINDS_OF_SETS
               for sample in choose(read_set(data / name, [split]), limit, seed)]
    if not samples:
        raise BadEvaluation(f"No image of split {split!r} in a set whose kind of image is known. Known: "
                            f"{', '.join(sorted(KINDS_OF_SETS))}. Found: {', '.join(names) or 'none'}.")
    return samples


def consult(samples: Sequence[tuple[Sample, str]], triage: Asked, *,
            advance: Callable[[int], Any] = lambda count: None) -> Said:
    """Ask triage about every sample, given with its kind; a refusal counts as "unknown"."""
    said = Said()
    for start in range(0, len(samples), BATCH):
        kinds, studies = [], []
        for sample, kind in samples[start:start + BATCH]:
            try:
                studies.append(read_study(sample.path))
                kinds.append(kind)
            except (SpecialistsError, OSError) as error:
                said.left_out.append(LeftOut(sample.id, reason(error)))
        for kind, finding in zip(kinds, triage.predict_many(studies) if studies else (), strict=True):
            said.counts[kind, finding.label if isinstance(finding, Classification) else UNKNOWN] += 1
        advance(len(samples[start:start + BATCH]))
    return said


def summary(said: Said, taught: Sequence[str]) -> dict[str, Any]:
    """Return accuracy over the taught kinds with errors, and how often the others are refused."""
    known = {pair: n for pair, n in said.counts.items() if pair[0] in taught}
    count, right = sum(known.values()), sum(n for (kind, told), n in known.items() if kind == told)
    errors = sorted(((n, kind, told) for (kind, told), n in known.items() if kind != told), reverse=True)
    others = sorted({kind for kind, _ in said.counts if kind not in taught})
    return {
        "n": count, "accuracy": right / count if count else None, "ci95": list(wilson(right, count)),
        "errors": [{"kind": kind, "said": told, "n": n} for n, kind, told in errors],
        "kinds": {kind: _share(said, kind, kind) for kind in sorted({k for k, _ in known})},
        "not_taught": {kind: _share(said, kind, UNKNOWN) for kind in others},
        "left_out": {"n": len(said.left_out),
                     "images": [{"id": x.id, "reason": x.reason} for x in said.left_out]},
    }


def _share(said: Said, kind: str, wanted: str) -> dict[str, Any]:
    count, right = sum(n for (k, _), n in said.counts.items() if k == kind), said.counts[kind, wanted]
    name = "refused_rate" if wanted == UNKNOWN else "accuracy"
    return {"n": count, name: right / count, "ci95": list(wilson(right, count))}
