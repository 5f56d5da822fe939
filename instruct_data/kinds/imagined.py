"""Weigh imagined evidence about imagined diseases, without an image: how specialists and cases err in general."""

from __future__ import annotations

import math
import random

from assistant.steps import Case, Opinion
from instruct_data.items import Library
from instruct_data.kinds.evidence import decide, gathered, given, invented
from instruct_data.records import Record

METHODS = ("small_cnn", "residual", "hybrid", "resnet", "densenet", "vit", "expert", "model")


def make(library: Library, rng: random.Random) -> Record:
    """Return a decision between invented names on opinions of drawn skill that err together in part."""
    words = invented(rng.choice((2, 2, 3, 3, 4, 4, 5, 6, 8, 12, 16)), rng)
    labels = words if rng.random() < 0.5 or not library.by_set else _real(library, len(words), rng) or words
    truth = rng.choice(labels)
    shared = {x: rng.gauss(0, 1) for x in labels}
    together = rng.random() * 0.8
    opinions = [_opinion(f"{rng.choice(words)}_{rng.choice(METHODS)}", labels, truth, shared, together, rng)
                for _ in range(rng.randint(1, 5))]
    skill, cases = rng.uniform(0.0, 3.0), []
    top = rng.uniform(0.6, 0.99)
    for place in range(10):
        scores = [skill * (x == truth) + together * shared[x] + rng.gauss(0, 0.6) for x in labels]
        label = rng.choices(labels, [math.exp(s) for s in scores])[0]
        cases.append(Case(f"case{place}", label, top - 0.01 * place * rng.random(), "imagined"))
    kept, few = given(opinions, sorted(cases, key=lambda c: -c.similarity), rng)
    return decide(rng, None, gathered(kept or opinions[:1], few, rng), list(labels), truth, see=False)


def _real(library: Library, count: int, rng: random.Random) -> list[str] | None:
    """Return labels of a real set, so that known names are weighed too."""
    sets = [items[0].labels for items in library.by_set.values() if len(items[0].labels) >= 2]
    return list(rng.choice(sets))[:max(2, count)] if sets else None


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
