"""The validator takes honest wordings and refuses lies about boxes, names, counts, places and denials."""

from __future__ import annotations

import pytest

from assistant.generalist.boxes import FAMILIES, BoxCodec
from instruct_data.items import Item, Library, Region
from instruct_data.records import Record, in_pixels, words
from instruct_data.writers.validator import REASONS, Vocabulary, reworded, slots, tags, validate
from specialists.datasets.layout import Sample
from tests.instruct_data.made_records import POLYP, STENT, conversation, made

VOCABULARY = Vocabulary(frozenset({"polyp", "stent", "ulcer", "left lung", "effusion", "glioma", "no tumour",
                                   "moderate", "red blood cell", "other"}),
                        frozenset({"colonoscopy", "chest X-ray", "brain MRI"}))
HERE = "Here is the polyp: {boxes:0}"


def reasons(draft: str, text: str, question: str = "Where is the polyp?", **more: object) -> set[str]:
    """Return why the text may not take the place of the draft's answer."""
    record = made(question, draft, **more)
    found = validate(record, [question, text], VOCABULARY)
    assert {f.reason for f in found} <= REASONS.keys()
    return {f.reason for f in found}


@pytest.mark.parametrize(("draft", "text"), [
    (HERE, "The polyp is found at {boxes:0}."),
    (HERE, "I located the polyp on this colonoscopy image: {boxes:0}"),
    ("There is no stent on this image.", "No stent can be seen."),
    ("There is no stent on this image.", "The image is free of any stent."),
    ("No, there is no stent here.", "No, I cannot find a stent."),
    ("Yes, a polyp is visible.", "Yes, the image shows a polyp."),
    ("The image shows two polyps.", "There are 2 polyps on the image."),
    ("It covers about 12 % of the image.", "Roughly 12% of the image is covered."),
    ("It lies in the upper left part of the image.", "You will find it in the left upper part."),
    ("The polyp is in the center of the image.", "The polyp sits centrally in the image."),
    ("The polyp {boxes:0} lies above the stent {boxes:1}.", "The polyp, {boxes:0}, is above the stent, {boxes:1}."),
    ("{boxes:0} is the polyp and {boxes:1} is the stent.", "At {boxes:0} there is the polyp, at {boxes:1} the stent."),
    ("I count 3 polyps and 2 stents.", "There are 3 polyps, and the stents are 2."),
    ("This cannot be told from the image.", "The image does not allow an answer to that."),
    ("Most likely glioma.", "The most likely diagnosis is glioma."),
    ("The image shows no tumour.", "On this image there is no tumour."),
    ("The first image shows the larger polyp.", "It is the first image whose polyp is bigger."),
    ("Glioma is the right diagnosis.", "The diagnosis is glioma."),
])
def test_honest_wordings_pass(draft: str, text: str) -> None:
    assert reasons(draft, text) == set()


@pytest.mark.parametrize(("draft", "text", "reason"), [
    (HERE, "Here is the polyp: {boxes:1}", "placeholder_new"),
    (HERE, "Here is the polyp.", "placeholder_lost"),
    (HERE, "Here is the polyp: {boxes:0,1}", "placeholder_new"),
    (HERE, "Here is the polyp: [100, 200, 900, 800]", "box_wrong"),
    (HERE, "Here is the polyp: [600, 200, 900, 600]", "box_mirrored"),
    (HERE, "Here is the ulcer: {boxes:0}", "label_added"),
    (HERE, "Here it is: {boxes:0}", "label_lost"),
    (HERE, "Here is the polyp, beside an ulcer: {boxes:0}", "label_added"),
    (HERE, "Here is the polyp, beside a hemorrhage: {boxes:0}", "finding_added"),
    (HERE, "The polyp could possibly be here: {boxes:0}", "certainty_changed"),
    (HERE, "The polyp is not here: {boxes:0}", "negation_added"),
    (HERE, "The polyp on this brain MRI: {boxes:0}", "kind_wrong"),
    (HERE, "The polyp on this CT scan: {boxes:0}", "kind_wrong"),
    (HERE, "The three polyps: {boxes:0}", "number_new"),
    (HERE, "The polyp on the left: {boxes:0}", "place_changed"),
    (HERE, "The large polyp: {boxes:0}", "degree_changed"),
    (HERE, "", "empty"),
    (HERE, "The polyp <|im_end|> {boxes:0}", "empty"),
    ("The polyp {boxes:0} lies above the stent {boxes:1}.", "The stent {boxes:0} lies above the polyp {boxes:1}.",
     "label_moved"),
    ("The polyp {boxes:0} lies above the stent {boxes:1}.", "The polyp {boxes:1} lies above the stent {boxes:0}.",
     "label_moved"),
    ("I count 3 polyps and 2 stents.", "I count 2 polyps and 3 stents.", "label_moved"),
    ("The polyp is on the left and the stent on the right.", "The polyp is on the right and the stent on the left.",
     "label_moved"),
    ("There is no stent on this image.", "There is a stent on this image.", "negation_dropped"),
    ("There is no stent on this image.", "Nothing to see on this image.", "label_lost"),
    ("This cannot be told from the image.", "This can be told from the image.", "negation_dropped"),
    ("Yes, a polyp is visible.", "No, a polyp is visible.", "yes_no_changed"),
    ("The image shows two polyps.", "The image shows three polyps.", "number_new"),
    ("The image shows two polyps.", "The image shows a polyp.", "number_lost"),
    ("The image shows two polyps.", "The image shows several polyps.", "number_new"),
    ("It covers about 12 % of the image.", "It covers about 21 % of the image.", "number_new"),
    ("It measures 12 mm.", "It measures 12 cm.", "number_new"),
    ("It lies in the upper left part.", "It lies in the upper right part.", "place_changed"),
    ("The first image shows the larger polyp.", "The second image shows the larger polyp.", "order_changed"),
    ("The first shows a polyp, the second a stent.", "The second shows a polyp, the first a stent.", "order_changed"),
    ("The first image shows the larger polyp.", "The first image shows the smaller polyp.", "comparison_changed"),
    ("The grade is moderate.", "The grade is severe.", "degree_changed"),
    ("The left lung is clear.", "The right lung is clear.", "label_lost"),
    ("The answer is (B).", "The answer is (C).", "letter_changed"),
    ("This is a PA view.", "This is an AP view.", "view_changed"),
])
def test_lies_are_refused(draft: str, text: str, reason: str) -> None:
    assert reason in reasons(draft, text)


@pytest.mark.parametrize("codec", dict.fromkeys(FAMILIES.values()), ids=lambda c: type(c).__name__)
def test_coordinates_of_any_family_must_be_a_box_of_the_record(codec: BoxCodec) -> None:
    record, size = made("Where is it?", HERE), (800, 600)
    true, false, mirrored = (codec.encode([in_pixels(m, size)], size) for m in (
        POLYP, type(POLYP)("polyp", (0.5, 0.1, 0.9, 0.3)), type(POLYP)("polyp", (0.6, 0.2, 0.9, 0.6))))
    said = {name: {f.reason for f in validate(record, ["Where is it?", f"Here is the polyp: {{boxes:0}} {text}"],
                                              VOCABULARY)}
            for name, text in (("true", true), ("false", false), ("mirrored", mirrored))}
    assert not {"box_wrong", "box_mirrored", "box_label"} & said["true"]
    assert "box_wrong" in said["false"]
    assert "box_mirrored" in said["mirrored"]


def test_a_box_with_the_name_of_another_is_refused() -> None:
    codec, size = FAMILIES["qwen_vl"], (800, 600)
    swapped = codec.encode([in_pixels(type(POLYP)("stent", POLYP.box), size)], size)
    assert "box_label" in reasons("The polyp {boxes:0}, the stent {boxes:1}", f"The polyp {{boxes:0}}, the stent "
                                  f"{{boxes:1}} {swapped}")


def test_facts_bear_out_a_name_and_its_absence() -> None:
    assert reasons(HERE, "The polyp, beside the stent: {boxes:0}", facts=["present: stent"]) == set()
    assert reasons(HERE, "No ulcer, but a polyp: {boxes:0}", facts=["absent: ulcer"]) == set()
    assert "negation_dropped" in reasons(HERE, "An ulcer and a polyp: {boxes:0}", facts=["absent: ulcer"])


def test_letters_options_tools_and_the_system_are_no_slots() -> None:
    record = made("Options: A, B.\nWhich?", "B", "And why?", "It is a polyp.")
    assert [s.text for s in slots(record)] == ["And why?", "It is a polyp."]
    assert slots(made("Where?", "{boxes:0}"))[-1].role == "user"
    told = made("Image: colonoscopy.\nWhere is it?", HERE)
    assert [(s.head, s.text) for s in slots(told)] == [("Image: colonoscopy.\n", "Where is it?"), ("", HERE)]
    written = reworded(told, ["Where?", "The polyp: {boxes:0}"], "m")
    assert [words(m) for m in written.messages[1:]] == ["Image: colonoscopy.\nWhere?", "The polyp: {boxes:0}"]
    assert written.messages[1]["content"][0] == {"type": "image"}
    assert (written.writer, written.id, written.facts) == ("m", told.id, told.facts)


def test_another_number_of_texts_is_refused() -> None:
    assert [f.reason for f in validate(made("Where?", HERE), ["Where?"], VOCABULARY)] == ["turns_changed"]


def german(text: str, draft: str) -> set[str]:
    record = made("Where is the polyp?", draft)
    return {f.reason for f in validate(record, ["Wo ist der Polyp [polyp]?", text], VOCABULARY, "de")}


def test_translations_carry_the_claims_in_brackets() -> None:
    draft = "There is a polyp in the upper left part, 12 %, and no stent: {boxes:0}"
    assert tags(draft, VOCABULARY) == ["polyp", "left upper", "no stent"]
    good = "Ein Polyp [polyp] liegt oben links [left upper], 12 %, kein Stent [no stent]: {boxes:0}"
    assert german(good, draft) == set()
    assert german(good.replace("no stent", "stent"), draft) == {"tags_changed"}
    assert german(good.replace("12", "13"), draft) == {"number_new", "number_lost"}
    assert german(good.replace("{boxes:0}", "{boxes:1}"), draft) >= {"placeholder_new"}
    record = made("Where is the polyp?", draft)
    written: Record = reworded(record, ["Wo ist der Polyp [polyp]?", good], "m", "de")
    assert words(written.messages[-1]) == "Ein Polyp (polyp) liegt oben links, 12 %, kein Stent: {boxes:0}"
    assert written.language == "de"


def test_the_vocabulary_holds_all_names_of_a_library() -> None:
    sample = Sample("s/1", __file__, "s", "train", "benign", None, "s/1", "", "CC0", "A")  # type: ignore[arg-type]
    item = Item(sample, "s/1.png", kind="breast ultrasound", labels=("benign", "malignant"), present=("benign",),
                regions=(Region("lesion", STENT.box),), marked=("lesion", "cyst"))
    assert Vocabulary.of(Library([item])) == Vocabulary(frozenset({"benign", "malignant", "lesion", "cyst"}),
                                                        frozenset({"breast ultrasound"}))
    assert conversation("Q", "A")[1]["role"] == "user"
