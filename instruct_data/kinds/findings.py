"""An open question answered in sentences: kind of image, most likely finding, and what the evidence says."""

from __future__ import annotations

import random
from collections.abc import Sequence

from assistant import template
from assistant.steps import Case, Evidence, Opinion
from instruct_data.dialogue import DIAGNOSIS_QUESTIONS, IMAGE, pick, record
from instruct_data.items import Item, Library
from instruct_data.kinds.evidence import given
from instruct_data.records import Record

QUESTIONS = (*DIAGNOSIS_QUESTIONS, "Describe the image.", "Is there anything abnormal?", "What can you tell me?",
             "Please report the findings.", "What is wrong here?")


def make(library: Library, rng: random.Random) -> Record:
    """Return an open question with or without evidence; sets without a diagnosis give the kind of image alone."""
    item = pick(library.with_evidence if library.with_evidence and rng.random() < 0.6 else library.by_set, rng)
    opinions, cases = given(item.opinions, item.cases, rng)
    evidence = Evidence(moed=tuple(opinions), rad=tuple(cases)) if opinions or cases else None
    style = "published" if rng.random() < 0.25 else "calibrated"
    prompt = template.opening(rng.choice(QUESTIONS), [IMAGE], evidence=evidence, style=style,
                              kind=item.kind if rng.random() < 0.8 else None)
    return record("findings", rng, item, prompt, spoken(item, opinions, cases))


def spoken(item: Item, opinions: Sequence[Opinion], cases: Sequence[Case]) -> str:
    """Return the answer in sentences; it counts the evidence and never names more than the record knows."""
    said = [f"This is a {item.kind} image."]
    if not item.labels:
        return " ".join([*said, "I cannot tell more from it."])
    said.append(f"Most likely {item.label}.")
    if opinions:
        agree = sum(o.label == item.label for o in opinions)
        said.append(f"{agree} of {len(opinions)} specialists say the same.")
    if cases:
        same = sum(c.label == item.label for c in cases)
        said.append(f"{same} of {len(cases)} similar cases carry this label.")
    return " ".join(said)
