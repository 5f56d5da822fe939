"""What readers said in the window comes back as items: only what they agreed to or put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assistant.records import Feedback, Records
from instruct_data.build import finish
from instruct_data.engine import Plan, local
from instruct_data.gather import gather, layout_of
from instruct_data.records import read
from specialists.core.errors import BadData
from specialists.core.study import read_study


def asked(records: Records, seed: int, label: str | None = "benign", **question: Any) -> str:
    """Store an image and an answer about it; return its trace."""
    study = read_study(np.random.default_rng(seed).integers(0, 255, (3, 40, 50), dtype=np.uint8))
    image = {"key": records.keep(study), "sha256": study.sha256, "format": "array", "frames": 3}
    told = {"text": "I see a lump.", "label": label, "kind": "breast ultrasound"}
    options = ["benign", "malignant", "normal"] if label else None
    return records.append({"question": {"text": "What is the diagnosis?", "options": options, **question},
                           "images": [image] * (2 if question.get("two") else 1), "answer": told})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a store with judged and unjudged answers."""
    records = Records(tmp_path / "home")
    right, wrong, vague, region, two, unsaid = (
        asked(records, 1), asked(records, 2), asked(records, 3), asked(records, 4, regions=[{}]),
        asked(records, 5, two=True), asked(records, 6))
    open_one, gone = asked(records, 7, None), asked(records, 8)
    for trace in (right, region, two, open_one, gone):
        records.say(Feedback(trace, "agree"))
    records.say(Feedback(wrong, "disagree", "spiculated", "malignant"))
    records.say(Feedback(vague, "disagree", "no"))
    (tmp_path / "home" / "images" / f"{records.trace(gone)['images'][0]['key']}.npz").unlink()
    assert unsaid
    return tmp_path / "home"


def test_judged_answers_become_items(home):
    assert layout_of(home) == "feedback"
    library = gather(home)
    assert [(item.present, item.kind, item.asked[0].answer) for item in library.items] == [
        (("benign",), "breast ultrasound", "benign"), ((), "breast ultrasound", "I see a lump."),
        (("malignant",), "breast ultrasound", "malignant")]
    assert library.items[0].labels == ("benign", "malignant", "normal")
    assert len({item.sample.group for item in library.items}) == 3
    assert sorted(library.left_out.values()) == [
        "about a region that was drawn", "not about one image", "objected to without the right label",
        "the image is no longer kept"]


def test_images_of_one_patient_are_a_group(home):
    records = Records(home)
    mine = [asked(records, seed, patient_sha256="ab12") for seed in (21, 22)]
    again = asked(records, 21)  # the same image, its patient not named
    for trace in (*mine, again):
        records.say(Feedback(trace, "agree"))
    groups = {item.sample.id.rpartition("/")[2]: item.sample.group for item in gather(home).items}
    assert groups[mine[0]] == groups[mine[1]] == groups[again]
    assert len(set(groups.values())) == 4


def test_the_later_word_about_an_answer_holds(home):
    records = Records(home)
    first = next(said.trace_id for said in records.said() if said.verdict == "agree")
    records.say(Feedback(first, "disagree", "", "normal"))
    assert ("normal",) in [item.present for item in gather(home).items]


def test_a_store_without_a_judged_answer_is_told(tmp_path):
    asked(Records(tmp_path), 1)
    with pytest.raises(BadData, match="agree with one"):
        gather(tmp_path)


def test_records_are_built_of_them(home, tmp_path):
    plan = Plan(home, tmp_path / "built", kinds=("diagnosis", "vqa"))
    local(plan, lambda number: None)
    finish(plan)
    made = list(read(tmp_path / "built"))
    assert made
    assert all((tmp_path / "built" / name).is_file() for record in made for name in record.images)
    assert any("malignant" in record.text() for record in made)
