"""The doctor finds what is absent, damaged or under terms that forbid commercial use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

import assistant.__main__ as cli
from assistant import doctor
from specialists.core.card import Card, Label, write_card


def put_specialist(folder: Path, name: str, data: tuple[Mapping[str, Any], ...],
                   license: str = "CC BY 4.0") -> Path:
    """Write a card and weights and return the weights' path."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.safetensors"
    save_file({"w": np.zeros(8, np.float16)}, weights)
    stated = {"file": weights.name, "bytes": weights.stat().st_size,
              "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    write_card(Card(name=name, method="small_cnn", task="classification", domain="knee", title="Knee",
                    kinds=("knee X-ray",), modality="CR", body_part="knee", license=license, data=data,
                    labels=(Label("normal"), Label("arthrosis")), weights=stated), folder / f"{name}.json")
    return weights


def put_nano(folder: Path) -> Path:
    """Write what a generalist's folder holds and return the weights' path."""
    folder.mkdir(parents=True)
    for name in doctor.NANO_FILES:
        (folder / name).write_text("{}")
    weights = folder / "model.safetensors"
    save_file({"w": np.zeros(8, np.float16)}, weights)
    (folder / "card.json").write_text(json.dumps({
        "license": "CC BY 4.0", "weights": {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "data": [{"set": "open", "license": "CC0", "tier": "A"}]}))
    return weights


OPEN = {"set": "open", "license": "CC0", "tier": "A"}
LIMITED = {"set": "skin", "license": "CC BY-NC 4.0", "tier": "B"}
UNSTATED = {"set": "eyes", "license": "", "tier": "C"}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for the package and the home, both whole."""
    monkeypatch.setattr(doctor, "NANO", tmp_path / "nano")
    monkeypatch.setattr(doctor, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(doctor, "_software", lambda: iter(()))
    put_nano(tmp_path / "nano")
    put_specialist(tmp_path / "shipped", "knee_small", (OPEN,))
    return tmp_path


def part(report: doctor.Report, name: str) -> doctor.Part:
    return next(p for p in report.parts if p.name == name)


def test_a_whole_installation_is_whole(places: Path) -> None:
    report = doctor.examine()
    assert report.whole
    assert part(report, "knee_small").bytes > 0
    assert part(report, "home").state == "ok"
    assert not (places / "home").exists(), "looking must not make folders"
    assert report.left_out == {}
    json.dumps(report.json())


def test_software_is_looked_for_by_what_the_package_needs() -> None:
    found = {p.name: p for p in doctor._software()}
    assert found["torch"].state == "ok"
    assert found["torch"].bytes > 10_000_000
    assert found["numpy"].license.startswith("BSD")


def test_absent_and_damaged_parts_are_named(places: Path) -> None:
    (places / "nano" / "tokenizer.json").unlink()
    weights = put_specialist(places / "home" / "specialists", "elbow", (OPEN,))
    weights.write_bytes(weights.read_bytes()[:-3])
    swapped = put_specialist(places / "home" / "specialists", "hip", (OPEN,))
    save_file({"w": np.ones(8, np.float16)}, swapped)
    put_specialist(places / "home" / "specialists", "toe", (OPEN,)).unlink()
    (places / "home" / "specialists" / "hand.json").write_text("{")
    garbage = put_specialist(places / "home" / "specialists", "chin", (OPEN,))
    garbage.write_bytes(b"no tensors here")
    report = doctor.examine()
    assert not report.whole
    for name, says in {"consilium-nano": "lacks tokenizer.json", "elbow": "cut off", "hip": "sha256 differs",
                       "toe": "is missing", "hand": "hand.json", "chin": "no safetensors"}.items():
        assert part(report, name).state != "ok"
        assert says in part(report, name).detail
    assert part(report, "knee_small").state == "ok"


def test_a_home_that_cannot_be_written_is_broken(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "file").write_text("")
    monkeypatch.setenv("CONSILIUM_HOME", str(places / "file"))
    assert part(doctor.examine(), "home").state == "broken"


def test_commercial_use_leaves_out_what_forbids_or_does_not_state_it(places: Path) -> None:
    shipped = places / "shipped"
    put_specialist(shipped, "skin_small", (OPEN, LIMITED), "CC BY-NC 4.0")
    put_specialist(shipped, "eye_small", (UNSTATED,), "research use")
    put_specialist(shipped, "no_terms", (OPEN,), "")
    (shipped / "index").mkdir()
    for domain, source in (("eye", "eyes"), ("knee", "open")):
        terms = "" if source == "eyes" else "CC0"
        rows = {"columns": ["id", "label", "source", "license"],
                "rows": [[str(n), "normal", f"owner/{source}:{n}.png", terms] for n in range(3)]}
        (shipped / "index" / f"{domain}.json").write_text(json.dumps({"domain": domain, **rows}))
        save_file({"features": np.zeros((1, 4), np.float16)}, shipped / "index" / f"{domain}.safetensors")
    report = doctor.examine()
    assert report.left_out == {
        "specialist skin_small": "skin: CC BY-NC 4.0 (tier B)", "specialist no_terms": "license not stated",
        "specialist eye_small": "eyes: license not stated (tier C)",
        "index eye": "owner/eyes: license not stated (tier ?)"}
    assert part(report, "knee").data == ({"set": "open", "license": "CC0", "tier": "A"},)
    assert part(report, "knee").detail == "3 cases"


def test_the_command_prints_and_has_a_status(places: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    put_specialist(places / "shipped", "eye_small", (UNSTATED,))
    assert cli.main(["doctor", "--commercial-ok"]) == 0
    said = capsys.readouterr().out
    assert "leave out:\n  specialist eye_small" in said
    assert "All that is needed is there." in said
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["whole"] is True
    (places / "nano" / "model.safetensors").unlink()
    assert cli.main(["doctor"]) == 1
    assert "Broken or absent: generalist consilium-nano." in capsys.readouterr().out


def test_an_old_version_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = ["numpy>=99", "ray>=1; extra == 'ray'", "x; extra == 'dev'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: stated)
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.1.0")
    found = {p.name: p for p in doctor._software()}
    assert found["numpy"].state == "broken"
    assert "wanted >=99" in found["numpy"].detail
    assert not found["ray"].needed
    assert "x" not in found
    with Console().capture() as shown:
        Console().print(*doctor.tables(doctor.Report(tuple(found.values()))))
    assert isinstance(shown.get(), str)
