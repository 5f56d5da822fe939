"""The whole command: generalists whose figures are known before, controls, messages, the file."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from assistant import template
from assistant.collaboration import arbiter
from assistant.evaluation import __main__ as command
from assistant.evaluation.arms import ARMS
from assistant.evaluation.tasks import registry as registry_of_tasks
from assistant.generalist.scripted import ScriptedGeneralist
from specialists.core import registry
from specialists.core.findings import Classification, Refusal
from specialists.core.study import read_study
from specialists.datasets.layout import read_set
from tests.assistant.evaluation.quiz import Quiz
from tests.assistant.evaluation.world import LABELS, NAMES, FakeGeneralist, said


def knows_the_truth(truth, letters, text):
    return {letters[truth]: 0.9}


def copies_the_majority(truth, letters, text):
    """Vote as the specialists' lines say; alone it says the first option."""
    votes = re.findall(r"^stones_\w+: ([A-Z]) ", text, re.MULTILINE)
    return {letter: votes.count(letter) + 1e-3 for letter in letters.values()} if votes else {"A": 1.0}


def guesses(seed):
    rng = np.random.default_rng(seed)
    return lambda truth, letters, text: dict(zip(letters.values(), rng.dirichlet(np.ones(len(letters))), strict=True))


def ready(world, monkeypatch, rule):
    truth_of = {template.png_url(read_study(p)): world.truth_of_content[read_study(p).sha256]
                for p in world.paths.values()}
    generalist = FakeGeneralist(rule, truth_of)
    world.use(monkeypatch, generalist)
    return generalist


def measure(world, tmp_path, *flags):
    file = tmp_path / "out" / "figures.json"
    assert command.main(["--data", str(world.data), "--out", str(file), *flags]) == 0
    return json.loads(file.read_text())


def test_a_generalist_that_knows_the_truth_is_always_right(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, knows_the_truth)
    result = measure(world, tmp_path)
    assert list(result["datasets"]) == ["stones_a", "stones_b"]
    for rows in result["datasets"].values():
        assert list(rows) == list(ARMS)
        assert {"n", "accuracy", "macro_f1", "ci95", "brier"} <= set(rows["gsco"])
        assert (rows["gsco"]["macro_f1"], rows["gsco"]["ci95"]) == (1, [1, 1])
        assert rows["knn"]["accuracy"] == 1
        assert 0.3 < rows["best_specialist"]["macro_f1"] < 1
        low, high = rows["best_specialist"]["ci95"]
        assert low < rows["best_specialist"]["macro_f1"] < high
    assert result["mean"]["gsco"]["macro_f1"] == 1
    assert result["pooled"]["best_specialist"]["ece"] > 0
    assert result["paired"]["gsco-generalist"] == {"mean_difference": 0, "ci95": [0, 0]}
    better = result["paired"]["gsco-best_specialist"]
    assert better["mean_difference"] == pytest.approx(1 - result["mean"]["best_specialist"]["macro_f1"])
    assert 0 < better["ci95"][0] < better["mean_difference"] < better["ci95"][1]
    assert result["sets"]["stones_a"]["patients_known"]
    assert not result["sets"]["stones_b"]["patients_known"]
    assert result["mean_patients_known"]["gsco"]["sets"] == 1


def test_one_that_copies_the_majority_has_its_figures(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, copies_the_majority)
    result = measure(world, tmp_path, "--arms", "moed,gsco,majority,generalist,mean_probability")
    for rows in result["datasets"].values():
        assert rows["gsco"]["accuracy"] == rows["majority"]["accuracy"] == rows["moed"]["accuracy"]
        assert rows["gsco"]["macro_f1"] == pytest.approx(rows["majority"]["macro_f1"])
    assert result["paired"]["gsco-majority"]["ci95"] == [0, 0]
    assert result["paired"]["gsco-generalist"]["ci95"][0] > 0


def test_one_that_guesses_is_at_chance(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, guesses(1))  # with evidence between the two or three options that it leaves open
    result = measure(world, tmp_path)
    for arm in ("generalist", "rad", "gsco"):
        assert result["mean"][arm]["macro_f1"] == pytest.approx(1 / 3, abs=0.15)
    low, high = result["paired"]["gsco-generalist"]["ci95"]
    assert low < 0 < high


def test_shuffled_evidence_takes_the_gain(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, copies_the_majority)
    result = measure(world, tmp_path, "--shuffle-evidence")
    assert result["settings"]["shuffle_evidence"] is True
    assert list(result["datasets"]["stones_a"]) == list(ARMS)
    assert result["mean"]["gsco"]["macro_f1"] == pytest.approx(1 / 3, abs=0.2)
    assert result["mean"]["knn"]["macro_f1"] == pytest.approx(1 / 3, abs=0.2)


def test_controls_reach_the_generalist_only(world, tmp_path, monkeypatch):
    def sees(truth, letters, text):
        return {letters[truth]: 1.0} if truth else {}
    generalist = ready(world, monkeypatch, sees)
    result = measure(world, tmp_path, "--control", "blank", "--arms", "generalist,knn", "--sets", "stones_a")
    assert result["settings"]["control"] == "blank"
    assert result["datasets"]["stones_a"]["knn"]["accuracy"] == 1
    assert result["datasets"]["stones_a"]["generalist"]["accuracy"] < 0.7
    assert len(set(generalist.images)) == 1


def test_equal_commands_give_equal_files(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, copies_the_majority)
    first = measure(world, tmp_path, "--limit", "9")
    assert first == measure(world, tmp_path, "--limit", "9")
    assert first["datasets"]["stones_a"]["gsco"]["n"] == 9


def test_the_file_says_what_it_rests_on_and_nothing_of_the_machine(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, copies_the_majority)
    samples = read_set(world.data / "stones_a", ["test"])
    samples[0].path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    world.specialists[NAMES[2]].answers[read_study(samples[1].path).sha256] = "too far"
    log = tmp_path / "answers.jsonl"
    result = measure(world, tmp_path, "--log", str(log), "--seed", "3")
    settings = result["settings"]
    command_line = "consilium evaluate --data data --out figures.json --seed 3 --log answers.jsonl"
    assert settings["command"] == command_line
    assert settings["model"]["model"] == "fake"
    assert settings["versions"]["numpy"] == np.__version__
    assert str(tmp_path) not in json.dumps(result)
    about = result["sets"]["stones_a"]
    assert about["left_out"]["n"] == 1
    assert about["left_out"]["images"][0]["id"] == samples[0].id
    assert about["refusals"] == {NAMES[2]: 1}
    assert result["datasets"]["stones_a"]["best_specialist"]["refusals"] == 1
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == sum(s["n"] for s in result["sets"].values())
    assert set(rows[0]["arms"]) == set(ARMS)
    assert sum(rows[0]["arms"]["gsco"].values()) == pytest.approx(1, abs=1e-4)
    assert set(rows[0]["options"]) == set(LABELS)


@pytest.mark.parametrize(("flags", "message"), [
    (["--sets", "stone"], "No set named 'stone'. Known: leaves, stones_a, stones_b"),
    (["--arms", "gsko"], "No arm named 'gsko'. Known: generalist, rad, moed"),
    (["--sets", "leaves"], "leaves: green, red"),
    (["--split", "tset"], "split 'tset'"),
    (["--limit", "0"], "--limit 0"),
    (["--arms", "none"], "--triage"),
    (["--fit-arbiter"], "--split val"),
    (["--tasks", "riddle"], "No task named 'riddle'. Known: image_kind"),
    (["--benchmark", "riddle"], "No benchmark named 'riddle'. Known: "),
    (["--tasks", "vqa", "--answerers", "oracle"], "No answerer named 'oracle'. Known: alone, whole"),
    (["--conditions", "noise"], "No family of conditions named 'noise'"),
])
def test_mistakes_end_with_two_and_a_message(world, tmp_path, monkeypatch, capsys, flags, message):
    ready(world, monkeypatch, knows_the_truth)
    assert command.main(["--data", str(world.data), "--out", str(tmp_path / "f.json"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "f.json").exists()


def test_what_was_asked_is_not_asked_again(world, tmp_path, monkeypatch):
    generalist = ready(world, monkeypatch, copies_the_majority)
    for one in world.specialists.values():  # what they say of an image that is blurred or shifted
        monkeypatch.setattr(one, "answers", defaultdict(lambda: said("beta", 0.8), one.answers))
        monkeypatch.setattr(one, "truths", defaultdict(lambda: "beta", one.truths))
    flags = ["--sets", "stones_a", "--cache", str(tmp_path / "cache"), "--conditions", "damaged"]
    first = measure(world, tmp_path, *flags)
    asked, consulted = generalist.calls, [len(one.calls) for one in world.specialists.values()]
    assert first == measure(world, tmp_path, *flags)
    assert (generalist.calls, [len(one.calls) for one in world.specialists.values()]) == (asked, consulted)
    assert "cache" not in first["settings"]["command"]
    measure(world, tmp_path, *flags, "--control", "blank")
    assert generalist.calls > asked


def test_changed_evidence_is_measured_beside_the_natural_one(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, copies_the_majority)
    result = measure(world, tmp_path, "--sets", "stones_a", "--conditions", "wrong,order")
    shuffled = result["conditions"]["evidence shuffled"]["mean"]["gsco"]
    assert shuffled["macro_f1"] == pytest.approx(1 / 3, abs=0.2)
    assert shuffled["minus_natural_ci95"][1] < 0
    assert result["conditions"]["options permuted"]["mean"]["gsco"]["minus_natural"] == pytest.approx(0, abs=0.15)
    assert any("evidence shuffled" in line for line in result["words"])
    assert result["knowing"]["pooled"]["n"] == result["sets"]["stones_a"]["n"]


def test_a_set_without_specialists_that_was_never_taught_has_the_generalist_alone(world, tmp_path, monkeypatch):
    (world.data / "leaves").rename(world.data / "wbc_segmentation")

    def says_red(truth, letters, text):
        return {next((x for x in "AB" if f"{x} red" in text), "A"): 1.0}
    ready(world, monkeypatch, says_red)
    result = measure(world, tmp_path, "--arms", "generalist,majority,gsco")
    assert list(result["datasets"]["wbc_segmentation"]) == ["generalist"]
    assert result["datasets"]["wbc_segmentation"]["generalist"]["accuracy"] == pytest.approx(0.5)
    assert list(result["datasets"]["stones_a"]) == ["generalist", "gsco", "majority"]
    assert result["mean"]["gsco"]["sets"] == 2


def test_text_only_shows_the_generalist_no_image(world, tmp_path, monkeypatch):
    generalist = ScriptedGeneralist(scores={"A": 1.0})
    monkeypatch.setattr(command, "_generalist", lambda config: generalist)
    result = measure(world, tmp_path, "--control", "text-only", "--arms", "generalist,gsco", "--sets", "stones_a")
    assert result["datasets"]["stones_a"]["generalist"]["accuracy"] < 0.7
    parts: list[Any] = [part for seen in generalist.seen for part in seen.messages[-1].content]
    assert {part["type"] for part in parts} == {"text"}
    assert result["settings"]["model"]["images"] == "none"


def test_tasks_are_put_to_each_answerer(world, tmp_path, monkeypatch):
    monkeypatch.setitem(registry_of_tasks.TASKS, "quiz", lambda codec: Quiz())
    generalist = ready(world, monkeypatch, knows_the_truth)
    log, page = tmp_path / "answers.jsonl", tmp_path / "page.html"
    flags = ["--tasks", "quiz", "--sets", "stones_a,stones_b", "--answerers", "alone,random,majority,truth", "--log",
             str(log), "--html", str(page), "--cache", str(tmp_path / "cache"), "--limit", "30"]
    result = measure(world, tmp_path, *flags)
    assert result["datasets"] == {}
    quiz = result["tasks"]["quiz"]
    assert (quiz["n"], quiz["errors"]["alone"], quiz["sets"]) == (60, 0, ["stones_a", "stones_b"])
    assert {who: round(found["right"]["value"], 1) for who, found in quiz["answerers"].items()} == {
        "alone": 1.0, "random": pytest.approx(0.3, abs=0.11), "majority": pytest.approx(0.3, abs=0.11), "truth": 1.0}
    paired = quiz["paired"]
    assert (paired["alone-truth"]["mean_difference"], paired["alone-truth"]["mcnemar_p"]) == (0, 1)
    assert paired["alone-random"]["ci95"][0] > 0
    assert paired["alone-random"]["mcnemar_p"] < 1e-4
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 4 * 60
    assert {row["answerer"] for row in rows} == {"alone", "random", "majority", "truth"}
    assert "quiz" in page.read_text()
    calls = generalist.calls
    assert measure(world, tmp_path, *flags) == result
    assert generalist.calls == calls


def test_a_judge_is_opened_as_a_model_is_and_handed_to_the_tasks(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, knows_the_truth)
    given = []

    def opened(name, codec, judge=None):
        given.append((name, judge))
        return Quiz()
    monkeypatch.setattr(registry_of_tasks, "open_task", opened)
    monkeypatch.setattr("assistant.generalist.open.open_generalist", lambda spec: f"the model at {spec}")
    measure(world, tmp_path, "--tasks", "vqa", "--judge", "http://localhost:9", "--answerers", "random", "--sets",
            "stones_a,stones_b", "--limit", "5")
    assert given == [("vqa", "the model at http://localhost:9")]


def test_each_reading_of_test_is_noted(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, knows_the_truth)
    flags = ["--arms", "knn", "--sets", "stones_a"]
    measure(world, tmp_path, *flags, "--split", "val")
    ledger = tmp_path / "out" / "test-readings.jsonl"
    assert not ledger.exists()
    measure(world, tmp_path, *flags)
    measure(world, tmp_path, *flags)
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [row["figures"] for row in rows] == ["figures.json"] * 2
    assert rows[0]["command"].startswith("consilium evaluate --data data")


def test_the_page_stands_alone(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, copies_the_majority)
    page, again = tmp_path / "page.html", tmp_path / "again.html"
    measure(world, tmp_path, "--conditions", "wrong", "--html", str(page))
    text = page.read_text()
    for wanted in ("stones_a", "best_specialist", "evidence shuffled", "coverage", "consilium evaluate --data data"):
        assert wanted in text
    assert text.count("<svg") == 3
    assert not re.search(r"(?:src|href)=.(?!#)|<script|@import", text.replace("xlink:href=\"#", ""))
    assert command.main(["--read", str(tmp_path / "out" / "figures.json"), "--html", str(again)]) == 0
    assert again.read_text() == text
    assert command.main(["--read", str(tmp_path / "out" / "figures.json")]) == 2


def test_data_and_out_are_wanted(tmp_path, capsys):
    assert command.main([]) == 2
    assert command.main(["--data", str(tmp_path)]) == 2
    assert command.main(["--data", str(tmp_path / "absent"), "--out", str(tmp_path / "f.json")]) == 2
    assert "No --data" in capsys.readouterr().err


def test_arms_without_the_generalist_load_none(world, tmp_path):
    result = measure(world, tmp_path, "--arms", "best_specialist,majority,knn")
    assert result["settings"]["model"] is None
    assert result["paired"] == {}


def test_the_part_that_was_best_on_another_split_is_compared(world, tmp_path, monkeypatch, capsys):
    ready(world, monkeypatch, knows_the_truth)
    before = tmp_path / "val.json"
    assert command.main(["--data", str(world.data), "--split", "val", "--out", str(before)]) == 0
    found = json.loads(before.read_text())
    assert found["foreseen"] == {}
    found["parts"]["mean"]["best"] = "knn"  # the last by far, so that what these cases say best is another
    before.write_text(json.dumps(found))
    result = measure(world, tmp_path, "--best-by", str(before))
    assert result["parts"]["mean"]["best"] != "knn"
    assert result["foreseen"]["mean"]["best"] == "knn"
    assert result["foreseen"]["mean"]["difference"] == pytest.approx(
        result["mean"]["gsco"]["macro_f1"] - result["mean"]["knn"]["macro_f1"])
    assert any(line.startswith("Against the vote of similar cases, the part that was best on another split")
               for line in result["words"])
    flags = ["--data", str(world.data), "--out", str(tmp_path / "f.json"), "--best-by"]
    assert command.main([*flags, str(tmp_path / "out" / "figures.json")]) == 2
    assert "figures of split 'test'" in capsys.readouterr().err
    assert command.main([*flags, str(tmp_path / "absent.json")]) == 2


def test_the_arbiter_is_fitted_on_val(world, tmp_path, monkeypatch):
    ready(world, monkeypatch, guesses(1))
    file = tmp_path / "arbiter.json"
    flags = ["--data", str(world.data), "--split", "val", "--fit-arbiter", "--out", str(file)]
    assert command.main(flags) == 0
    fitted = arbiter.load(file)
    assert fitted.weights["neighbors"] > fitted.weights["generalist"]


class Triage:
    """Says the kind by the folder's first letter; refuses wounds."""

    def __init__(self, kinds, kind_of):
        self.card, self.kind_of = type("Card", (), {"label_names": kinds})(), kind_of

    def predict_many(self, studies):
        told = [self.kind_of[s.sha256] for s in studies]
        return [Refusal("triage", "far") if kind == "refuse" else Classification("triage", {kind: 1.0})
                for kind in told]


def test_triage_is_measured_over_kinds(world, tmp_path, monkeypatch):
    told = {}
    for name, folder, kinds in (("stones_a", "brain_tumor_mri", ["brain MRI"]),
                                ("stones_b", "foot_ulcer_wound", ["unknown", "refuse", "brain MRI"])):
        (world.data / name).rename(world.data / folder)
        for i, sample in enumerate(read_set(world.data / folder, ["test"])):
            wrong = name == "stones_a" and i == 0
            told[read_study(sample.path).sha256] = "head CT" if wrong else kinds[i % len(kinds)]
    monkeypatch.setattr(registry, "triage", lambda: Triage(("brain MRI", "head CT"), told))
    found = measure(world, tmp_path, "--triage", "--arms", "none")["triage"]
    count = len(read_set(world.data / "brain_tumor_mri", ["test"]))
    assert found["n"] == count
    assert found["accuracy"] == pytest.approx(1 - 1 / count)
    assert found["ci95"][0] < found["accuracy"] < found["ci95"][1]
    assert found["errors"] == [{"kind": "brain MRI", "said": "head CT", "n": 1}]
    refused = found["not_taught"]["clinical photograph of a wound"]
    assert refused["refused_rate"] == pytest.approx(2 / 3)


def test_labels_of_too_few_cases_are_told(world, tmp_path, monkeypatch, capsys):
    ready(world, monkeypatch, knows_the_truth)
    measure(world, tmp_path, "--sets", "stones_a", "--limit", "4", "--arms", "majority")
    assert "not in macro-F1, of fewer than 5 cases: stones_a: " in capsys.readouterr().out
