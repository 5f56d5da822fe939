"""Which option? From the image alone: a letter among lettered options, or a sentence among named ones.

It weighs no evidence (that is `evidence`) and offers exactly one option that holds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from assistant import template
from instruct_data.dialogue import DIAGNOSIS_QUESTIONS, IMAGE, opened, record, told, turns
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.records import Record
from instruct_data.writers.templates import say

SUBSET = 0.25
"""Share of decisions between some of the labels of a set."""
SENTENCE = 0.3
"""Share whose options stand without letters and whose answer is a sentence."""
PUBLISHED = 0.3
"""Share of lettered prompts in GSCo's published words."""
TOLD = 0.9
"""Share of lettered prompts that tell the kind of image."""
MOST = 26
"""Options that can carry letters."""

QUESTIONS = (
    *DIAGNOSIS_QUESTIONS,
    "(What|Which) is the (most likely|most probable|likeliest|best fitting) (diagnosis|finding|option)?",
    "(Which|Which one) of (these|the options|the labels|the diagnoses) (fits|describes|matches) (the|this) image( "
    "best|)?",
    "(Please|) (choose|pick|select|name) the (option|diagnosis|label) that (fits|describes) (the|this) image( "
    "best|).",
    "(Looking at|Judging by|From) (the|this) image( alone|), (which option is right|what is the diagnosis)?",
    "(How would you label|What would you call) (the|this) (image|picture|case)?",
)
ANSWERS = (
    "Most likely {label}.", "Most likely {label}.",
    "(This is|It is|The image shows) most (likely|probably) {label}.",
    "(Of these|Of the options|Among the options|Of the {count} options), {label} (fits best|is the most likely).",
    "(I would choose|My choice is|The best fit is|The answer is) {label}.",
    "The image (is best described as|fits best|speaks most for): {label}.",
)


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield a decision for each label that holds, against labels of the set that do not."""
    for label in item.present or (item.label,):
        if label in item.labels and len(item.labels) > 1:
            yield _decision(item, label, offered(item, label, rng), rng)


def offered(item: Item, label: str, rng: random.Random) -> list[str]:
    """Return the options in the order shown: the label and, of those that do not hold, all or some."""
    others = [x for x in item.labels if x != label and x not in item.present]
    if len(others) > 1 and rng.random() < SUBSET:
        others = rng.sample(others, rng.randint(1, len(others) - 1))
    options = [label, *rng.sample(others, min(len(others), MOST - 1))]
    rng.shuffle(options)
    return options


def lettered(options: Sequence[str], label: str) -> str:
    """Return the letter that a label carries among the options as shown."""
    return template.letters(len(options))[list(options).index(label)]


def _decision(item: Item, label: str, options: Sequence[str], rng: random.Random) -> Record:
    question = say(QUESTIONS, rng)
    if rng.random() < SENTENCE:
        prompt = opened(question, options=options, kind=told(item, rng))
        answer = say(ANSWERS, rng, label=label, count=len(options))
    else:
        style = "published" if rng.random() < PUBLISHED else "calibrated"
        prompt = template.decision(question, [IMAGE], options, evidence=None, style=style, kind=told(item, rng, TOLD))
        answer = lettered(options, label)
    return record("diagnosis", item, turns(prompt, answer), facts=[facts.diagnosis(label)])
