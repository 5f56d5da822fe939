"""Is anything abnormal here? Makes training images from normals and one annotated case, says and measures a score.

It does not say what is abnormal or where: a net that learned from one case knows that it differs from normal, no more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from specialists.core.card import Card
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Finding, Score
from specialists.core.inputs import to_square
from specialists.core.study import Study, read_study
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.evaluation.measure import mean_interval
from specialists.evaluation.profile import auroc

if TYPE_CHECKING:
    from specialists.core.fit import FitConfig

LOG = logging.getLogger(__name__)


class Predicts(Protocol):
    """Anything that answers about a study."""

    def predict(self, study: Study) -> Finding:
        """Return the finding."""
        ...


def answer(card: Card, study: Study, outputs: np.ndarray) -> Score:
    """Return how abnormal one study is, 0..1, from its logit (1,)."""
    value = float(1 / (1 + np.exp(-np.float64(outputs.reshape(-1)[0]))))
    cut = float(card.input["threshold"])
    return Score(card.name, f"abnormality (abnormal from {cut:.2f})", value,
                 meaning="abnormal" if value >= cut else "nothing abnormal found")


def split_by_mask(samples: Sequence[Sample], labels: Sequence[str]) -> tuple[list[Sample], list[Sample]]:
    """Return the samples known to be normal, and those with one of the masks named by `labels`.

    Normal is what has a label that no image with any mask has.
    """
    marked = [s for s in samples if any(s.mask_path(name) for name in labels)]
    taken = {s.label for s in samples if s.record.get("masks")}
    normal = [s for s in samples if not s.record.get("masks") and s.label is not None and s.label not in taken]
    return normal, marked


def read(samples: Sequence[Sample], labels: Sequence[str], config: FitConfig) -> Table:
    """Make the training rows from the normal images and ONE annotated image; other splits are read as they are.

    `labels` name the masks of lesions, the mildest kind first; `config.donor` is the id of the annotated image.
    Targets are int64 (N,), 1 abnormal. A made row carries the sample of the normal image behind it. The method's
    file gives `lesion_bank` and `synthesize`. Raises BadData without normals or a donor.
    """
    method: Any = sys.modules[type(config).__module__]
    normal, marked = split_by_mask(samples, labels)
    canvas = int(getattr(config, "canvas", config.size))
    donor = _donor([s for s in marked if s.split == "train"], str(getattr(config, "donor", "")))
    taught, pixels = _decoded([s for s in normal if s.split == "train"], canvas)
    if donor is None or not taught:
        raise BadData(f"Got {len(taught)} normal training images and {'a' if donor else 'no'} donor with a mask named "
                      f"{' or '.join(labels)}; wanted normal images and one annotated image.")
    image = read_study(donor.path).image()
    masks = {name: _mask(path, canvas) for name in labels if (path := donor.mask_path(name))}
    made, targets, rows = method.synthesize(pixels, method.lesion_bank(to_square(image, canvas), masks), config)
    judged, others = _decoded([s for s in [*normal, *marked] if s.split != "train"], config.size)
    kinds = np.array([int(s in marked) for s in judged], dtype=np.int64)
    return Table((*(taught[row] for row in rows), *judged), np.concatenate([made, others]),
                 np.concatenate([targets.astype(np.int64), kinds]), tuple(labels))


def _donor(marked: Sequence[Sample], wanted: str) -> Sample | None:
    return next((s for s in marked if wanted in ("", s.id)), None)


def _mask(path: Path, side: int) -> np.ndarray:
    gray = read_study(path).image().convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(gray) >= 128


def _decoded(samples: Sequence[Sample], size: int) -> tuple[list[Sample], np.ndarray]:
    kept, pixels = [], [np.zeros((0, size, size, 3), dtype=np.uint8)]
    for sample in samples:
        try:
            pixels.append(to_square(read_study(sample.path).image(), size)[None])
        except BadStudy as error:
            LOG.warning("%s left out: %s", sample.id, error)
            continue
        kept.append(sample)
    return kept, np.concatenate(pixels)


def choose(outputs: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return the threshold of the card's `input`: the one of the best balanced accuracy on logits of val."""
    scores, truth = 1 / (1 + np.exp(-outputs.reshape(-1).astype(np.float64))), targets.reshape(-1) > 0
    if truth.all() or not truth.any():
        return {"threshold": 0.5}
    ranked = np.unique(scores)
    cuts = (ranked[1:] + ranked[:-1]) / 2 if len(ranked) > 1 else np.array([0.5])
    balanced = [(scores[truth] >= cut).mean() + (scores[~truth] < cut).mean() for cut in cuts]
    return {"threshold": round(float(cuts[int(np.argmax(balanced))]), 4)}


def figures(specialist: Predicts, samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any]:
    """Return {n, auroc, ci95, sensitivity, specificity, intervals, normals, refused, per_class: {label: auroc}}.

    per_class has each label of the abnormal images against all normals. What was refused has no score.
    """
    normal, marked = split_by_mask(samples, labels)
    found = [(s, specialist.predict(read_study(s.path)), kind) for part, kind in ((normal, 0), (marked, 1))
             for s in part]
    said = [(s, finding, kind) for s, finding, kind in found if isinstance(finding, Score)]
    if not said:
        return {"n": 0, "refused": len(found)}
    scores = np.array([finding.value for _, finding, _ in said])
    truth = np.array([kind for _, _, kind in said])
    called = np.array([finding.meaning == "abnormal" for _, finding, _ in said])
    groups = [s.group for s, _, _ in said]
    area, within = auroc(np.stack([1 - scores, scores], axis=1), truth, groups)
    out: dict[str, Any] = {"n": len(said), "auroc": area, "ci95": within, "normals": int((truth == 0).sum()),
                           "refused": len(found) - len(said), "intervals": {}, "per_class": {}}
    for name, kind in (("sensitivity", 1), ("specificity", 0)):
        rows = np.flatnonzero(truth == kind)
        if len(rows):
            right = (called[rows] == bool(kind)).astype(float)
            out[name] = round(float(right.mean()), 4)
            out["intervals"][name] = mean_interval(right, [groups[i] for i in rows])
    for label in sorted({str(s.label) for s, _, kind in said if kind}):
        rows = np.array([i for i, (s, _, kind) in enumerate(said) if not kind or s.label == label])
        two = np.stack([1 - scores[rows], scores[rows]], axis=1)
        out["per_class"][label] = auroc(two, truth[rows], [groups[i] for i in rows])[0]
    return out
