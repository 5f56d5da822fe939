"""Weigh imagined evidence about imagined diseases, without an image: how specialists and cases err in general.

The item only seeds it; nothing is said about any image.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from assistant.steps import Case, Opinion
from instruct_data.dialogue import record, turns
from instruct_data.items import Item, Library
from instruct_data.kinds.diagnosis import lettered
from instruct_data.kinds.evidence import gathered, given, invented, prompted
from instruct_data.records import Record

METHODS = ("small_cnn", "residual", "hybrid", "resnet", "densenet", "vit", "expert", "model")
COUNTS = (2, 2, 3, 3, 4, 4, 5, 6, 8, 12, 16)
"""Numbers of options, each as likely as its sisters."""
REAL = 0.5
"""Share whose options are labels of a real set, so that known names are weighed too."""


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield a decision on opinions and cases of drawn skill that err together in part."""
    words = invented(rng.choice(COUNTS), rng)
    labels = (_real(library, len(words), rng) if rng.random() < REAL else None) or words
    truth = rng.choice(labels)
    shared = {x: rng.gauss(0, 1) for x in labels}
    together = rng.random() * 0.8
    opinions = [_opinion(f"{rng.choice(words)}_{rng.choice(METHODS)}", labels, truth, shared, together, rng)
                for _ in range(rng.randint(1, 5))]
    kept, few = given(opinions, _cases(labels, truth, shared, together, rng), rng)
    rng.shuffle(labels)
    prompt = prompted(gathered(kept or opinions[:1], few, rng), labels, rng, kind=None, see=False)
    yield record("imagined", None, turns(prompt, lettered(labels, truth)))


def _cases(labels: list[str], truth: str, shared: dict[str, float], together: float, rng: random.Random) -> list[Case]:
    skill, top = rng.uniform(0.0, 3.0), rng.uniform(0.6, 0.99)
    cases = []
    for place in range(10):
        scores = [skill * (x == truth) + together * shared[x] + rng.gauss(0, 0.6) for x in labels]
        label = rng.choices(labels, [math.exp(s) for s in scores])[0]
        cases.append(Case(f"case{place}", label, top - 0.01 * place * rng.random(), "imagined"))
    return sorted(cases, key=lambda c: -c.similarity)


def _real(library: Library, count: int, rng: random.Random) -> list[str] | None:
    """Return labels of a real set; None where there is none."""
    sets = [items[0].labels for _, items in sorted(library.by_set.items()) if len(items[0].labels) >= 2]
    if not sets:
        return None
    labels = list(rng.choice(sets))
    return rng.sample(labels, min(len(labels), max(2, count)))


def _opinion(name: str, labels: list[str], truth: str, shared: dict[str, float], together: float,
             rng: random.Random) -> Opinion:
    skill, noise = rng.uniform(0.5, 5.0), 1.0
    scores = {x: skill * (x == truth) + 1.5 * together * shared[x] + rng.gauss(0, noise) for x in labels}
    # The posterior under the same noise is what a calibrated specialist would say.
    posterior = {x: math.exp(min(30.0, skill * s / (noise + 2.25 * together ** 2))) for x, s in scores.items()}
    total = sum(posterior.values())
    shares = {x: v / total for x, v in posterior.items()}
    best = max(shares, key=lambda x: shares[x])
    score = min(0.99, max(0.2, 1 / (1 + (len(labels) - 1) * math.exp(-skill)) + rng.gauss(0, 0.05)))
    return Opinion(name, best, shares, {best: score, "macro": score})
