"""What is read from a reply: cases a reader would call fair, task by task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assistant.evaluation.harness import Asked, Reply, Row
from assistant.evaluation.tasks import vocabulary
from assistant.evaluation.tasks.comparison import ORDER, YES_NO, first
from assistant.evaluation.tasks.findings import Findings
from assistant.evaluation.tasks.grounding import Grounding, compared, one_to_one, prior_rows
from assistant.evaluation.tasks.image_kind import ImageKind
from assistant.evaluation.tasks.ordinal import Ordinal, quadratic_kappa
from assistant.evaluation.tasks.referring import Referring, place
from assistant.evaluation.tasks.registry import open_task
from assistant.evaluation.tasks.tool_use import ToolUse
from assistant.evaluation.tasks.vqa import Vqa, agrees, closed
from assistant.generalist.scripted import ScriptedGeneralist
from tests.assistant.evaluation.tasks.known import samples


def only(found: list[Asked], **truth: Any) -> Asked:
    return next(a for a in found if all(a.truth[name] == value for name, value in truth.items()))


@pytest.mark.parametrize(("kind", "text", "right", "exact"), [
    ("chest X-ray", "This is a chest radiograph.", 1, 1), ("chest X-ray", "An X-ray of the lungs", 1, 1),
    ("paediatric chest X-ray", "A chest X-ray.", 1, 0), ("paediatric chest X-ray", "X-ray of a child's chest", 1, 1),
    ("chest X-ray", "A chest CT.", 0, 0), ("chest X-ray", "A chest X-ray or a CT of the chest.", 0, 0),
    ("chest X-ray", "Not a CT but a chest X-ray.", 1, 1), ("head CT", "Computed tomography of the brain", 1, 1),
    ("fundus photograph", "A photograph of the retina, taken by fundus camera", 1, 1),
    ("dermoscopy", "A dermatoscopic image", 1, 1), ("dermoscopy", "A photo of a mole", 0, 0),
    ("knee X-ray", "An X-ray.", 0, 0)])
def test_a_kind_is_named_in_many_words(kind: str, text: str, right: int, exact: int) -> None:
    asked = Asked("1", "set", "g", (), (), {"kind": kind})
    judged = ImageKind().judge(asked, Reply(text))
    assert (judged["accuracy"], judged["exact"]) == (right, exact)


def test_boxes_are_matched_one_to_one() -> None:
    truth = [[0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]]
    sprayed = compared([(0.0, 0.0, 0.4, 0.4)] * 5, truth)
    assert sprayed["recall_any"] == sprayed["recall"] == 0.5
    assert (sprayed["matched_0.5"], sprayed["said"]) == (1, 5)
    crossed = np.array([[0.6, 0.55], [0.7, 0.0]])  # the greedy choice would leave one true box unmatched
    assert one_to_one(crossed, 0.5) == 2


@pytest.mark.parametrize(("text", "absence", "read"), [
    ("There is no breast lesion on this image.", 1, True), ("No.", 1, True), ("[]", 1, True),
    ('[{"bbox_2d": [100, 100, 300, 300], "label": "breast lesion"}]', 0, True),
    ("This is a breast ultrasound.", 0, False), ('[{"bbox_2d": [1, 2, 3], "label": "breast lesion"}]', 0, False)])
def test_an_absent_thing_is_to_be_denied(text: str, absence: int, read: bool) -> None:
    asked = only(Grounding().questions(samples(), 0), name="breast lesion", boxes=[])
    judged = Grounding().judge(asked, Reply(text))
    assert (judged["absence"], judged["read"]) == (absence, read)


def test_who_always_boxes_the_usual_place_is_a_baseline_that_sees_no_own_box() -> None:
    asked = [a for a in Grounding().questions(samples(), 0) if a.truth["name"] == "polyp" and a.truth["boxes"]]
    rows = [Row(a, Reply(), {}) for a in asked]
    usual = prior_rows(rows)
    assert [row.judged["recall_any"] for row in usual] == [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert prior_rows(rows[:1])[0].judged["recall_any"] == 0  # alone it has the middle of the image
    far = replace(asked[0], group="another", truth={**asked[0].truth, "boxes": [[0.9, 0.9, 1.0, 1.0]]})
    assert prior_rows([*rows, Row(far, Reply(), {})])[-1].judged["recall_any"] == 0


@pytest.mark.parametrize(("said", "truth", "question", "right"), [
    ("No, the heart is not enlarged.", "No", "Is the heart enlarged?", True),
    ("The heart is enlarged.", "Yes", "Is the heart enlarged?", True),
    ("There is no fracture.", "no", "Is there a fracture?", True),
    ("This is a brain MRI image.", "Yes", "Is the heart enlarged?", None),
    ("This is a brain MRI. Most likely no tumour.", "no", "Is there a fracture?", None),
    ("I cannot tell that from the image.", "no", "Is there a fracture?", None),
    ("The answer is no.", "no", "Is there a fracture?", True), ("", "no", "Is there a fracture?", None),
    ("It is on the left.", "Left side", "Is the lesion on the right or left side?", True),
    ("Left or right.", "Left side", "Is the lesion on the right or left side?", False),
    ("Female.", "Male", "Is this patient male or female?", False)])
def test_closed_answers(said: str, truth: str, question: str, right: bool | None) -> None:
    assert closed(said, truth, question) is right


def test_not_to_tell_is_read_and_not_right() -> None:
    asked = next(a for a in Vqa().questions(samples(), 0) if a.truth["closed"])
    judged = Vqa().judge(asked, Reply("I cannot tell that from the image."))
    assert (judged["read"], judged["cannot_tell"], judged["closed_accuracy"]) == (True, 1, 0)


def test_a_question_asked_twice_is_asked_once() -> None:
    asked = Vqa().questions(samples(), 0)
    assert len(asked) == 30
    assert "asked twice" not in {a.truth["answer"] for a in asked}


def test_a_judge_that_is_a_model_is_asked_in_words() -> None:
    asked = next(a for a in Vqa().questions(samples(), 0) if not a.truth["closed"])
    judge = ScriptedGeneralist(["Yes, both say so.", "no"])
    assert agrees(judge, asked, "the lobe on top")
    assert not agrees(judge, asked, "the liver")
    task = open_task("vqa", judge=ScriptedGeneralist(["yes"]))
    judged = task.judge(asked, Reply("the lobe on top"))
    assert (judged["open_judged"], judged["open_exact"]) == (1, 0)
    figures = task.figures([Row(asked, Reply(), judged)], np.ones((2, 1)))
    assert figures["judge"]["model"] == "scripted"
    assert figures["open_judged"]["value"] == 1


def test_denied_findings_are_hallucinations_and_unknown_ones_are_not() -> None:
    task = Findings()
    asked = only(task.questions(samples(), 0), labels=["glioma"])
    for text, wrong in (("Most likely no tumour.", 1.0), ("Most likely glioma.", 0.0), ("There is a wound.", 1.0),
                        ("No wound is seen.", 0.0), ("Possibly a wound.", 0.0), ("A skull fracture.", 0.0)):
        assert task.judge(asked, Reply(text))["hallucination"] == wrong, text


def test_the_kind_of_image_names_no_finding() -> None:
    assert vocabulary.named("A photograph of a wound.", ["wound"], "photograph of a wound") == set()
    assert vocabulary.named("A photograph of a wound with a wound.", ["wound"], "photograph of a wound") == {"wound"}
    assert vocabulary.named("Mild diabetic retinopathy.", ["DR mild"]) == {"DR mild"}


def test_what_is_known_of_an_image() -> None:
    known = vocabulary.known(samples())
    normal = known["busi_breast_ultrasound/1"]
    assert normal.stated == ("normal",)
    assert {"benign", "breast lesion", "drusen"} <= set(normal.denied)
    eye = known["odir_fundus/1"]
    assert eye.labels == ("glaucoma", "drusen")
    assert "normal" in eye.denied
    assert "knee_oa_xray/1" not in known
    assert "platelet" in known["bccd_blood_cells/0"].denied
    assert "red blood cell" in known["bccd_blood_cells/0"].stated


@pytest.mark.parametrize(("text", "answers", "said"), [
    ("The second image; the first is normal.", ORDER, "second"), ("Image 1", ORDER, "first"), ("Neither", ORDER, ""),
    ("No, they differ.", YES_NO, "no"), ("They are different.", YES_NO, "no"), ("Both show the same.", YES_NO, "yes")])
def test_the_first_answer_counts(text: str, answers: dict[str, str], said: str) -> None:
    assert first(text, answers) == said


@pytest.mark.parametrize(("text", "words"), [
    ("in the upper left part", "upper left"), ("at the top", "upper middle"), ("on the right", "right"),
    ("in the middle of the image", "center"), ("it fills most of the image", "most of the image"), ("a polyp", "")])
def test_places_in_words(text: str, words: str) -> None:
    assert place(text) == words


def test_calls_are_judged_by_name_and_arguments() -> None:
    task = ToolUse()
    asked = only(task.questions(samples(), 0), right=["contrast_dose"])
    weight = asked.truth["arguments"]["weight_kg"]

    def right(name: str, arguments: Any) -> tuple[Any, Any, Any]:
        judged = task.judge(asked, Reply(tool_calls=({"name": name, "arguments": arguments},)))
        return judged["valid"], judged["right_tool"], judged["right"]
    assert right("contrast_dose", {"weight_kg": float(weight)}) == (1, 1, 1)
    assert right("contrast_dose", {"weight_kg": weight + 1}) == (1, 1, 0)
    assert right("contrast_dose", {"weight": weight}) == (0, 1, 0)
    assert right("contrast_dose", "{not json") == (0, 1, 0)
    assert right("body_mass_index", {"weight_kg": 1, "height_m": 2}) == (1, 0, 0)
    assert right("made_up", {}) == (0, 0, 0)
    assert task.judge(asked, Reply("About 80 ml."))["right"] == 0


@pytest.mark.parametrize(("name", "text", "said"), [
    ("ear", "The heart.", 0), ("ear", "The left ear.", 1), ("male pelvis", "A female pelvis.", 0),
    ("male pelvis", "Pelvis, male.", 1), ("non-small cell", "small, non cell", 1)])
def test_recall_of_a_name_is_by_whole_words(name: str, text: str, said: int) -> None:
    asked = Asked("a", "s", "g", (), (), {"name": name, "names": [name]})
    assert Referring().judge(asked, Reply(text))["recall"] == said


def test_where_no_tool_fits_no_call_is_right() -> None:
    task = ToolUse()
    asked = only(task.questions(samples(), 0), form="none_fits")
    assert task.judge(asked, Reply("No tool fits."))["right"] == 1
    name = asked.tools[0]["function"]["name"]
    assert task.judge(asked, Reply(tool_calls=({"name": name, "arguments": {}},)))["right"] == 0


def test_kappa_is_that_of_scikit_learn_and_none_for_a_constant() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 60)
    said = np.clip(truth + rng.integers(-1, 2, 60), 0, 4)
    ours = quadratic_kappa(truth, said, 5, np.ones((1, 60)))[0]
    assert ours == pytest.approx(sklearn.cohen_kappa_score(truth, said, weights="quadratic"))
    assert quadratic_kappa(truth, np.full(60, 2), 5, np.ones((1, 60)))[0] == pytest.approx(0)
    assert np.isnan(quadratic_kappa(np.ones(3, int), np.ones(3, int), 5, np.ones((1, 3)))[0])


def test_a_silent_grade_is_the_farthest() -> None:
    task = Ordinal()
    asked = only(task.questions(samples(), 0), value=1)
    assert task.judge(asked, Reply(error="TimeoutError: too slow"))["error"] == 3
