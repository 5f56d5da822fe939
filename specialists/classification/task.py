"""Which disease, or which kind of image? Turns logits into probabilities; triage may say "unknown"."""

from __future__ import annotations

import numpy as np

from specialists.core.calibrate import softmax
from specialists.core.card import Card
from specialists.core.findings import Classification
from specialists.core.scope import EVEN, UNKNOWN
from specialists.core.study import Study


def answer(card: Card, study: Study, outputs: np.ndarray, outside: bool = False) -> Classification:
    """Return the calibrated probabilities of one study's logits (L,); `outside` makes triage say "unknown"."""
    probabilities = softmax(outputs / float(card.calibration.get("temperature", 1.0)))
    named = {name: float(p) for name, p in zip(card.label_names, probabilities, strict=True)}
    if card.task == "triage":
        outside = outside or int(np.ptp(study.rgb())) < EVEN
        zeros = dict.fromkeys(named, 0.0)
        named = {**zeros, UNKNOWN: 1.0} if outside else {**named, UNKNOWN: named.get(UNKNOWN, 0.0)}
    return Classification(card.name, named)
