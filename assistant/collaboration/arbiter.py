"""The arbiter: a log-linear pool of the same evidence, which stands beside the generalist's decision.

p(option) ∝ p_generalist^w_g · (∏ p_specialist)^(w_s / number of specialists) · p_neighbors^w_n

with the generalist's probabilities from the image alone, each specialist's calibrated ones, and a
similarity-weighted vote of the similar cases under Laplace smoothing. The same pool with the generalist's decision as
a fourth source says how far the decision is to be believed: its confidence. Beside the weights stand the temperatures
of a decision that was not fitted so, and the threshold under which an answer refers to a human. It never decides in the
generalist's place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from assistant.steps import Case, Evidence, Opinion, Pool

SHIPPED = Path(__file__).with_name("arbiter.json")
SOURCES = ("generalist", "specialists", "neighbors")
BELIEVED = ("decision", *SOURCES)
HEARD = ("specialists", "neighbors")
"""Sources that a decision may be without."""
FLOOR = 1e-6
"""Least probability any source can give an option: one certain error must not veto all others."""
SMOOTHING = 1.0
"""Laplace: votes every option has before a case is counted."""
FEWEST = 20
"""Cases under which neither an arbiter nor a temperature is fitted."""

Situation = Literal["alone", "evidence", "conflict"]
"""The decision saw the image alone; saw evidence too; saw evidence and there is a conflict."""


@dataclass(frozen=True)
class Judged:
    """A case whose truth is known, for fitting: all distributions are over the same options."""

    truth: str
    alone: Mapping[str, float]
    """The generalist's probabilities from the image alone."""
    evidence: Evidence
    """Opinions and similar cases in the options' words."""
    decided: Mapping[str, float] | None = None
    """The generalist's probabilities with the evidence in its prompt."""


@dataclass(frozen=True)
class Arbiter:
    """Fitted weights, temperatures and thresholds; the defaults hold until `fit_arbiter` was run."""

    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(SOURCES, 1.0))
    temperatures: Mapping[str, float] = field(
        default_factory=lambda: {"alone": 1.0, "evidence": 1.0, "conflict": 2.0})
    """Divide the log-probabilities of a decision before they are called a confidence."""
    refer_under: float = 0.5
    """An answer less confident than this refers to a human."""
    sure: float = 0.8
    """In a conflict, neither generalist nor pool is trusted below this."""
    clear: float = 2.0
    """The image alone contradicts the evidence when it gives its label this many times the evidence's."""
    belief: Mapping[str, float] | None = None
    """Weights of decision, generalist, specialists and neighbors behind the confidence of a decision with evidence;
    None: the decision alone, by its temperature."""
    belief_without: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same where "specialists" or "neighbors" said nothing, by their name; `belief` where none are fitted."""

    def __post_init__(self) -> None:
        """Refuse weights and temperatures that make no distribution."""
        if set(self.weights) != set(SOURCES) or not all(0 <= w < math.inf for w in self.weights.values()):
            raise ValueError(f"Weights {dict(self.weights)}; wanted at least 0 for each of {SOURCES}.")
        for belief in [*([] if self.belief is None else [self.belief]), *self.belief_without.values()]:
            if set(belief) != set(BELIEVED) or not all(0 <= w < math.inf for w in belief.values()):
                raise ValueError(f"Belief {dict(belief)}; wanted at least 0 for each of {BELIEVED}.")
        if not set(self.belief_without) <= set(HEARD):
            raise ValueError(f"Belief without {sorted(self.belief_without)}; wanted some of {HEARD}.")
        if not all(0 < t < math.inf for t in self.temperatures.values()):
            raise ValueError(f"Temperatures {dict(self.temperatures)}; wanted positive numbers.")

    def pool(self, alone: Mapping[str, float], evidence: Evidence) -> Pool:
        """Return the pool over the options of `alone`."""
        return self._pooled(alone, evidence, self.weights)

    def evidence_pool(self, options: Iterable[str], evidence: Evidence) -> Pool | None:
        """Return the pool of specialists and cases without the generalist; None when there are neither."""
        if not evidence.moed and not evidence.rad:
            return None
        uniform = dict.fromkeys(options, 1.0)
        return self._pooled(uniform, evidence, {**self.weights, "generalist": 0.0})

    def _pooled(self, alone: Mapping[str, float], evidence: Evidence, weights: Mapping[str, float]) -> Pool:
        rows = log_sources(alone, evidence)  # (sources, options)
        shares = _softmax(np.array([weights[source] for source in SOURCES]) @ rows)
        probabilities = dict(zip(alone, map(float, shares), strict=True))
        return Pool(_best(probabilities), probabilities)

    def conflict(self, alone: Mapping[str, float], decided: Mapping[str, float], evidence: Evidence) -> bool:
        """Tell whether generalist and evidence disagree.

        They do when its decision differs from the pool of the evidence, or when the image alone clearly
        pointed elsewhere. An evidence pool that prefers nothing conflicts with nothing.
        """
        pooled = self.evidence_pool(alone, evidence)
        if pooled is None or _flat(pooled.probabilities):
            return False
        before = tempered(alone, self.temperatures["alone"])
        own = _best(before)
        elsewhere = own != pooled.label and before[own] >= self.clear * before[pooled.label]
        return elsewhere or _best(decided) != pooled.label

    def believed(self, alone: Mapping[str, float], decided: Mapping[str, float], evidence: Evidence,
                 conflict: bool = False) -> dict[str, float]:
        """Return the calibrated probability of each option; that of the decision's label is its confidence.

        Where no belief is fitted it is the decision itself, tempered; a conflict tempers it more.
        """
        if not evidence.moed and not evidence.rad:
            return tempered(decided, self.temperatures["alone"])
        if self.belief is None:
            situation: Situation = "conflict" if conflict else "evidence"
            return tempered(decided, self.temperatures[situation])
        missing = "specialists" if not evidence.moed else "neighbors" if not evidence.rad else None
        belief = self.belief_without.get(missing or "", self.belief)
        shares = _softmax(np.array([belief[source] for source in BELIEVED]) @ log_believed(alone, decided, evidence))
        return dict(zip(alone, map(float, shares), strict=True))

    def refer_reason(self, confidence: float, conflict: bool, pool: Pool | None) -> str | None:
        """Return why a decision should go to a human, None when it need not."""
        if confidence < self.refer_under:
            said = (f"{100 * confidence:.{digits}f}" for digits in range(6))  # never "50 % is under 50 %"
            told = next((x for x in said if float(x) < 100 * self.refer_under), f"{100 * confidence}")
            return f"the confidence of {told} % is under {100 * self.refer_under:.3g} %"
        unsure = pool is None or (confidence < self.sure and pool.probabilities[pool.label] < self.sure)
        if conflict and unsure:
            return "the image and the evidence disagree, and neither is sure"
        return None


def log_sources(alone: Mapping[str, float], evidence: Evidence) -> np.ndarray:
    """Return log-probabilities (sources, options) in the order of SOURCES; an absent source is zeros."""
    rows = np.zeros((len(SOURCES), len(alone)))
    options = list(alone)
    rows[0] = _logs(alone, options)
    if evidence.moed:
        rows[1] = np.mean([_logs(opinion.probabilities, options) for opinion in evidence.moed], axis=0)
    if evidence.rad:
        rows[2] = _logs(votes(evidence.rad, options), options)
    return rows


def log_believed(alone: Mapping[str, float], decided: Mapping[str, float], evidence: Evidence) -> np.ndarray:
    """Return log-probabilities (sources, options) in the order of BELIEVED; an absent source is zeros."""
    return np.vstack([_logs(decided, list(alone)), log_sources(alone, evidence)])


def votes(cases: Sequence[Case], options: Sequence[str]) -> dict[str, float]:
    """Return the similarity-weighted vote of the cases over the options, Laplace-smoothed (sums to 1)."""
    counted = dict.fromkeys(options, SMOOTHING)
    for case in cases:
        if case.label in counted:
            counted[case.label] += max(0.0, case.similarity)
    total = sum(counted.values())
    return {option: count / total for option, count in counted.items()}


def mean_probability(opinions: Sequence[Opinion], options: Sequence[str]) -> dict[str, float]:
    """Return the plain mean of the specialists' probabilities over the options."""
    return {option: float(np.mean([opinion.probabilities.get(option, 0.0) for opinion in opinions]))
            for option in options}


def tempered(distribution: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Return the distribution with its log-probabilities divided by the temperature."""
    shares = _softmax(_logs(distribution, list(distribution)) / temperature)
    return dict(zip(distribution, map(float, shares), strict=True))


def fit(cases: Sequence[Judged]) -> dict[str, float]:
    """Return the pool's weights (at least 0) with the least negative log-likelihood."""
    return _fitted_weights(cases, SOURCES, [log_sources(case.alone, case.evidence) for case in cases])


def fit_belief(cases: Sequence[Judged]) -> dict[str, float]:
    """Return the weights of what is believed of a decision; every case needs its `decided`."""
    logs = [log_believed(case.alone, case.decided or {}, case.evidence) for case in cases]
    return _fitted_weights(cases, BELIEVED, logs)


def _fitted_weights(cases: Sequence[Judged], sources: Sequence[str], logs: Sequence[np.ndarray]) -> dict[str, float]:
    """Return a weight (at least 0) for each row of the log-probabilities; the loss is convex in them."""
    if not cases:
        raise ValueError("No cases to fit the arbiter on; give judged cases of the validation split.")
    width = max(len(case.alone) for case in cases)
    rows = np.zeros((len(cases), len(sources), width))
    closed = np.zeros((len(cases), width))  # 0 for an option, a very negative number for padding
    truth = np.array([_place(case) for case in cases])
    for i, found in enumerate(logs):
        rows[i, :, :found.shape[1]] = found
        closed[i, found.shape[1]:] = -1e9
    at = np.arange(len(cases))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.einsum("s,nso->no", weights, rows) + closed
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        expected = np.einsum("no,nso->ns", shares, rows)
        nll = -np.log(np.maximum(shares[at, truth], 1e-300)).mean()
        return float(nll), (expected - rows[at, :, truth]).mean(axis=0)

    found = minimize(loss, np.ones(len(sources)), jac=True, method="L-BFGS-B",
                     bounds=[(0.0, 10.0)] * len(sources))
    return dict(zip(sources, map(float, found.x), strict=True))


def fit_temperature(distributions: Sequence[Mapping[str, float]], truths: Sequence[str]) -> float:
    """Return the temperature (0.05 to 20) with the least negative log-likelihood."""
    logs = [_logs(d, list(d)) for d in distributions]
    places = [list(d).index(truth) for d, truth in zip(distributions, truths, strict=True)]

    def loss(log_temperature: float) -> float:
        shares = [_softmax(row / math.exp(log_temperature))[at] for row, at in zip(logs, places, strict=True)]
        return -float(np.mean(np.log(np.maximum(shares, 1e-300))))

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20.0)), method="bounded")
    return math.exp(float(found.x))  # type: ignore[union-attr]


def fit_arbiter(cases: Sequence[Judged], *, kept_accuracy: float = 0.8, belief: bool = False,
                without: Mapping[str, Sequence[Judged]] | None = None, few: Arbiter | None = None) -> Arbiter:
    """Fit all on judged cases: weights, then temperatures, then the threshold to refer.

    With `belief` that, too, and for each of `without`, cases whose decision was without a source of HEARD.

    The threshold is the least confidence at which the answers kept are right in `kept_accuracy` of cases, and never
    under a half: what is more likely wrong than right goes to a human. The default stays when none gets there.
    Of fewer than FEWEST cases with `decided` nothing is fitted, their weights would be chance: `few` is returned
    (None: what ships).
    """
    decided = [(c, c.decided) for c in cases if c.decided is not None]
    if len(decided) < FEWEST:
        return few or shipped()
    arbiter = Arbiter(weights=fit(cases))
    alone = _temperature_where([(c, c.alone) for c in cases], [True] * len(cases), 1.0)
    arbiter = replace(arbiter, temperatures={**arbiter.temperatures, "alone": alone})
    conflicts = [arbiter.conflict(c.alone, d, c.evidence) for c, d in decided]
    agreed = _temperature_where(decided, [not x for x in conflicts], 1.0)
    temperatures = {"alone": alone, "evidence": agreed,
                    "conflict": max(agreed, _temperature_where(decided, conflicts, 2.0 * agreed))}
    arbiter = replace(arbiter, temperatures=temperatures)
    if belief:
        less = {name: fit_belief(judged) for name, judged in (without or {}).items() if len(judged) >= FEWEST}
        arbiter = replace(arbiter, belief=fit_belief([c for c, _ in decided]), belief_without=less)
    confident = [arbiter.believed(c.alone, d, c.evidence, x)[_best(d)]
                 for (c, d), x in zip(decided, conflicts, strict=True)]
    right = [_best(d) == c.truth for c, d in decided]
    return replace(arbiter, refer_under=max(0.5, threshold(confident, right, kept_accuracy, arbiter.refer_under)))


def save(arbiter: Arbiter, path: Path = SHIPPED) -> None:
    """Write the arbiter as JSON."""
    path.write_text(json.dumps(asdict(arbiter), indent=2) + "\n")


def load(path: Path = SHIPPED) -> Arbiter:
    """Read an arbiter; the defaults when the file is absent."""
    return Arbiter(**json.loads(path.read_text())) if path.exists() else Arbiter()


@cache
def shipped() -> Arbiter:
    """Return the arbiter that ships, read once."""
    return load()


def _temperature_where(decided: Sequence[tuple[Judged, Mapping[str, float]]], chosen: Sequence[bool],
                       otherwise: float) -> float:
    pairs = [pair for pair, yes in zip(decided, chosen, strict=True) if yes]
    if len(pairs) < FEWEST:
        return otherwise
    return fit_temperature([d for _, d in pairs], [c.truth for c, _ in pairs])


def threshold(confident: Sequence[float], right: Sequence[bool], wanted: float, otherwise: float) -> float:
    """Return the least confidence above which the share of right answers is the wanted one, else `otherwise`."""
    order = np.argsort(confident)[::-1]
    accuracy = np.cumsum(np.asarray(right, dtype=float)[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(accuracy >= wanted)
    if not len(good) or good[-1] + 1 < FEWEST:
        return otherwise
    return float(confident[int(order[good[-1]])])


def _place(case: Judged) -> int:
    options = list(case.alone)
    if case.truth not in options:
        raise ValueError(f"The truth {case.truth!r} is not among the options {options}.")
    return options.index(case.truth)


def _logs(distribution: Mapping[str, float], options: Sequence[str]) -> np.ndarray:
    shares = np.array([distribution.get(option, 0.0) for option in options], dtype=float)
    shares = np.maximum(shares, FLOOR)
    return np.log(shares / shares.sum())


def _softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def _best(distribution: Mapping[str, float]) -> str:
    return max(distribution, key=distribution.__getitem__)


def _flat(distribution: Mapping[str, float]) -> bool:
    return max(distribution.values()) - min(distribution.values()) < 1e-9
