"""Say what cannot be answered: no image, a question that no image answers, a refusing specialist."""

from __future__ import annotations

import random

from assistant import template
from assistant.steps import Declined, Evidence
from instruct_data.dialogue import DIAGNOSIS_QUESTIONS, IMAGE, pick, record
from instruct_data.items import Library
from instruct_data.records import Record

UNANSWERABLE = ("What is the patient's name?", "How old is the patient?", "Which hospital took this image?",
                "Will the patient survive?", "What is the patient's blood pressure?", "Which drug should be given?",
                "When was the image taken?", "What did the patient eat?", "What does the blood test say?")


def make(library: Library, rng: random.Random) -> Record:
    """Return a question that must not be answered with a finding."""
    item = pick(library.by_set, rng)
    draw = rng.random()
    if draw < 0.4:
        prompt = template.opening(rng.choice(UNANSWERABLE), [IMAGE], kind=item.kind if rng.random() < 0.5 else None)
        return record("refusal", rng, item, prompt, "I cannot tell that from the image.")
    if draw < 0.6:
        prompt = template.opening(rng.choice(DIAGNOSIS_QUESTIONS), [])
        return record("refusal", rng, None, prompt, "There is no image. Please add one.", see=False)
    unknown = [i for n in sorted(library.by_set) if n != item.sample.dataset for i in library.by_set[n][:1] if i.labels]
    other = rng.choice(unknown)
    name, why = other.kind.replace(" ", "_").lower(), reason(other.kind, item.kind)
    evidence = Evidence(refusals=tuple(Declined(f"{name}_{m}", why) for m in ("small_cnn", "residual", "hybrid")))
    prompt = template.opening(rng.choice(DIAGNOSIS_QUESTIONS), [IMAGE], evidence=evidence, kind=item.kind)
    return record("refusal", rng, item, prompt, f"This is a {item.kind} image. The specialists asked are made for "
                  "other images. I cannot tell more from it.")


def reason(made_for: str, seen: str) -> str:
    """Return a refusal as the assistant words it."""
    return f"made for {made_for}; this image looks like {seen}"
