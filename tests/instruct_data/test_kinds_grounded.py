"""Kinds that name, locate and describe regions: boxes are the item's, what is absent was looked for."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from assistant.generalist.boxes import JsonThousandths
from instruct_data.items import Region
from instruct_data.kinds import (
    attributes,
    image_analysis,
    places,
    referring_captioning,
    referring_classification,
    visual_grounding,
)
from instruct_data.records import rendered, words
from tests.instruct_data.described import (
    BARE,
    BRAIN,
    CELLS,
    CHEST,
    COLON,
    EYE,
    LIBRARY,
    POLYP,
    Make,
    asked,
    assert_sound,
    facts,
    made,
    said,
)

GROUNDED = [visual_grounding.make, referring_classification.make, referring_captioning.make, attributes.make]


@pytest.mark.parametrize("make", GROUNDED)
@pytest.mark.parametrize("of", [COLON, EYE, CELLS, CHEST], ids=lambda i: i.sample.id)
def test_same_facts_in_other_words(make: Make, of: object) -> None:
    assert_sound(make, of)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [*GROUNDED, image_analysis.make])
def test_of_an_unknown_image_nothing_is_said(make: Make) -> None:
    assert made(make, BARE) == []


def test_a_name_is_answered_with_all_its_boxes() -> None:
    record = next(r for r in made(visual_grounding.make, CHEST) if "consolidation" in r.facts[0])
    assert [f for f in record.facts if f.startswith("box")] == [
        "box: consolidation 600 550 800 750", "box: consolidation 200 300 300 400"]
    found = JsonThousandths().decode(said(rendered(record, JsonThousandths()))[0], (640, 480))
    assert [b.label for b in found] == ["consolidation", "consolidation"]
    assert found[0].xyxy == pytest.approx((384, 264, 512, 360), abs=1)


def test_of_more_boxes_than_an_answer_holds_the_largest_are_shown_and_said_to_be() -> None:
    for seed in range(20):
        record = next(r for r in made(visual_grounding.make, CELLS, seed) if "present: red blood cell" in r.facts)
        assert "6 largest" in said(record)[0]
        assert len(record.boxes) == 6
        assert CELLS.regions[0] not in [Region(b.name, b.box) for b in record.boxes]  # the smallest


def test_what_was_looked_for_in_vain_is_absent() -> None:
    records = made(visual_grounding.make, COLON)
    assert "absent: ulcer" in facts(records)
    assert "absent: polyp" not in facts(records)
    absent = next(r for r in records if r.facts == ("absent: ulcer",))
    assert "no ulcer" in said(absent)[0].lower()
    assert not absent.boxes


def test_a_box_of_two_names_is_not_asked_about() -> None:
    twin = replace(POLYP, name="ulcer", box=(0.1, 0.1, 0.4, 0.51))
    assert made(referring_classification.make, replace(COLON, regions=(POLYP, twin))) == []


def test_a_question_about_a_region_does_not_name_it() -> None:
    for seed in range(30):
        for record in made(referring_captioning.make, EYE, seed):
            assert "optic" not in asked(record)[0]
            assert "{region:0}" in asked(record)[0]


def test_a_description_says_what_lies_within_what() -> None:
    cup = [said(r)[0] for seed in range(10) for r in made(referring_captioning.make, EYE, seed) if "cup" in r.facts[0]]
    assert all("within the bounds of the optic disc" in text for text in cup)
    disc = [said(r)[0] for seed in range(10) for r in made(referring_captioning.make, EYE, seed)
            if "disc" in r.facts[0]]
    assert not any("within the bounds" in text for text in disc)


def test_the_patients_side_is_named_only_where_it_is_known() -> None:
    told = facts(made(attributes.make, CHEST))
    assert "position: consolidation 600 550 800 750: patient's left" in told
    mirrored = facts(made(attributes.make, replace(CHEST, radiological=False)))
    assert "position: consolidation 600 550 800 750: right of the image" in mirrored
    assert not any("patient" in said(r)[0] for r in made(attributes.make, replace(CHEST, radiological=False)))


def test_the_size_of_a_box_is_not_said_to_be_that_of_the_thing() -> None:
    texts = [said(r)[0] for s in range(20) for r in made(attributes.make, CELLS, s) if r.facts[0].startswith("size")]
    assert all("box" in text for text in texts)
    masks = [said(r)[0] for s in range(20) for r in made(attributes.make, COLON, s) if r.facts[0].startswith("size")]
    assert masks
    assert not any("box" in text for text in masks)
    assert facts(made(attributes.make, COLON)) >= {"size: polyp 100 100 400 500: 8 %",
                                                  "position: polyp 100 100 400 500: upper left"}


@pytest.mark.parametrize(("box", "words"), [
    ((0.0, 0.0, 0.2, 0.2), "upper left"), ((0.4, 0.4, 0.6, 0.6), "center"), ((0.7, 0.4, 0.9, 0.6), "right"),
    ((0.4, 0.8, 0.6, 1.0), "lower middle"), ((0.02, 0.0, 0.98, 1.0), "most of the image")])
def test_positions(box: tuple[float, float, float, float], words: str) -> None:
    assert places.position(Region("polyp", box)) == words


@pytest.mark.parametrize("of", [COLON, EYE, CELLS, CHEST], ids=lambda i: i.sample.id)
def test_an_analysis_goes_from_kind_to_conclusion_in_three_to_five_turns(of: object) -> None:
    assert_sound(image_analysis.make, of)  # type: ignore[arg-type]
    record = made(image_analysis.make, of)[0]  # type: ignore[arg-type]
    assert 3 <= len(said(record)) <= 5
    assert record.facts[0].startswith("kind: ")
    assert record.messages[1]["content"][0] == {"type": "image"}
    assert all(isinstance(m["content"], str) for m in record.messages[2:])


def test_an_analysis_of_two_known_things_is_none() -> None:
    assert made(image_analysis.make, BRAIN) == []


def test_boxes_of_an_analysis_stand_in_its_place_answer() -> None:
    record = list(image_analysis.make(COLON, LIBRARY, random.Random(2)))[0]
    with_box = [words(m) for m in record.messages if "{boxes" in words(m)]
    assert len(with_box) == 1
    assert record.boxes == (POLYP.marked(),)
