"""Tests of the fitted consilium: its file, what it hides, its label sets, and what an answer makes of it."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from assistant.assistant import Assistant
from assistant.collaboration import fitted as fitting
from assistant.collaboration.arbiter import BELIEVED, Arbiter
from assistant.collaboration.fitted import DomainFit, Fitted
from assistant.errors import BadFitted
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.steps import Case, Declined, Evidence, Opinion
from tests.assistant.stand_ins import BRAIN, Zoo, install, picture

BELIEF: dict[str, float] = dict(zip(map(str, BELIEVED), (0.0, 0.0, 1.0, 0.0), strict=True))
"""Only the specialists are believed."""


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    return install(monkeypatch)


def fitted(**more) -> Fitted:
    return Fitted(Arbiter(belief=BELIEF), {"brain_mri": DomainFit(BRAIN, **more)}, 0.8, "lac",
                  {"split": "val", "sets": {"drawn": 3}})


def opinion(name: str) -> Opinion:
    return Opinion(name, "a", {"a": 0.6, "b": 0.4}, {})


def test_a_file_is_read_as_it_was_written(tmp_path):
    written = fitted(hidden=("similar_cases",), quantile=0.4, groups=20)
    fitting.save(written, tmp_path / "own" / "consilium.json")
    assert fitting.load(tmp_path / "own" / "consilium.json") == written
    assert [f.name for f in (tmp_path / "own").iterdir()] == ["consilium.json"]


@pytest.mark.parametrize(("text", "said"), [
    (None, "cannot be read"), ("{", "no JSON"), ("[]", "version list"), ('{"version": 7}', "version 7"),
    ('{"version": 1}', "damaged"),
    (json.dumps({**fitted().json(), "level": 2}), "level 2"),
    (json.dumps({**fitted().json(), "method": "best"}), "'best'"),
    (json.dumps({**fitted().json(), "arbiter": {"weights": {}}}), "damaged"),
])
def test_a_file_that_cannot_be_used_is_refused_with_what_to_do(tmp_path, text, said):
    file = tmp_path / "some.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadFitted, match=said) as caught:
        fitting.load(file)
    assert "consilium calibrate" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_what_is_hidden_is_hidden_from_the_generalist_alone():
    evidence = Evidence(moed=(opinion("one"), opinion("two")), rad=(Case("1", "a", 0.9, "set"),),
                        refusals=(Declined("three", "no"),), no_similar_case=True)
    shown = fitting.hide(evidence, ["one", "three", "similar_cases"])
    assert shown == Evidence(moed=(opinion("two"),))
    assert fitting.hide(evidence, ()) == evidence


def test_a_domain_holds_for_its_own_labels_alone():
    labels = ("Brain tumor", "none")
    one = Fitted(domains={"d": DomainFit(labels, ("similar_cases",))})
    assert one.domain_fit("d", ["NONE", "brain tumour"]) is one.domains["d"]
    for domain, options in (("d", ["brain tumour"]), ("e", labels), (None, labels)):
        assert one.domain_fit(domain, options) is None
    evidence = Evidence(rad=(Case("1", "none", 0.9, "set"),))
    assert one.shown("d", labels, evidence) == Evidence()
    assert one.shown("e", labels, evidence) == evidence


@pytest.mark.parametrize(("method", "quantile", "label", "labels"), [
    ("lac", 0.9, "a", "ab"), ("lac", 0.3, "a", "a"), ("lac", 0.3, "c", "ac"), ("lac", 0.9, "c", "abc"),
    ("aps", 0.97, "a", "ab"), ("aps", 0.5, "a", "a"), ("aps", 0.97, "c", "abc"), ("aps", 1.01, "a", "abc"),
    ("lac", None, "a", "abc"), ("aps", None, "b", "abc"),
])
def test_a_label_set_holds_the_decision_and_what_is_not_stranger_than_the_quantile(method, quantile, label, labels):
    believed = {"c": 0.05, "a": 0.8, "b": 0.15}
    assert fitting.not_ruled_out(believed, label, quantile, method) == tuple(labels)


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_split_conformal_sets_hold_the_truth_as_often_as_they_promise(method):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(5, 0.5), 4000)
    truth = [int(rng.choice(5, p=row)) for row in shares ** 0.5 / (shares ** 0.5).sum(axis=1, keepdims=True)]
    believed = [dict(zip("abcde", map(float, row), strict=True)) for row in shares]  # surer than it may be
    strange = [fitting.strangeness(p, method)["abcde"[t]] for p, t in zip(believed, truth, strict=True)]
    quantile = sorted(strange[:2000])[int(np.ceil(2001 * 0.9)) - 1]
    sets = [fitting.not_ruled_out(p, max(p, key=p.__getitem__), quantile, method) for p in believed[2000:]]
    held = np.mean(["abcde"[t] in kept for kept, t in zip(sets, truth[2000:], strict=True)])
    assert 0.88 < held < (0.925 if method == "lac" else 0.96)  # aps takes whole labels, so it holds a little more


def consilium(tmp_path, fit: Fitted | None = None) -> Assistant:
    scores = {"A": 0.7, "B": 0.1, "C": 0.1, "D": 0.1}
    assistant = Assistant(generalist=ScriptedGeneralist([], lambda messages, letters: scores), home=tmp_path)
    return assistant.with_fit(fit)


def ask(assistant: Assistant):
    return assistant.ask(picture(), "Which disease?", options=BRAIN, collaboration="full")


def test_an_answer_takes_confidence_and_label_set_from_what_was_fitted(zoo, tmp_path):
    assistant = consilium(tmp_path, fitted(quantile=0.9, groups=20))
    answer = ask(assistant)
    believed = {label: 0.7 if label == "glioma" else 0.1 for label in BRAIN}  # what all three specialists say
    assert answer.confidence == pytest.approx(believed[str(answer.label)])
    assert answer.label_set is not None
    assert answer.label_set.level == 0.8
    assert set(answer.label_set.labels) == set(BRAIN)
    assert answer.label_set.labels[0] == "glioma"
    assert answer.json()["label_set"] == {"labels": list(answer.label_set.labels), "level": 0.8}
    assert assistant.replay(answer.trace_id).label_set == answer.label_set
    assert ask(consilium(tmp_path)).label_set is None


def test_the_generalist_is_not_shown_what_is_hidden_and_the_answer_keeps_it(zoo, tmp_path):
    hidden = ("brain_mri_hybrid", "similar_cases")
    answer = ask(assistant := consilium(tmp_path, fitted(hidden=hidden)))
    trace = assistant.records.trace(answer.trace_id)
    prompt = json.dumps(next(p for p in trace["prompts"] if p["purpose"] == "decision"))
    assert "brain_mri_residual" in prompt
    assert "brain_mri_hybrid" not in prompt
    assert "imilar" not in prompt
    assert len(answer.evidence.moed) == 3
    assert answer.evidence.rad


def test_the_file_in_the_home_is_found_and_a_damaged_one_refused(zoo, tmp_path):
    fitting.save(fitted(quantile=0.1), tmp_path / "consilium.json")
    assert ask(consilium(tmp_path)).label_set is not None
    other = tmp_path / "other.json"
    fitting.save(Fitted(Arbiter(), level=0.7), other)
    assert ask(consilium(tmp_path).with_fit(other)).label_set is None
    (tmp_path / "consilium.json").write_text("{")
    with pytest.raises(BadFitted):
        consilium(tmp_path)


def test_what_was_fitted_with_another_generalist_is_not_used(zoo, tmp_path, caplog):
    other = Fitted(Arbiter(belief=BELIEF), fitted().domains, made={"generalist": {"sha256": "of another"}})
    with caplog.at_level(logging.WARNING):
        answer = ask(consilium(tmp_path, other))
    assert answer.label_set is None
    assert "another generalist" in caplog.text


def test_a_domain_that_is_not_in_ones_own_file_is_answered_with_what_ships(zoo, tmp_path, monkeypatch):
    ships = Fitted(Arbiter(belief=BELIEF), {"brain_mri": DomainFit(BRAIN, quantile=0.9)}, 0.95)
    monkeypatch.setattr(fitting, "shipped", lambda: ships)
    own = Fitted(Arbiter(refer_under=1.0), {"wbc": DomainFit(("a", "b"))}, 0.8)
    assistant = consilium(tmp_path, own)
    answer = ask(assistant)
    plain = ask(consilium(tmp_path))
    assert (answer.confidence, answer.refer_reason) == (plain.confidence, plain.refer_reason)
    assert answer.label_set is not None
    assert answer.label_set.level == 0.95
    kept = assistant.records.trace(answer.trace_id)["fitted"]
    assert fitting.read(kept) == ships.part("brain_mri")
    assert assistant.replay(answer.trace_id).label_set == answer.label_set
    used = assistant.used_fit
    assert used.of("wbc").arbiter == own.arbiter
    assert used.part("wbc") == own.part("wbc")
    assert used.json()["otherwise"] == ships.json()
    assert "otherwise" not in own.json()


def test_where_what_ships_is_of_another_generalist_its_arbiter_alone_answers(monkeypatch):
    ships = Fitted(Arbiter(), {"brain_mri": DomainFit(BRAIN)}, made={"generalist": {"sha256": "of another"}})
    monkeypatch.setattr(fitting, "shipped", lambda: ships)
    assert fitting.chosen(fitted(), {}).of("wbc") == Fitted(fitting.arbiter.shipped())


def test_a_trace_from_before_holds_the_arbiter_alone():
    weights = {"generalist": 1.0, "specialists": 2.0, "neighbors": 0.0}
    assert fitting.of_trace({"arbiter": {"weights": weights}}) == Fitted(Arbiter(weights))
    part = fitted(quantile=0.3).part("other")
    assert fitting.of_trace({"fitted": json.loads(json.dumps(part.json()))}) == part
    assert not part.domains
