"""A folder becomes registered specialists in one call, which answer, refuse, go on after a kill and take cases."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import specialists
import specialists.__main__ as cli
from specialists import index_command
from specialists.classification import small_cnn
from specialists.core import kinds, registry
from specialists.core.errors import BadData, UnknownSpecialist
from specialists.core.findings import Classification, Refusal
from specialists.datasets.layout import read_set
from specialists.own import cases, report, train
from specialists.own import kinds as own_kinds
from specialists.zoo import Domain
from tests.specialists.own.drawing import LABELS, class_folders, picture

CONFIG = dataclasses.replace(small_cnn.tiny(), epochs=6, learning_rate=1e-2)
METHODS = ("small_cnn",)


class Stopped(Exception):
    """Stands for whatever stops a training."""


def made(data, name="my_dots", tell=lambda line: None):
    return train.train(data, name, METHODS, configs={"small_cnn": CONFIG}, tell=tell)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the domain my_dots, made of a folder with a corrupt image in two sittings; and what was said."""
    root = tmp_path_factory.mktemp("own")
    data = class_folders(root / "data", 20)
    (data / "red" / "broken.png").write_bytes(b"no image")
    said: list[str] = []

    def stop(line):
        said.append(line)
        if "fold 1: epoch 3" in line:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONSILIUM_HOME", str(root / "home"))
        patch.setattr("specialists.own.progress.EVERY", 0.0)
        with pytest.raises(Stopped):
            made(data, tell=stop)
        assert "my_dots" not in registry.domains()
        said.append("again")
        tool = made(data, tell=said.append)
        yield root / "home" / "specialists", data, said, tool


def test_it_says_what_it_found_and_goes_on_where_it_was_stopped(home):
    _, _, said, _ = home
    text = "\n".join(said)
    assert "red/broken.png is left out" in text
    assert "No image names its patient" in text
    resumed = [line for line in said[said.index("again"):] if "epoch" in line]
    assert resumed[0].startswith("small_cnn, fold 1: epoch 4 of 6")
    assert len(resumed) == 3
    assert "95 % interval" in said[-1]
    assert "consilium specialists predict my_dots IMAGE" in said[-1]


def test_the_card_says_how_it_was_made(home):
    card = registry.cards()["my_dots_small_cnn"]
    assert card.label_names == LABELS
    assert card.trained["command"] == "consilium specialists train small_cnn --data data --name my_dots"
    assert card.license == "not stated"
    assert set(card.figures) == {"val", "oof", "test"}
    assert card.figures["test"]["n"] == 12
    assert len(card.figures["test"]["ci95"]) == 2
    assert any("names its patient" in limit for limit in card.limits)
    assert {"threshold", "kept", "kept_test", "refused_drawn"} <= set(card.scope)
    samples = read_set(home[0] / "my_dots")
    assert len(samples) == 60
    assert {s.split for s in samples} == {"train", "val", "test"}
    assert {row.id for row in registry.load_index("my_dots").rows} == {s.id for s in samples if s.split == "train"}


def test_the_report_is_whole_by_itself(home):
    page = home[3].report.read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert all(f'alt="{name}"' in page for name in ("confusion", "reliability", "roc"))
    assert "red/broken.png" in page
    assert "http" not in page.replace("https://arxiv", "")
    facts = json.loads((home[0] / "my_dots" / "figures.json").read_text())
    assert facts["test"]["n"] == 12
    assert facts["answered"]["of"] == 12
    assert any(note["kind"] == "kind" for note in facts["checks"])
    assert report.asked((facts["answered"]["n"], 12)) in page
    assert "answer all 12 test images" in report.asked((12, 12))
    assert "answer 11 of 12 test images and refuse the others" in report.asked((11, 12))


def test_it_answers_and_refuses(home, tmp_path, capsys):
    tool = home[3]
    right = [tool.predict(picture(label, 100 + n), any_kind=True) for label in LABELS for n in range(3)]
    assert all(isinstance(finding, Classification | Refusal) for finding in right)
    answers = [f for f in right if isinstance(f, Classification)]
    assert answers
    assert all(sum(f.probabilities.values()) == pytest.approx(1) for f in answers)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    assert isinstance(tool.predict(noise), Refusal)
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    assert cli.main(["predict", "my_dots", str(path)]) == 0
    assert "my_dots declined" in capsys.readouterr().out


def test_the_same_call_again_trains_nothing(home):
    said: list[str] = []
    before = (home[0] / "my_dots" / "records.jsonl").read_text()
    made(home[1], tell=said.append)
    assert "small_cnn is trained on these images already" in said
    assert (home[0] / "my_dots" / "records.jsonl").read_text() == before
    assert not [line for line in said if "epoch" in line]


@pytest.mark.parametrize(("share", "stated", "taken", "added"), [
    (0.95, "dots", "knee X-ray", False), (0.8, "dots", "knee X-ray", True), (0.4, "dots", "dots", True),
    (0.8, "brain MRI", "brain MRI", True)])
def test_a_kind_that_is_known_of_most_images_is_taken(home, tmp_path, monkeypatch, share, stated, taken, added):
    samples = read_set(home[0] / "my_dots")
    monkeypatch.setattr(kinds, "kind_of", lambda studies, triage=None: ("knee X-ray", share))
    domain, note = own_kinds.name_kind(Domain("dots", "dots", stated, "", "", ""), samples, tmp_path)
    assert domain.kind == taken
    assert [path.stem for path in tmp_path.glob("kinds/*.json")] == [taken.replace(" ", "_")] * added
    assert f"{taken!r}" in note.text or not added


def test_a_kind_that_few_images_are_named_is_told(home, tmp_path, monkeypatch):
    samples = read_set(home[0] / "my_dots")
    monkeypatch.setattr(kinds, "_called", lambda triage, studies: Counter({"knee X-ray": 4, "dots": 2, "unknown": 4}))
    note = own_kinds.name_kind(Domain("dots", "dots", "dots", "", "", ""), samples, tmp_path)[1]
    assert note.serious
    assert "Triage names 40 % of the images 'knee X-ray' without it" in note.text
    assert "--kind" in note.text


def test_a_new_kind_takes_the_place_of_the_former(home, tmp_path, monkeypatch):
    shutil.copytree(home[0].parent, tmp_path / "home")
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    kept = tmp_path / "home" / "specialists" / "kinds"
    assert [path.stem for path in kept.glob("*.json")] == ["my_dots"]
    train.train(home[1], "my_dots", METHODS, configs={"small_cnn": CONFIG}, kind="dotted card", tell=lambda line: None)
    assert [path.stem for path in kept.glob("*.json")] == ["dotted_card"]
    assert registry.cards()["my_dots_small_cnn"].kinds == ("dotted card",)


def test_names_and_methods_that_cannot_be_had(home):
    for name in ("My Dots", "brain_mri", "triage", "index", "polyp_unet", "small_cnn"):
        with pytest.raises(BadData, match="name"):
            made(home[1], name)
    with pytest.raises(UnknownSpecialist, match="small_cnn, residual"):
        train.train(home[1], "others", ("unet",))
    (home[0] / "letters").mkdir()
    (home[0] / "letters" / "dear.txt").write_text("x")
    with pytest.raises(BadData, match="not made by this command"):
        made(home[1], "letters")


def test_own_cases_are_added_listed_and_removed(home, tmp_path, capsys):
    before = len(registry.load_index("my_dots").rows)
    index_file = home[0] / "index" / "my_dots.json"
    shipped = index_file.read_bytes()
    rows = ["image,label,patient", "a.png,red,p1", "b.png,blue,p2", "c.png,red,p3", "gone.png,red,p4"]
    for name, label, number in (("a", "red", 200), ("b", "blue", 201)):
        picture(label, number).save(tmp_path / f"{name}.png")
    picture("red", 200).save(tmp_path / "c.png")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    said: list[str] = []
    assert cases.add("my_dots", tmp_path, "CC0", "ward", any_kind=True, tell=said.append) == 2
    assert any("c.png left out: it is a near-duplicate" in line for line in said)
    assert any("gone.png left out" in line for line in said)
    assert len(registry.load_index("my_dots").rows) == before + 2
    assert index_command.main(["list", "my_dots", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"domain": "my_dots", "label": "red", "source": "ward", "cases": 1} in listed
    own = registry.load_index("my_dots").rows[0].id
    assert index_command.main(["remove", "my_dots", "a.png", own]) == 0
    assert {row.id for row in registry.load_index("my_dots").rows} & {"a.png", own} == set()
    assert len(registry.load_index("my_dots").rows) == before
    assert index_file.read_bytes() == shipped
    assert index_command.main(["remove", "my_dots", "a.png"]) == 2
    assert "No case a.png" in capsys.readouterr().err
    picture("red", 1).save(tmp_path / "d.png")
    (tmp_path / "cases.csv").write_text("image,label\nd.png,mauve\n")
    with pytest.raises(BadData, match="labels mauve"):
        cases.add("my_dots", tmp_path)


def test_another_image_of_the_same_name_is_added_under_a_name_of_its_own(home, tmp_path):
    for folder, number in (("jan", 210), ("feb", 211)):
        (tmp_path / folder / "red").mkdir(parents=True)
        picture("red", number).save(tmp_path / folder / "red" / "001.png")
    said: list[str] = []
    for folder, count in (("jan", 1), ("feb", 1), ("jan", 0)):
        assert cases.add("my_dots", tmp_path / folder, any_kind=True, tell=said.append) == count
    rows = {row.id: row for row in registry.load_index("my_dots").rows}
    assert {"red/001.png", "feb/red/001.png"} <= set(rows)
    assert rows["feb/red/001.png"].group == "my_dots/feb/red/001.png"
    assert any(line.startswith("red/001.png is added as feb/red/001.png") for line in said)
    shipped = next(id_ for id_ in rows if id_ not in {"red/001.png", "feb/red/001.png"})
    cases.remove("my_dots", [shipped, "red/001.png", "feb/red/001.png"], tell=said.append)
    (tmp_path / "new" / shipped).parent.mkdir(parents=True)
    picture("red", 212).save(tmp_path / "new" / shipped)
    assert cases.add("my_dots", tmp_path / "new", any_kind=True, tell=said.append) == 1
    after = {row.id for row in registry.load_index("my_dots").rows}
    assert f"new/{shipped}" in after
    assert shipped not in after
    cases.remove("my_dots", [f"new/{shipped}"], tell=said.append)


def test_the_python_form_and_the_command_are_light():
    assert specialists.train is train.train
    code = ("import sys, specialists.own.command; from specialists import index_command as i; i.main(['--help']);"
            "bad = {'torch', 'faiss', 'sklearn', 'matplotlib'} & set(sys.modules); assert not bad, bad")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_it_wants(capsys):
    assert cli.main(["train", "--name", "x"]) == 2
    assert "wanted consilium specialists train [METHOD...] --data FOLDER --name NAME" in capsys.readouterr().err
