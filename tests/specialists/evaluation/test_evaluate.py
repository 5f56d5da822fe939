"""The command: figures of specialists on test images, written to a file and to cards, and compared with cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specialists.__main__ import main
from specialists.core import registry
from specialists.evaluation import refusals
from tests.specialists.core import trained
from tests.specialists.core.trained import specialist_files
from tests.specialists.learning import write_set

SETS = {"colors": "breast ultrasound", "others": "brain MRI"}


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Two drawn sets of two kinds of image, the validation rows of which are test rows; an untrained trio and tool."""
    shipped = tmp_path / "weights"
    shipped.mkdir()
    monkeypatch.setattr(registry, "SHIPPED", shipped)
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    monkeypatch.setattr(refusals, "KIND", SETS)
    monkeypatch.setitem(trained.LABELS, "segmentation", ("lesion",))
    for name in SETS:
        file = write_set(tmp_path / "data", name, mask="lesion") / "records.jsonl"
        text = file.read_text().replace('"split": "val"', '"split": "test"')
        text = text.replace('"label": "blue"', '"label": "benign"')
        file.write_text(text.replace('"label": "red"', '"label": "malignant"'))
    taught = ({"set": "colors", "train": 24, "license": "CC0", "tier": "A"},)
    specialist_files(shipped, "triage", "triage", domain="triage", data=({"set": "others"},))
    for name in ("breast_a", "breast_b"):
        specialist_files(registry.home(), name, data=taught)
    specialist_files(registry.home(), "lesion_unet", "segmentation", domain="lesion", data=taught)
    return tmp_path / "data"


def rows_of(file: Path) -> dict:
    return json.loads(file.read_text())["specialists"]


def test_every_specialist_gets_a_row_and_its_card_its_figures(data, tmp_path):
    out = tmp_path / "results" / "specialists.json"
    words = ["evaluate", "--data", str(data), "--out", str(out)]
    assert main([*words, "--record"]) == 0
    rows = rows_of(out)
    assert sorted(rows) == ["breast trio", "breast_a", "breast_b", "lesion_unet", "triage"]
    one = rows["breast_a"]
    assert one["test"]["n"] == 8
    assert one["scope"]["n"] == one["scope"]["others"] == 8
    assert one["scope"]["by_distance"] == {"kept": 1.0, "refused": 0.0}  # it has no region of its own
    assert any("names no patients" in limit for limit in one["limits"])
    assert rows["breast trio"]["members"] == ["breast_a", "breast_b"]
    assert 0 <= rows["lesion_unet"]["test"]["dice"] <= 1
    told = json.loads(out.read_text())["settings"]
    assert told["command"].startswith("consilium specialists evaluate --data DIR")
    assert str(data) not in out.read_text()
    card = registry.cards()["breast_a"]
    assert card.figures["test"]["macro_f1"] == one["test"]["macro_f1"]
    assert set(card.calibration["test"]) == {"ece", "ci95"}
    assert card.scope["test"]["by_kind"] == {"brain MRI": [one["scope"]["by_kind"]["brain MRI"][0], 8]}
    assert registry.load("breast_a").card == card  # the weights are as they were


def test_a_card_that_says_otherwise_is_named(data, tmp_path, caplog):
    out = tmp_path / "specialists.json"
    words = ["evaluate", "breast_a", "--data", str(data), "--out", str(out)]
    assert main([*words, "--record"]) == 0
    assert main(words) == 0
    assert rows_of(out)["breast_a"]["stated"]
    path = registry.place("breast_a")
    card = json.loads(path.read_text())
    wrong = card["figures"]["test"]["macro_f1"] + 0.2
    card["figures"]["test"] |= {"macro_f1": wrong, "ci95": [wrong, wrong], "intervals": {}}
    path.write_text(json.dumps(card))
    with caplog.at_level("INFO"):
        assert main(words) == 1
    assert "breast_a" in caplog.text
    assert "NOT as its card says: macro_f1" in caplog.text


def test_without_triage_figures_stand_and_refusals_do_not(data, tmp_path):
    for file in registry.SHIPPED.glob("triage.*"):
        file.unlink()
    out = tmp_path / "specialists.json"
    assert main(["evaluate", "breast", "--data", str(data), "--out", str(out)]) == 0
    assert rows_of(out)["breast_a"]["scope"] is None
    assert rows_of(out)["breast_a"]["test"]["n"] == 8


@pytest.mark.parametrize(("words", "said"), [(["nobody"], "No specialist and no domain named nobody"),
                                             (["lesion_unet"], "None of the sets")])
def test_what_cannot_be_measured_is_said(data, tmp_path, capsys, words, said):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert main(["evaluate", *words, "--data", str(folder)]) == 2
    assert said in capsys.readouterr().err
