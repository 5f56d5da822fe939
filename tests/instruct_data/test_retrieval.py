"""Texts of other cases in instruction data: entries of items, the command, and prompts of a build."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assistant.collaboration import texts
from assistant.collaboration.texts import Apart, TextIndex
from instruct_data.__main__ import Build, build, main
from instruct_data.engine import Plan
from instruct_data.items import Asked, Item, Library, Report
from instruct_data.kinds import findings, report, vqa
from instruct_data.kinds.similar_texts import SHARE
from instruct_data.records import read
from instruct_data.retrieval import entries_of, index_of, make_index
from specialists.core.errors import BadData
from specialists.core.study import read_study
from tests.bag import Bag
from tests.instruct_data.described import Make, asked, item, made, said

OPINED = "Is/Are there a pleural effusion on the right??"


def told(number: int, *pairs: tuple[str, str], **known: object) -> Item:
    """Return an item with answered questions."""
    return item(f"i{number}", kind="chest X-ray", asked=tuple(Asked(q, a) for q, a in pairs), **known)


ITEMS = (
    told(0, (OPINED, "Yes"), ("Any heart?", " "), report=Report("Large left pleural effusion.", "Effusion."),
         note="pleural effusion"),
    told(1, ("Is a pleural effusion seen, left or right?", "No."), report=Report("Clear lungs, left and right."),
         group="drawn/i1"),
    told(2, ("Does the right side show a pleural effusion?", "Yes, large"), patient="7",
         report=Report("Pleural effusion on the right.")),
)
LIBRARY = Library(ITEMS, texts=index_of(ITEMS, Bag()))


@pytest.fixture
def bag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MiniLM", Bag)


def qa_folder(folder: Path, count: int = 6) -> Path:
    """Write noise as images, with questions and answers in the layout of VQA-RAD."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows += [{"image_name": f"{number}.png", "image_organ": "CHEST", "answer": "Yes" if number % 2 else "No",
                  "question": f"Is there a pleural effusion of the {side}{', as it was before' * (number % 3)}?"}
                 for side in ("left", "right", "heart")]
    (folder / "qa.json").write_text(json.dumps(rows))
    (folder / "info.json").write_text(json.dumps({"license": "CC0", "source": "drawn"}))
    return folder


def prompts(make: Make, of: Item, library: Library, seeds: int = 60) -> list[str]:
    """Return the words of the prompts of a kind's records."""
    return [asked(record)[0] for seed in range(seeds) for record in made(make, of, seed, library)]


def test_an_items_texts_are_entries() -> None:
    pair, report_ = entries_of(ITEMS[0])
    assert (pair.question, pair.text) == ("Is there a pleural effusion on the right?", "Yes")
    assert (report_.question, report_.text) == ("", "Large left pleural effusion. Effusion.")
    assert (pair.kind, pair.group, pair.source, pair.license) == ("chest X-ray", "drawn/i0", "drawn", "CC0")
    assert pair.image == pair.dhash == ""
    with pytest.raises(BadData, match="No report"):
        index_of([item("bare")], Bag())


def test_the_command_makes_an_index_that_knows_the_images(tmp_path: Path, bag: None,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    data = qa_folder(tmp_path / "data")
    assert main(["texts", "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "18 texts" in shown
    assert "18  question and answer  drawn  CC0" in shown
    index = TextIndex.load(tmp_path / "out", Bag())
    own = read_study(data / "images" / "0.png")
    found = index.search("pleural effusion, right", k=18, apart=Apart.of([own], None))
    assert found
    assert not any("/0.png" in text.id or "images/0" in text.id for text in found)
    with pytest.raises(BadData, match="split 'val'"):
        make_index(data, tmp_path / "val", split="val")


def test_reports_need_no_images_and_keep_their_license(tmp_path: Path, bag: None) -> None:
    data = tmp_path / "indiana"
    data.mkdir()
    (data / "reports.csv").write_text("uid,Problems,findings,impression\n1,normal,Clear lungs.,Normal.\n"
                                      "2,Effusion,Large XXXX effusion. Large heart.,\n")
    (data / "images.csv").write_text("uid,filename,projection\n1,1.png,Frontal\n")
    index = make_index(data, tmp_path / "out")
    assert [e.text for e in index.entries] == ["Clear lungs. Normal.", "Large heart."]
    assert {e.license for e in index.entries} == {"CC BY-NC-ND 4.0"}
    (data / "images").mkdir()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(data / "images" / "1.png")
    with_image = make_index(data, tmp_path / "with")
    assert [bool(e.image) for e in with_image.entries] == [True]


@pytest.mark.parametrize(("make", "of"), [(vqa.make, ITEMS[0]), (report.make, ITEMS[0]), (findings.make, ITEMS[0])])
def test_a_share_of_the_prompts_has_texts_of_others(make: Make, of: Item) -> None:
    plain = prompts(make, of, replace(LIBRARY, texts=None))
    shown = prompts(make, of, LIBRARY)
    assert len(shown) == len(plain)
    assert not any("imilar" in text for text in plain)
    with_them = [text for text in shown if "similar texts:" in text or "of similar cases are:" in text]
    if make is findings.make:  # nothing was asked like "What do you see?", but "Please report the findings." is
        assert any("similar texts: none" in text for text in with_them)
        assert all("report" in text.split("\n")[-1] for text in with_them if "similar texts: none" not in text)
        return
    assert SHARE / 2 < len(with_them) / len(shown) < SHARE * 1.6
    assert any("of similar cases are:" in text for text in with_them)
    assert not any("Large left pleural effusion" in text for text in shown), "its own report"
    other = "Does the right side show" if make is vqa.make else "Pleural effusion on the right."
    assert any(other in text for text in with_them)


def test_a_misleading_text_stays_and_the_answer_is_the_records() -> None:
    for seed in range(40):
        (record,) = made(vqa.make, ITEMS[1], seed, LIBRARY)
        assert said(record)[0] == "No."
    assert any("Yes" in text for text in prompts(vqa.make, ITEMS[1], LIBRARY))


def test_a_patients_other_images_are_not_found() -> None:
    twin = replace(ITEMS[1], sample=replace(ITEMS[1].sample, group="drawn/i9", patient="7"))
    assert not any("Does the right side" in text for text in prompts(vqa.make, twin, LIBRARY))


def test_a_build_with_texts_gives_the_same_bytes_twice(tmp_path: Path, bag: None) -> None:
    data = qa_folder(tmp_path / "data", 8)
    first = build(Build(data, tmp_path / "a", kinds=("vqa",), texts=True))
    assert first == build(Build(data, tmp_path / "b", kinds=("vqa",), texts=True))
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in names:
        if (tmp_path / "a" / name).is_file():
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first["texts"] == {"sha256": first["texts"]["sha256"], "encoder": "bag", "count": 24}
    assert any("imilar" in record.text() for record in read(tmp_path / "a"))
    off = build(Build(data, tmp_path / "off", kinds=("vqa",)))
    assert "texts" not in off
    assert not any("imilar" in record.text() for record in read(tmp_path / "off"))


def test_a_build_needs_texts_where_they_are_asked_for(tmp_path: Path, bag: None) -> None:
    folder = tmp_path / "plain"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / label / f"{label}.png")
    with pytest.raises(BadData, match="No report and no answered question"):
        build(Build(folder, tmp_path / "out", texts=True))
    assert not Plan(folder, tmp_path / "out").texts
