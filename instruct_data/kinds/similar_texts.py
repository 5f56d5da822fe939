"""Texts of other cases in a prompt, found as serving finds them; no kind of conversation of its own.

What is found may mislead, and stays: the answer is always the record's.
"""

from __future__ import annotations

import random
from dataclasses import replace

from assistant.collaboration.texts import Apart
from assistant.settings import LIMITS
from assistant.steps import Evidence
from instruct_data.items import Item, Library

SHARE = 0.3
"""Share of the records of a kind whose prompts have similar texts, or say that there are none."""
WRONG = 0.2
"""Share of reports without opinions that are looked for by another image's labels, as by specialists that are wrong."""
PUBLISHED = 0.25
"""Share of those that are worded in the published style."""


def with_texts(evidence: Evidence | None, question: str, item: Item, library: Library, rng: random.Random
               ) -> Evidence | None:
    """Return the evidence, in a share of the cases with texts of other groups; unchanged where nothing is searched.

    For a report what specialists said of the image is looked for. Where none was asked, its labels or key words stand
    in for them, in a share (`WRONG`) those of another image.
    """
    if library.texts is None or rng.random() >= SHARE:
        return evidence
    sample, labels = item.sample, _labels(item, library, rng)
    apart = Apart(patients={name for name in (sample.group, sample.patient) if name})
    found = library.texts.look_up(question, LIMITS.texts, item.kind, apart, labels).texts
    return replace(evidence or Evidence(), texts=found, no_similar_text=not found)


def _labels(item: Item, library: Library, rng: random.Random) -> list[str]:
    if item.opinions:
        return [o.label for o in item.opinions]
    of = rng.choice(library.items) if rng.random() < WRONG else item
    return list(of.present) or [of.note] * bool(of.note)


def style(evidence: Evidence | None, rng: random.Random) -> str:
    """Return how the texts are worded; nothing is drawn where there are none."""
    has_texts = evidence is not None and (evidence.texts or evidence.no_similar_text)
    return "published" if has_texts and rng.random() < PUBLISHED else "calibrated"
