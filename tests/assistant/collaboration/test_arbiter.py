"""Tests of the log-linear pool, its fit, confidence, conflict and referral."""

from __future__ import annotations

import numpy as np
import pytest

from assistant.collaboration import arbiter
from assistant.collaboration.arbiter import Arbiter, Judged
from assistant.steps import Case, Evidence, Opinion, Pool


def opinion(**probabilities: float) -> Opinion:
    return Opinion("s", max(probabilities, key=probabilities.__getitem__), probabilities, {})


def case(label: str, similarity: float = 0.9) -> Case:
    return Case("1", label, similarity, "set")


def test_pool_is_the_weighted_product_of_its_sources():
    evidence = Evidence(moed=(opinion(a=0.8, b=0.2), opinion(a=0.5, b=0.5)), rad=(case("b", 1.0),))
    weights = {"generalist": 0.5, "specialists": 2.0, "neighbors": 1.0}
    pool = Arbiter(weights).pool({"a": 0.3, "b": 0.7}, evidence)
    a = 0.3**0.5 * (0.8 * 0.5) ** (2 / 2) * (1 / 3)
    b = 0.7**0.5 * (0.2 * 0.5) ** (2 / 2) * (2 / 3)
    assert pool.probabilities == pytest.approx({"a": a / (a + b), "b": b / (a + b)})
    assert pool.label == max(pool.probabilities, key=pool.probabilities.__getitem__)


def test_pool_without_evidence_is_the_generalist_and_zero_weights_are_uniform():
    alone = {"a": 0.3, "b": 0.7}
    assert Arbiter().pool(alone, Evidence()).probabilities == pytest.approx(alone)
    nothing = Arbiter(dict.fromkeys(arbiter.SOURCES, 0.0)).pool(alone, Evidence())
    assert nothing.probabilities == pytest.approx({"a": 0.5, "b": 0.5})


def test_a_certain_error_is_no_veto():
    evidence = Evidence(moed=(opinion(a=1.0, b=0.0),))
    pool = Arbiter().pool({"a": 0.0, "b": 1.0}, evidence)
    assert pool.probabilities == pytest.approx({"a": 0.5, "b": 0.5})


def test_votes_weigh_by_similarity_and_ignore_other_labels():
    cases = (case("a", 0.5), case("a", 0.5), case("b", 1.0), case("c", 1.0), case("b", -1.0))
    assert arbiter.votes(cases, ["a", "b"]) == pytest.approx({"a": 0.5, "b": 0.5})
    assert arbiter.votes((), ["a", "b"]) == pytest.approx({"a": 0.5, "b": 0.5})


def simulated(count: int = 400, seed: int = 0) -> list[Judged]:
    """Return cases whose specialists are right in 90 % and whose generalist and neighbors guess."""
    random = np.random.default_rng(seed)
    options = ["a", "b", "c"]
    out = []
    for _ in range(count):
        truth = options[random.integers(3)]
        said = truth if random.random() < 0.85 else options[random.integers(3)]
        sure = {o: 0.9 if o == said else 0.05 for o in options}
        guess = dict(zip(options, map(float, random.dirichlet(np.ones(3))), strict=True))
        near = tuple(case(options[random.integers(3)]) for _ in range(5))
        out.append(Judged(truth, guess, Evidence(moed=(opinion(**sure),), rad=near), decided=sure))
    return out


def test_fit_finds_the_source_that_knows():
    weights = arbiter.fit(simulated())
    assert weights["specialists"] > 0.6
    assert weights["generalist"] < 0.2
    assert weights["neighbors"] < 0.3
    assert min(weights.values()) >= 0


def test_fit_takes_cases_with_different_options():
    cases = [*simulated(50), Judged("x", {"x": 0.6, "y": 0.4}, Evidence())]
    assert set(arbiter.fit(cases)) == set(arbiter.SOURCES)


def test_fit_refuses_nothing_and_foreign_truths():
    with pytest.raises(ValueError, match="No cases"):
        arbiter.fit([])
    with pytest.raises(ValueError, match="not among the options"):
        arbiter.fit([Judged("z", {"a": 1.0}, Evidence())])


def test_fitted_temperature_calibrates():
    overconfident = [{"a": 0.99, "b": 0.01}] * 100
    temperature = arbiter.fit_temperature(overconfident, ["a"] * 80 + ["b"] * 20)
    assert arbiter.tempered(overconfident[0], temperature)["a"] == pytest.approx(0.8, abs=0.01)


def test_fit_arbiter_fits_all_and_survives_the_file(tmp_path):
    fitted = arbiter.fit_arbiter(simulated(), kept_accuracy=0.9)
    assert fitted.temperatures["conflict"] >= fitted.temperatures["evidence"]
    assert 0 < fitted.refer_under < 1
    arbiter.save(fitted, tmp_path / "arbiter.json")
    assert arbiter.load(tmp_path / "arbiter.json") == fitted
    assert arbiter.load(tmp_path / "none.json") == Arbiter()


def test_of_few_cases_nothing_is_fitted():
    few = Arbiter(refer_under=0.7)
    assert arbiter.fit_arbiter(simulated(arbiter.FEWEST - 1)) == arbiter.shipped()
    assert arbiter.fit_arbiter(simulated(arbiter.FEWEST - 1), few=few) == few
    assert arbiter.fit_arbiter(simulated(arbiter.FEWEST), few=few) != few


@pytest.mark.parametrize(("alone", "decided", "evidence", "expected"), [
    ({"a": 0.9, "b": 0.1}, {"a": 0.9, "b": 0.1}, Evidence(), False),
    ({"a": 0.9, "b": 0.1}, {"a": 0.1, "b": 0.9}, Evidence(moed=(opinion(a=0.1, b=0.9),)), True),
    ({"a": 0.55, "b": 0.45}, {"a": 0.1, "b": 0.9}, Evidence(moed=(opinion(a=0.1, b=0.9),)), False),
    ({"a": 0.55, "b": 0.45}, {"a": 0.9, "b": 0.1}, Evidence(moed=(opinion(a=0.1, b=0.9),)), True),
    ({"a": 0.2, "b": 0.8}, {"a": 0.1, "b": 0.9}, Evidence(rad=(case("b"),)), False),
    ({"a": 0.9, "b": 0.1}, {"a": 0.1, "b": 0.9}, Evidence(moed=(opinion(a=0.5, b=0.5),)), False),
])
def test_conflict(alone, decided, evidence, expected):
    assert Arbiter().conflict(alone, decided, evidence) is expected


def test_conflict_lowers_the_confidence():
    shares, evidence = {"a": 0.9, "b": 0.1}, Evidence(moed=(opinion(a=0.5, b=0.5),))
    assert Arbiter().believed(shares, shares, evidence)["a"] == pytest.approx(0.9)
    assert 0.5 < Arbiter().believed(shares, shares, evidence, conflict=True)["a"] < 0.9


def test_what_is_believed_of_a_decision_pools_it_with_all_else():
    evidence = Evidence(moed=(opinion(a=0.2, b=0.8),), rad=(case("b", 1.0),))
    alone, decided = {"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}
    belief = {"decision": 0.5, "generalist": 1.0, "specialists": 1.0, "neighbors": 1.0}
    a, b = 0.9**0.5 * 0.2 * (1 / 3), 0.1**0.5 * 0.8 * (2 / 3)
    said = Arbiter(belief=belief).believed(alone, decided, evidence)
    assert said == pytest.approx({"a": a / (a + b), "b": b / (a + b)})
    assert Arbiter(belief=belief).believed(alone, decided, Evidence()) == pytest.approx(decided)  # nothing to pool
    with pytest.raises(ValueError, match="Belief"):
        Arbiter(belief={"decision": 1.0})


def test_belief_is_fitted_on_what_is_right():
    cases = [arbiter.Judged(c.truth, c.alone, c.evidence, {o: 0.98 if o == "a" else 0.01 for o in "abc"})
             for c in simulated()]
    belief = arbiter.fit_belief(cases)
    assert belief["specialists"] > 0.5 > belief["decision"]  # a decision that is always the same tells nothing
    fitted = arbiter.fit_arbiter(cases, belief=True)
    assert fitted.belief == pytest.approx(belief)
    said = [fitted.believed(c.alone, c.decided, c.evidence)["a"] for c in cases]
    assert np.mean(said) == pytest.approx(np.mean([c.truth == "a" for c in cases]), abs=0.05)


@pytest.mark.parametrize(("confidence", "conflict", "pool", "refers"), [
    (0.4, False, None, True), (0.6, False, None, False), (0.6, True, Pool("a", {"a": 0.6, "b": 0.4}), True),
    (0.9, True, Pool("a", {"a": 0.6, "b": 0.4}), False), (0.6, True, Pool("a", {"a": 0.9, "b": 0.1}), False),
])
def test_refer(confidence, conflict, pool, refers):
    assert (Arbiter().refer_reason(confidence, conflict, pool) is not None) is refers


@pytest.mark.parametrize(("confidence", "said"), [(0.47, "47"), (0.4996, "49.96"), (0.496, "49.6"), (0.0, "0")])
def test_a_confidence_is_told_so_that_it_is_under_the_threshold(confidence, said):
    assert Arbiter().refer_reason(confidence, False, None) == f"the confidence of {said} % is under 50 %"


def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        Arbiter({"generalist": -1.0, "specialists": 1.0, "neighbors": 1.0})
    with pytest.raises(ValueError, match="at least 0"):
        Arbiter({"generalist": 1.0})
    with pytest.raises(ValueError, match="positive"):
        Arbiter(temperatures={"alone": 0.0})
