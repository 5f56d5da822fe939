"""A training mixture: same seed same records, every kind, letters that name the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant import template
from instruct_data.engine import examined
from instruct_data.gather import gather
from instruct_data.items import Library
from instruct_data.mix import KINDS, build
from instruct_data.records import OUT_OF_DOMAIN, read
from specialists.core.errors import BadData
from tests.drawn import data_folder, evidence_folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("drawn")
    data = data_folder(root / "data")
    return examined(gather(data, evidence_folder(root / "evidence", data)), root / "made")


def possible(library: Library) -> set[str]:
    """Kinds that the drawn images tell something of."""
    found = set()
    for name in KINDS:
        try:
            next(build(library, 1, 0, [name]))
            found.add(name)
        except BadData:
            pass
    return found


def test_same_seed_gives_the_same_records(library: Library) -> None:
    kinds = sorted(possible(library))
    assert list(build(library, 60, 3, kinds)) == list(build(library, 60, 3, kinds))
    assert list(build(library, 60, 3, kinds)) != list(build(library, 60, 4, kinds))


def test_shares_are_kept_and_sum_to_one(library: Library) -> None:
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)
    some = {"diagnosis": 0.8, "image_kind": 0.2}
    drawn = [r.kind for r in build(library, 300, 0, shares=some)]
    assert set(drawn) == set(some)
    assert drawn.count("diagnosis") / 300 == pytest.approx(0.8, abs=0.08)


def test_only_training_images_are_taught(library: Library) -> None:
    assert {i.sample.split for i in library.items} == {"train"}
    assert not {i.sample.dataset for i in library.items} & OUT_OF_DOMAIN


def test_a_kind_that_these_images_cannot_tell_is_named(library: Library) -> None:
    with pytest.raises(BadData, match="grading"):
        list(build(library, 1, 0, ["grading"]))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("{}\n")
    with pytest.raises(BadData, match="line 1"):
        list(read(tmp_path / "records.jsonl"))


def test_decision_prompts_shuffle_and_letter_the_options() -> None:
    options = ["a", "b", "c", "d"]
    assert sorted(template.shuffled(options, "seed")) == options
    assert template.shuffled(options, "seed") == template.shuffled(options[::-1], "seed")
    assert len({tuple(template.shuffled(options, str(i))) for i in range(50)}) > 10
