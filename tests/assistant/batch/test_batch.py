"""A batch from the folder to the Parquet file: rows, errors, going on after a cut, both engines."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from assistant.__main__ import main
from assistant.assistant import Assistant
from assistant.batch import run as batch
from assistant.batch.results import SETTINGS, Results
from assistant.batch.run import Plan
from assistant.errors import BadQuestion, ServerUnreachable
from assistant.generalist.scripted import ScriptedGeneralist
from tests.assistant.stand_ins import Zoo, install, picture
from tests.fakes import FakeOpenAIServer

ASKED = Plan("Which tumour?", ("glioma", "no tumour"), threads=4)


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    return install(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures and a damaged one."""
    root = tmp_path / "images"
    root.mkdir()
    for number in range(5):
        Image.fromarray(picture(number)).save(root / f"{number}.png")
    (root / "3b.png").write_bytes(b"no picture")
    return root


def opened(tmp_path: Path, scores: Any = None) -> Assistant:
    return Assistant(generalist=ScriptedGeneralist(scores=scores or {"A": 0.7, "B": 0.3}), home=tmp_path / "home")


def ran(folder: Path, out: Path, assistant: Assistant, plan: Plan = ASKED) -> list[dict[str, Any]]:
    results = Results(out, plan.settings(folder))
    batch.run(plan, folder, results, lambda rows: None, assistant)
    results.finish()
    return pq.read_table(out).to_pylist()


def test_a_row_an_image_and_an_error_where_there_is_none(zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "results.parquet"
    rows = ran(folder, out, opened(tmp_path))
    assert [row["id"] for row in rows] == ["0.png", "1.png", "2.png", "3.png", "3b.png", "4.png"]
    good, bad = rows[0], rows[4]
    assert good["label"] in ("glioma", "no tumour")
    assert good["kind"] == "brain MRI"
    assert 0 < good["confidence"] < 1
    assert [finding["specialist"] for finding in json.loads(good["findings"])] == [
        "brain_mri_hybrid", "brain_mri_residual", "brain_mri_small_cnn"]
    assert sum(json.loads(good["options"]).values()) == pytest.approx(1)
    assert good["error"] is None
    assert (bad["error_type"], bad["label"], bad["confidence"]) == ("UnsupportedFormat", None, None)
    assert "'3b.png' holds" in bad["error"]
    assert not out.with_name("results.parquet.parts").exists()
    assert json.loads(pq.read_schema(out).metadata[SETTINGS])["question"] == "Which tumour?"


def test_a_stated_kind_holds_and_a_rows_own_comes_first(zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    table = folder / "table.jsonl"
    table.write_text('{"image": "0.png"}\n{"image": "1.png", "kind": "brain MRI"}\n')
    rows = ran(table, tmp_path / "results.parquet", opened(tmp_path), replace(ASKED, kind="orchid leaf"))
    assert [row["kind"] for row in rows] == ["orchid leaf", "brain MRI"]
    assert json.loads(rows[0]["findings"]) == []


def test_it_goes_on_where_it_was_cut_off(zoo: Zoo, folder: Path, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BLOCK", 2)
    out, asked = tmp_path / "results.parquet", []

    def scores(messages: Any, options: Any) -> dict[str, float]:
        asked.append(1)
        if len(asked) > 4 * 3:      # alone, and with evidence in two orders: four images
            raise ServerUnreachable("gone")
        return {"A": 0.7, "B": 0.3}

    one_by_one = Plan(ASKED.question, ASKED.options, threads=1)
    with pytest.raises(ServerUnreachable):
        ran(folder, out, opened(tmp_path, scores), one_by_one)
    assert not out.exists()
    assert len(list(out.with_name("results.parquet.parts").glob("*.parquet"))) == 2
    second = opened(tmp_path)
    rows = ran(folder, out, second)
    assert len(rows) == 6
    assert second.records.verify() - 4 == 1, "only what was missing was asked"
    Image.fromarray(picture(9)).save(folder / "9.png")
    assert [row["id"] for row in ran(folder, out, second)][-1] == "9.png"
    assert second.records.verify() == 6


def test_an_error_is_asked_again_and_its_row_replaced(zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    out, assistant = tmp_path / "results.parquet", opened(tmp_path)
    ran(folder, out, assistant)
    assert "3b.png" not in Results(out, ASKED.settings(folder)).done
    again = ran(folder, out, assistant)
    assert [row["id"] for row in again if row["error"]] == ["3b.png"], "an error that stays has one row"
    assert assistant.records.verify() == 5, "answers are not asked again"
    Image.fromarray(picture(7)).save(folder / "3b.png")
    mended = ran(folder, out, assistant)
    assert {row["id"]: row["error"] for row in mended} == dict.fromkeys(sorted(os.listdir(folder)))
    assert len(mended) == 6


def test_a_cut_while_parts_are_joined_doubles_nothing(zoo: Zoo, folder: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "results.parquet"
    with monkeypatch.context() as cut:
        cut.setattr("assistant.batch.results.shutil.rmtree", lambda _: None)
        ran(folder, out, opened(tmp_path))
    assert sorted(row["id"] for row in ran(folder, out, opened(tmp_path))) == sorted(os.listdir(folder))


def test_names_and_messages_that_are_no_utf8_become_rows(zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    for name, content in ((b"caf\xe9.png", (folder / "0.png").read_bytes()), (b"bad\xe9.png", b"no picture")):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    out, assistant = tmp_path / "results.parquet", opened(tmp_path)
    rows = {row["id"]: row for row in ran(folder, out, assistant)}
    assert (len(rows), rows["caf\\xe9.png"]["error"]) == (8, None)
    assert rows["caf\\xe9.png"]["image"] == f"{folder}/caf\\xe9.png"
    assert rows["bad\\xe9.png"]["error"]
    assert len(ran(folder, out, assistant)) == 8
    assert assistant.records.verify() == 6


def test_a_table_whose_ids_were_numbers_goes_into_another_file(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("image\n0.png\n")
    assert ASKED.settings(table)["ids"] == "image"
    table.write_text("image,id\n0.png,1\n")
    assert "ids" not in ASKED.settings(table)
    assert "ids" not in ASKED.settings(folder)


def test_another_question_does_not_go_into_the_same_file(zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.parquet"
    ran(folder, out, opened(tmp_path))
    with pytest.raises(BadQuestion, match="another question"):
        Results(out, Plan("Another?").settings(folder))
    with pytest.raises(BadQuestion, match="another source"):
        Results(out, ASKED.settings(tmp_path))
    with pytest.raises(BadQuestion, match=r"written as Parquet; wanted a name such as 'results\.parquet'"):
        Results(tmp_path / "results.jsonl", {})
    (tmp_path / "other.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(BadQuestion, match="is no Parquet file"):
        Results(tmp_path / "other.parquet", {})


def test_several_images_are_under_way_at_once_and_a_tables_own_questions_are_asked(zoo: Zoo, folder: Path,
                                                                                   tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("image,question,options\nimages/0.png,Is it a glioma?,yes|no\nimages/1.png,,\n"
                     "images/2.png,,\nimages/4.png,,\n")
    together = threading.Barrier(4, timeout=20)     # passes only while four ask at the same time

    def scores(messages: Any, options: Any) -> dict[str, float]:
        if "Specialists:" not in messages[-1].text:     # by the image alone: once an image
            together.wait()
        return {"A": 0.7, "B": 0.3}

    rows = ran(table, tmp_path / "results.parquet", opened(tmp_path, scores))
    assert [row["question"] for row in rows] == ["Is it a glioma?", *["Which tumour?"] * 3]
    assert set(json.loads(rows[0]["options"])) == {"yes", "no"}
    assert [row["error"] for row in rows] == [None] * 4


def test_a_fault_of_ours_is_a_row_too(zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    def scores(messages: Any, options: Any) -> dict[str, float]:
        raise RuntimeError("a bug")

    rows = ran(folder, tmp_path / "results.parquet", opened(tmp_path, scores))
    assert {row["error_type"] for row in rows} == {"RuntimeError", "UnsupportedFormat"}


def commanded(folder: Path, out: Path, engine: str) -> list[dict[str, Any]]:
    with FakeOpenAIServer("A", logprobs={"A": -0.1, "B": -2.0}) as server:
        words = ["consult", str(folder), "--question", "Which tumour?", "--options", "glioma,no tumour", "--out",
                 str(out), "--collaboration", "none", "--model", server.url, "--engine", engine, "--workers", "1"]
        assert main(words) == 1
    kept = ("id", "label", "options", "error")
    return [{name: row[name] for name in kept} for row in pq.read_table(out).to_pylist()]


def test_the_command(zoo: Zoo, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.parquet"
    rows = commanded(folder, out, "plain")
    assert [row["label"] is None for row in rows] == [False] * 4 + [True, False]
    assert f"6 rows in {out}, 1 of them with an error." in capsys.readouterr().err
    assert main(["consult", str(folder)]) == 2
    assert "No question" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "says"), [
    (["--options", "glioma"], "Got 1 option; wanted 2"), (["--options", "glioma,Glioma"], "more than once"),
    (["--without", "nobody"], "No specialist named 'nobody'"), (["--kind", "x" * 500], "The kind of image"),
    (["--out", "."], "is a folder; wanted a file"), (["--out", "images/0.png/r.parquet"], "cannot be made")])
def test_what_no_image_can_be_asked_is_said_at_the_start(
        folder: Path, tmp_path: Path, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "run", lambda *_: pytest.fail("the batch begins"))
    assert main(["consult", str(folder), "--question", "Which?", *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("*.parts")), "nothing is left behind"


def test_a_broken_table_is_said_at_the_start(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "t.jsonl").write_text('{"image": "0.png"}\n{"image"')
    out = tmp_path / "results.parquet"
    assert main(["consult", str(folder / "t.jsonl"), "--question", "Which?", "--out", str(out)]) == 2
    assert "Row 2 of t.jsonl is no JSON" in capsys.readouterr().err
    assert not out.with_name("results.parquet.parts").exists()


@pytest.mark.slow
def test_ray_gives_the_same_rows(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    assert commanded(folder, tmp_path / "ray.parquet", "ray") == commanded(folder, tmp_path / "here.parquet", "plain")


def test_what_a_library_says_stays_out_of_the_file(zoo: Zoo, folder: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("PatientName DOE^JOHN")
    assistant = opened(tmp_path)
    monkeypatch.setattr(assistant, "ask", broken)
    rows = ran(folder, tmp_path / "results.parquet", assistant)
    assert {(row["error"], row["error_type"]) for row in rows} == {("failed with KeyError", "KeyError")}
