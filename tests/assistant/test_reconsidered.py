"""What a small generalist writes is held to what others found: labels, counts, boxes, and what it left out."""

from __future__ import annotations

import pytest

from assistant import template
from assistant.assistant import Assistant
from assistant.generalist.boxes import JsonThousandths, corrected, without_places
from assistant.generalist.scripted import ScriptedGeneralist
from specialists.core.findings import Masks
from tests.assistant.stand_ins import Zoo, install, picture
from tests.assistant.test_assistant import favors

WRITTEN = "This is a brain MRI image. Most likely {}. 3 of 3 specialists say the same."


class Small(ScriptedGeneralist):
    """A generalist that was taught this kind of image alone."""

    @property
    def taught_kinds(self) -> frozenset[str]:
        """The kinds it was taught."""
        return frozenset({"brain MRI"})


class Breast(Small):
    """One that was taught another kind."""

    @property
    def taught_kinds(self) -> frozenset[str]:
        """The kinds it was taught."""
        return frozenset({"breast ultrasound"})


@pytest.fixture
def zoo(monkeypatch) -> Zoo:
    return install(monkeypatch)


def asked(tmp_path, written: str, decided: str):
    one = Assistant(generalist=Small([WRITTEN.format(written)], favors(decided)), home=tmp_path)
    return one.ask(picture(), "What is it?", collaboration="full"), one


@pytest.mark.parametrize("written", ["cataract", "glioma", "meningioma"])
def test_a_label_is_decided_between_letters_whatever_was_written(tmp_path, zoo, written):
    answer, _ = asked(tmp_path, written, "glioma")
    votes = sum(o.label == "glioma" for o in answer.evidence.moed)
    assert votes
    assert answer.text.startswith("This is a brain MRI image. Most likely glioma (")
    assert f"{votes} of {len(answer.evidence.moed)} specialists say the same." in answer.text
    assert not [word for word in ("cataract", "meningioma") if word in answer.text]
    assert "3 of 3" not in answer.text.replace(f"{votes} of 3", "")
    assert answer.evidence.arbiter is not None


def test_what_is_not_sure_goes_to_a_human_as_between_options(tmp_path, zoo):
    answer, one = asked(tmp_path, "cataract", "meningioma")
    labels = sorted({label for o in answer.evidence.moed for label in o.probabilities})
    chosen = one.ask(picture(), template.DIAGNOSIS, options=labels, collaboration="full")
    assert (answer.refer, answer.refer_reason) == (chosen.refer, chosen.refer_reason)
    assert chosen.label is not None
    assert f"Most likely {chosen.label} ({round(100 * (chosen.confidence or 0))} %)" in answer.text


def test_a_later_turn_without_a_call_is_held_to_the_evidence_too(tmp_path, zoo):
    written = ["Of the 10 similar cases: 10 orchid.", "It could be. Of the image, meningioma fits best.",
               "No, there is no fracture. Most likely orchid.", "A brain MRI image."]
    chat = Assistant(generalist=Small(written, favors("glioma")), home=tmp_path).chat()
    why, could, fracture, kind = (chat.ask(question, picture()) for question in (
        "Why?", "Could it be a meningioma?", "Is there a fracture?", "What kind of image is this?"))
    assert why.text.startswith("Most likely glioma (")
    assert could.text.startswith("Most likely glioma (")
    assert fracture.text.startswith("I cannot tell that. Most likely glioma (")
    for answer in (why, could, fracture):
        assert answer.evidence.moed
        assert "orchid" not in answer.text
        assert "meningioma" not in answer.text
    assert (kind.text, kind.evidence.moed) == ("A brain MRI image.", ()), "nobody was asked for nothing"


def test_a_label_goes_where_those_who_were_asked_name_none(tmp_path, zoo):
    zoo.kind = "breast ultrasound"

    written = "No specialist here is made for a breast ultrasound image. From the image alone: most likely glaucoma."
    answer = Assistant(generalist=Breast([written]), home=tmp_path).ask(picture(), "What do you see?")
    assert "glaucoma" not in answer.text
    assert "No specialist" not in answer.text
    assert "lesion at [8, 4, 16, 12]" in answer.text


def test_a_report_is_made_of_what_was_found_and_decided(tmp_path, zoo):
    one = Assistant(generalist=Small(["A nice picture."], favors("glioma")), home=tmp_path)
    findings, impression = one.ask(picture(), "Write a short report.", collaboration="full").text.split("\n\n")[:2]
    assert findings == "Findings: Brain MRI. Nobody here locates or measures anything on it."
    assert impression.startswith("Impression: Most likely glioma (")


def test_where_nobody_locates_anything_that_is_said(tmp_path, zoo):
    one = Assistant(generalist=Small(["Most likely glioma."], favors("glioma")), home=tmp_path)
    answer = one.ask(picture(), "Where is the lesion?")
    assert answer.text.startswith("Where, nobody here can tell on this kind of image. brain_mri_hybrid: ")


def test_where_who_looked_found_nothing_that_is_said_instead(tmp_path, zoo):
    zoo.kind = "breast ultrasound"
    zoo.answers["breast_lesion_unet"] = Masks("breast_lesion_unet", {}, None, ("lesion",))
    one = Assistant(generalist=Breast(["I see it."] * 2), home=tmp_path)
    text = one.ask(picture(), "Where is the lesion?", collaboration="full").text
    assert text.startswith("breast_lesion_unet looked and found no place; this does not rule it out. ")
    assert "breast_lesion_unet: not found: lesion." in text
    assert "nobody here" not in text
    told = one.ask(picture(), "Write a short report.", collaboration="full").text
    assert "Findings: Breast ultrasound. breast_lesion_unet: not found: lesion." in told
    assert "Nobody here locates" not in told


@pytest.mark.parametrize("tail", ['[{"bbox_2d": [0, 0, 500, 500], "label": "lesion"}].', '[{"bbox_2d": [0, 0, 50'])
def test_a_place_that_who_looked_did_not_find_is_not_told(tmp_path, zoo, tail):
    zoo.kind = "breast ultrasound"
    zoo.answers["breast_lesion_unet"] = Masks("breast_lesion_unet", {}, None, ("lesion",))
    written = f"This is a breast ultrasound image. The specialist finds the lesion: {tail}"
    answer = Assistant(generalist=Breast([written] * 2), home=tmp_path).ask(
        picture(), "Where is the lesion?", collaboration="full")
    assert answer.boxes == ()
    assert "The specialist finds" not in answer.text
    assert "bbox" not in answer.text
    assert "breast_lesion_unet looked and found no place" in answer.text


def test_sentences_with_places_stay_where_some_were_found():
    one = 'Here: [{"bbox_2d": [1, 2, 3, 4], "label": "Cup"}].'
    other = 'And there: [{"bbox_2d": [1, 2, 3, 4], "label": "polyp"}].'
    assert without_places(f"A photograph. {one} {other} Nothing else.", {"cup"}) == f"A photograph. {one} Nothing else."
    assert without_places("No place at all.", ()) == "No place at all."


def test_boxes_of_what_a_specialist_located_are_the_specialists(tmp_path, zoo):
    zoo.kind = "breast ultrasound"

    written = 'Here: [{"bbox_2d": [0, 0, 500, 500], "label": "lesion"}, {"bbox_2d": [0, 0, 9, 9], "label": "lesion"}]'
    answer = Assistant(generalist=Breast([written]), home=tmp_path).ask(picture(), "Where?", collaboration="full")
    assert [(b.label, b.xyxy) for b in answer.boxes] == [("lesion", (8, 4, 16, 12))], "once, and not its own"
    assert '[0, 0, 500, 500]' not in answer.text
    assert answer.text.startswith('Here: [{"bbox_2d": [250, ')


@pytest.mark.parametrize(("written", "begins"), [
    ('The lesion is here: [{"bbox_2d": [350, 2.', 'The lesion is here: [{"bbox_2d": [250, '),
    ('[{"bbox_2d": [350, 210], "label": "lesion', '[{"bbox_2d": [250, '),
    ('I see two lesions. [{"bbox_2d": [1', 'I see one lesion. [{"bbox_2d": [250, ')])
def test_a_list_of_boxes_that_breaks_off_is_the_specialists(tmp_path, zoo, written, begins):
    zoo.kind = "breast ultrasound"

    answer = Assistant(generalist=Breast([written]), home=tmp_path).ask(picture(), "Where?", collaboration="full")
    assert answer.text.startswith(begins)
    assert [b.label for b in answer.boxes] == ["lesion"]


def test_a_list_that_breaks_off_where_nothing_was_located_is_left_out():
    assert corrected(JsonThousandths(), 'It is here: [{"bbox_2d": [3', {}, (100, 100), (100, 100)) == "It is here."
    assert corrected(JsonThousandths(), '[{"bbox_2d": [3', {}, (100, 100), (100, 100)) == ""
    whole = 'Here: [{"bbox_2d": [0, 0, 9, 9], "label": "nail"}]'
    assert corrected(JsonThousandths(), whole, {}, (100, 100), (100, 100)) == whole


def test_things_are_as_many_as_were_counted():
    counts = {"red blood cell": 14, "white blood cell": 1}
    assert template.as_counted("13 red blood cells and no white blood cell.", counts) == (
        "14 red blood cells and one white blood cell.")
    assert template.as_counted("There are one white blood cell.", {"white blood cell": 1}) == (
        "There is one white blood cell.")
    assert template.as_counted("Here there is one polyp.", {"polyp": 2}) == "Here there are two polyps."
    assert template.as_counted("Most red blood cells are round; 3 platelets.", counts) == (
        "Most red blood cells are round; 3 platelets.")


def test_how_many_there_are_is_what_was_counted():
    counts = {"red blood cell": 14, "white blood cell": 1}
    assert template.numbered("I count one platelet.", counts, "How many red blood cells are there?") == (
        "There are 14 red blood cells.")
    assert template.numbered("I count one platelet.", counts, "How many cells?") == "I count one platelet."
    listed = 'Here. The specialist counts [{"box_2d": [1, 2, 3, 4], "label": "white blood cell"}].'
    assert template.numbered(listed, counts, "What is it?") == "Here."


def test_what_is_written_of_the_cases_labels_is_not_taken_on_trust(tmp_path, zoo):
    written = "Of the 9 most similar cases: orchid (0.94), rose (0.9). A brain MRI image."
    one = Assistant(generalist=Small([written], favors("glioma")), home=tmp_path)
    answer = one.ask(picture(), "Which cases?", collaboration="full")
    assert answer.text.startswith("A brain MRI image. Most likely glioma (")
    assert not [word for word in ("orchid", "0.94", "rose") if word in answer.text]
    assert "similar cases carry this label" in answer.text


def test_where_nothing_stays_of_what_was_written_a_label_is_decided(tmp_path, zoo):
    one = Assistant(generalist=Small(["Of the most similar case: orchid."], favors("glioma")), home=tmp_path)
    answer = one.ask(picture(), "What do you see?", collaboration="full")
    assert answer.text.startswith("Most likely glioma (")
    assert "orchid" not in answer.text


def test_a_sentence_of_its_own_making_goes_where_others_were_heard(tmp_path, zoo):
    said = "This is a human look: chest X-ray shows most likely."
    one = Assistant(generalist=Small([said], favors("glioma")), home=tmp_path)
    answer = one.ask(picture(), "What is it?", collaboration="full")
    assert answer.text.startswith("Most likely glioma (")
    assert "human look" not in answer.text
    alone = Assistant(generalist=Small([said]), home=tmp_path / "alone")
    assert alone.ask(picture(), "What is it?", collaboration="none").text == said


def test_the_kind_of_image_alone_is_told_where_it_was_asked_for(tmp_path, zoo):
    one = Assistant(generalist=Small(["A brain MRI image.", "Of sounds, most likely."]), home=tmp_path)
    for text in ("A brain MRI image.", "This is a brain MRI."):
        assert one.ask(picture(), "What kind of image is this?", collaboration="full").text == text
