"""The whole of `consilium calibrate` on a small world, and its parts on cases made for them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from assistant.collaboration import fitted as fitting
from assistant.collaboration.arbiter import BELIEVED, Judged
from assistant.errors import ConsiliumError
from assistant.evaluation import __main__ as evaluate
from assistant.evaluation import calibrate, calibrate_command
from assistant.evaluation.arms import Settled
from assistant.evaluation.calibrate import Studied, Wanted
from assistant.evaluation.cases import CaseEvidence
from assistant.evaluation.config import BadEvaluation
from assistant.steps import Case, Evidence, Opinion
from specialists.core.errors import BadData
from tests.assistant.evaluation.world import LABELS, NAMES, FakeGeneralist, said

CASES = ("similar_cases",)


def domain(name: str = "stones") -> Any:
    """Return a domain of two specialists as far as fitting needs it."""
    return SimpleNamespace(name=name, labels=LABELS, similar=True,
                           cards=[SimpleNamespace(name="good"), SimpleNamespace(name="bad")])


def sharp(labels: list[str], chance: float) -> np.ndarray:
    return np.array([[said(label, chance)[x] for x in LABELS] for label in labels])


def studied(count: int = 240, right: float = 0.7, seed: int = 0) -> Studied:
    """Return cases, two a group, that a specialist knows as often as it says, and decisions that copy the cases' vote.

    The decision with all evidence is a guess; without the similar cases it is the good specialist's word.
    """
    rng = np.random.default_rng(seed)
    truths = [LABELS[i] for i in rng.integers(0, 3, count)]
    words = [t if rng.random() < right else LABELS[(LABELS.index(t) + 1) % 3] for t in truths]
    guesses = [LABELS[i] for i in rng.integers(0, 3, count)]
    cases = []
    for row, (truth, word, guess) in enumerate(zip(truths, words, guesses, strict=True)):
        opinions = (Opinion("good", word, said(word, right), {}), Opinion("bad", guess, said(guess, 0.4), {}))
        evidence = Evidence(moed=opinions, rad=(Case("1", guess, 0.9, "set"),))
        sample = SimpleNamespace(id=str(row), group=f"g{row // 2}")
        cases.append(CaseEvidence(sample, truth, LABELS, evidence))  # type: ignore[arg-type]
    alone = np.full((count, 3), 1 / 3)
    return Studied("drawn", domain(), cases, alone,  # type: ignore[arg-type]
                   {(): sharp(guesses, 0.99), CASES: sharp(words, 0.99), ("good", "bad"): sharp(guesses, 0.99)})


def test_every_part_of_the_evidence_may_be_hidden():
    assert calibrate.choices(domain()) == [(), ("good",), ("bad",), CASES, ("good", "bad")]
    one: Any = SimpleNamespace(cards=[SimpleNamespace(name="good")], similar=None)
    none: Any = SimpleNamespace(cards=[], similar=True)
    assert calibrate.choices(one) == calibrate.choices(none) == [()]  # nothing would be left


def test_evidence_that_misleads_is_hidden_and_doubtful_gain_is_not_believed():
    known = studied()
    assert calibrate.choose_evidence([known]) == CASES
    best = known.decided[CASES]
    slightly = best.copy()
    slightly[0] = sharp([known.cases[0].truth], 0.99)[0]
    for other in (known.decided[()], best, slightly):  # worse, the same, better by a case at most
        assert calibrate.choose_evidence([replace(known, decided={(): best, CASES: other})]) == ()


def test_of_few_groups_nothing_is_hidden():
    few = studied(2 * calibrate.FEWEST - 2)
    assert len({case.group for case in few.cases}) == calibrate.FEWEST - 1
    assert calibrate.choose_evidence([few]) == ()
    assert calibrate.choose_evidence([studied(2 * calibrate.FEWEST)]) == CASES


def test_confidence_is_true_where_the_decision_boasts_and_label_sets_hold_the_truth():
    known = studied(600)
    fitted, figures = calibrate.fit([known], Wanted(level=0.9))
    assert fitted.domains["stones"].hidden == CASES
    assert fitted.domains["stones"].groups == 300
    assert set(fitted.arbiter.belief or ()) == set(BELIEVED)
    assert figures["pooled"]["ece"] < 0.05  # the decision says 99 %, and is right in 70 %
    assert figures["sets"]["drawn"]["error"] == pytest.approx(0.3, abs=0.05)
    assert set(figures["rankings"]) == {"confidence", "decision", "agreement of samples", "image alone"}
    found = figures["sets"]["drawn"]["label_sets"]
    assert 0.86 < found["coverage"] < 0.97
    assert found["mean_size"] < 3
    assert fitting.read(json.loads(json.dumps(fitted.json()))) == fitted


def test_no_case_is_judged_by_what_was_fitted_on_its_group():
    known = studied(60)
    found = calibrate.cross_fit([known], Wanted())[calibrate.ALL]
    assert len(found) == 60
    fold = calibrate._folds([case.group for case in known.cases], 0)
    assert all(len({fold[i] for i, c in enumerate(known.cases) if c.group == group}) == 1
               for group in {case.group for case in known.cases})
    assert set(fold) == set(range(calibrate.FOLDS))


def test_confidence_is_true_where_a_source_is_missing():
    known = studied(600)  # the specialists know 70 %, the cases are guesses, and every decision boasts
    fitted, figures = calibrate.fit([known], Wanted(level=0.9))
    for source, right in (("neighbors", 0.7), ("specialists", 1 / 3)):
        judged = [one for _, one in known.without(source)]
        assert len(judged) == 600
        assert all(bool(one.evidence.moed) != bool(one.evidence.rad) for one in judged)
        told = [fitted.arbiter.believed(one.alone, one.decided or {}, one.evidence) for one in judged]
        confident = [max(shares.values()) for shares in told]
        assert np.mean(confident) == pytest.approx(right, abs=0.05)
        assert figures["without"][source]["ece"] < 0.06
    first = known.without("specialists")[0][1]
    whole = replace(fitted.arbiter, belief_without={})
    assert max(whole.believed(first.alone, first.decided or {}, first.evidence).values()) != pytest.approx(
        max(fitted.arbiter.believed(first.alone, first.decided or {}, first.evidence).values()), abs=0.05)


def test_a_decision_that_was_never_made_without_a_source_fits_nothing():
    known = studied(60)
    asked = replace(known, decided={(): known.decided[()]})
    assert asked.without("neighbors") == asked.without("specialists") == []
    fitted, figures = calibrate.fit([asked], Wanted())
    assert fitted.arbiter.belief_without == {}
    assert figures["without"] == {}


def test_what_is_hidden_is_chosen_without_the_cases_that_it_is_told_of():
    rng = np.random.default_rng(1000)
    told, hid = [], 0
    for seed in range(12):  # every decision is chance: less evidence is better by luck alone
        known = studied(60, seed=seed)
        said = {names: sharp([LABELS[i] for i in rng.integers(0, 3, 60)], 0.9) for names in known.decided}
        fitted, figures = calibrate.fit([replace(known, decided=said)], Wanted())
        hid += bool(fitted.domains["stones"].hidden)
        told.append(figures["sets"]["drawn"]["error"])
    assert hid, "luck is taken for merit now and then"
    assert np.mean(told) == pytest.approx(2 / 3, abs=0.04)


def test_a_quantile_needs_enough_groups():
    strange = [i / 10 for i in range(10)]
    assert calibrate.quantile(strange, 0.9) == 0.9  # ⌈11 · 0.9⌉ = 10
    assert calibrate.quantile(strange, 0.5) == 0.5
    assert calibrate.quantile(strange[:8], 0.9) is None


def test_the_groups_are_the_draws_not_their_images():
    shares = {"alpha": 0.7, "beta": 0.3}
    known, said = Judged("beta", shares, Evidence()), Settled(shares, "alpha", False)
    cases = [calibrate.Believed("d", "s", f"g{i // 3}", known, said) for i in range(9)]
    assert calibrate.one_a_group(cases, Wanted()) == pytest.approx([0.7] * 3)
    assert calibrate.one_a_group(cases, Wanted(method="aps")) == pytest.approx([1.0] * 3)


@pytest.fixture
def ready(world, monkeypatch):
    """Let the command ask a generalist that copies the first opinion it reads."""
    def rule(truth, letters, words):
        first = next((line for line in words.splitlines() if line.startswith(NAMES[2])), "")
        return {x: 0.9 if f" {x} " in f"{first} " else 0.05 for x in letters.values()}
    generalist = FakeGeneralist(rule, {})
    monkeypatch.setattr(calibrate_command, "open_generalist", lambda model: generalist)
    return world, generalist


def test_the_command_writes_a_file_without_cases_or_places(ready, tmp_path, capsys):
    world, generalist = ready
    file = tmp_path / "out" / "fitted.json"
    assert calibrate_command.main(["--data", str(world.data), "--out", str(file), "--level", "0.8"]) == 0
    found = fitting.load(file)
    assert found.level == 0.8
    assert list(found.domains) == ["stones"]
    assert found.made["generalist"] == {"sha256": "0" * 64, "commit": None, "url": None, "adapter_sha256": None}
    assert found.made["sets"] == {"stones_a": 36, "stones_b": 36}
    assert found.made["split"] == "val"
    assert found.fits(generalist.revision())
    assert not found.fits({"sha256": "1" * 64})
    assert str(tmp_path) not in file.read_text()
    assert "stones_a/" not in file.read_text()
    assert 0 <= found.made["cross_fitted"]["ece"] <= 1
    printed = capsys.readouterr().out
    assert "stones_b" in printed
    assert "72 cases of split 'val'" in printed
    assert not any("similar" in words.lower() and NAMES[0] in words for words in generalist.seen
                   if NAMES[1] not in words and NAMES[2] not in words)


def test_few_cases_leave_the_arbiter_that_ships(ready, tmp_path, capsys):
    world, _ = ready
    file = tmp_path / "fitted.json"
    flags = ["--sets", "stones_a", "--evidence", "all", "--limit", "5", "--out", str(file)]
    assert calibrate_command.main(["--data", str(world.data), *flags]) == 0
    assert fitting.load(file).arbiter == fitting.arbiter.shipped()
    assert "Fewer than 20 decided cases: the arbiter that ships stays" in " ".join(capsys.readouterr().out.split())


def test_all_evidence_hides_nothing(ready, tmp_path, monkeypatch):
    world, generalist = ready
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    flags = ["--sets", "stones_a", "--evidence", "all", "--label-sets", "aps", "--limit", "20"]
    assert calibrate_command.main(["--data", str(world.data), *flags]) == 0
    found = fitting.load(tmp_path / "home" / "consilium.json")
    assert (found.method, found.domains["stones"].hidden, found.made["sets"]) == ("aps", (), {"stones_a": 20})
    assert not any("Specialists:" in words and NAMES[0] not in words for words in generalist.seen)


def test_what_was_fitted_is_measured_on_other_cases(ready, tmp_path, monkeypatch):
    world, generalist = ready
    world.use(monkeypatch, generalist)
    file, figures = tmp_path / "fitted.json", tmp_path / "figures.json"
    calibrate_command.main(["--data", str(world.data), "--sets", "stones_a", "--evidence", "all", "--out", str(file)])
    fit = fitting.load(file)
    less = replace(fit, domains={"stones": replace(fit.domains["stones"], hidden=(NAMES[2],))})
    fitting.save(less, file)
    told = {}
    for flags in ([], ["--fitted", str(file)]):
        generalist.seen.clear()
        assert evaluate.main(["--data", str(world.data), "--sets", "stones_a", "--arms", "generalist,gsco,moed",
                              "--out", str(figures), *flags]) == 0
        found = json.loads(figures.read_text())
        told[bool(flags)] = found["knowing"]["sets"]["stones_a"]
        hides = [NAMES[0] in words and NAMES[2] not in words for words in generalist.seen]
        assert any(hides) is bool(flags)
        assert any(NAMES[0] in words and NAMES[2] in words for words in generalist.seen)  # the arm moed keeps them all
    assert "--fitted fitted.json" in found["settings"]["command"]
    assert "label_sets" not in told[False]
    assert 0 < told[True]["label_sets"]["coverage"] <= 1
    assert told[True]["ece"] < told[False]["ece"]


@pytest.mark.parametrize(("flags", "error", "said"), [
    (["--split", "test"], BadEvaluation, "cannot be measured"), (["--level", "1"], BadEvaluation, "--level 1.0"),
    (["--right", "0"], BadEvaluation, "--right 0.0"), (["--limit", "0"], BadEvaluation, "--limit 0"),
    (["--sets", "nothing"], ConsiliumError, "nothing"), (["--sets", "leaves"], ConsiliumError, "labels"),
    (["--split", "holdout"], BadEvaluation, "No case"), (["--data", "nowhere"], BadData, "nowhere"),
    ([], BadEvaluation, "No --data"),
])
def test_what_cannot_be_fitted_is_refused(ready, tmp_path, flags, error, said):
    given = flags if "--data" in flags or not flags else ["--data", str(ready[0].data), *flags]
    with pytest.raises(error, match=said):
        calibrate_command.main([*given, "--out", str(tmp_path / "fitted.json")])
    assert not (tmp_path / "fitted.json").exists()
