"""Tests of exports: each form holds what was asked and found, and nothing that it must not."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from assistant.errors import BadQuestion, CannotExport, ConversationNotFound, RecordsError, TraceNotFound
from assistant.export import command, dicom
from assistant.export.dossier import Dossier, Entry, entry_of, gather
from assistant.export.fhir import bundle
from assistant.export.formats import FORMATS, exported, file_name
from assistant.export.headers import CHARACTERS, read_header, rows
from assistant.export.markdown import markdown, plain
from assistant.records import Feedback, Records, Turn
from assistant.steps import Answer, Case, Evidence, Opinion, Pool
from specialists.core.findings import Box, Masks
from specialists.core.study import Study, read_study

QUESTION = "What is <b>it</b>? ![x](http://evil.invalid/x.png)"
SECRET = "Doe^Jane"


def dicom_file(frames: int = 1, **changes: object) -> bytes:
    """Return an ultrasound image, 20 x 30 pixels."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    multi = "1.2.840.10008.5.1.4.1.1.3.1" if frames > 1 else "1.2.840.10008.5.1.4.1.1.6.1"
    known: dict[str, object] = {
        "SOPClassUID": multi, "SOPInstanceUID": generate_uid(None), "StudyInstanceUID": generate_uid(None),
        "SeriesInstanceUID": generate_uid(None), "Modality": "US", "Rows": 20, "Columns": 30, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
        "PixelRepresentation": 0, "PatientName": SECRET, "PatientID": "4711",
        "PixelData": np.random.default_rng(0).integers(0, 255, frames * 600, dtype=np.uint8).tobytes(), **changes}
    if frames > 1:
        known["NumberOfFrames"] = frames
    for name, value in known.items():
        if value is not None:
            setattr(made, name, value)
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def answer(study: Study, **changes: object) -> Answer:
    """Return an answer with a mask, a box and an opinion."""
    width, height = study.size
    mask = np.zeros((height, width), dtype=bool)
    mask[3:9, 4:12] = True
    masks = Masks("breast_lesion_unet", {"lesion": mask}, (0.5, 0.5))
    fields: dict = {
        "text": "Probably malignant.", "label": "malignant", "confidence": 0.64,
        "refer": True, "refer_reason": "unsure",
        "kind": "breast ultrasound", "options": {"malignant": 0.64, "benign": 0.36}, "findings": (masks,),
        "boxes": (Box("œdème", (4, 3, 12, 99), 0.5),), "masks": (masks,), "trace_id": "t1", "seconds": 1.0,
        "evidence": Evidence((Opinion("cnn", "benign", {"malignant": 0.4, "benign": 0.6}, {"macro": 0.8}),),
                             (Case("c1", "benign", 0.93, "BreastMNIST", "CC BY 4.0"),),
                             Pool("malignant", {"malignant": 0.6, "benign": 0.4}), conflict=True)}
    return Answer(**{**fields, **changes})


def stored(records: Records, data: bytes, **changes: object) -> tuple[str, str]:
    """Store a conversation of one answer about an image; return it and its trace."""
    study = read_study(data)
    key = records.keep(study)
    trace = records.append({
        "time": "2030-01-02T03:04:05+00:00", "model": None, "question": {"text": QUESTION, "options": ["a", "b"]},
        "images": [{"key": key, "sha256": study.sha256, "format": study.format}], "tools": [],
        "answer": answer(study, **changes).json()})
    conversation = records.open_conversation("me")
    records.add_turn(conversation, Turn(QUESTION, "Probably malignant.", trace, (key,)))
    return conversation, trace


@pytest.fixture
def dossier(tmp_path) -> Dossier:
    """Return a stored conversation about a DICOM image, objected to by its owner."""
    records = Records(tmp_path)
    conversation, trace = stored(records, dicom_file())
    records.say(Feedback(trace, "disagree", "too sure", "benign", "me"))
    return gather(records, conversation, "me")


def entry(data: bytes, **changes: object) -> Entry:
    study = read_study(data)
    return Entry(QUESTION, answer(study, **changes), images=({"sha256": study.sha256, "format": "dicom"},), study=study)


def test_a_dossier_is_its_owners(tmp_path):
    records = Records(tmp_path)
    conversation, _ = stored(records, dicom_file())
    with pytest.raises(ConversationNotFound):
        gather(records, conversation, "you")
    with pytest.raises(RecordsError, match="Nothing was asked"):
        gather(records, records.open_conversation("me"))


def test_regions_that_the_reader_drew_are_told_and_drawn():
    box, point = Box("box", (2, 3, 22, 13)), Box("point", (10, 8, 12, 10))
    about = replace(entry(dicom_file()), regions=(box, point))
    plain_one = entry(dicom_file()).picture()
    assert np.any(np.asarray(about.picture()) != np.asarray(plain_one))
    whole = Dossier("c", "t", (about,))
    words = exported(whole, "markdown").decode()
    assert "Region 1: 20 × 10 pixels at 2, 3" in words
    assert "Region 2: around the point 11, 9" in words
    observation = next(one["resource"] for one in bundle(whole)["entry"] if one["resource"].get("component"))
    assert "2.0, 3.0, 22.0, 13.0" in [part.get("valueString") for part in observation["component"]]
    header = read_header(dicom_file())
    assert header is not None
    report = pydicom.dcmread(io.BytesIO(dicom.report([about], header)))
    assert "region 1, drawn by the reader" in str(report)


def test_an_open_answer_without_any_finding_is_a_report_too():
    header = read_header(dicom_file())
    assert header is not None
    nothing = {"label": None, "confidence": None, "boxes": (), "masks": (), "findings": (), "evidence": Evidence()}
    report = pydicom.dcmread(io.BytesIO(dicom.report([entry(dicom_file(), **nothing)], header)))
    assert "refer to a human reader" in str(report)
    assert "in words, see the comment" in str(report)


def test_regions_come_out_of_the_trace(tmp_path):
    records = Records(tmp_path)
    study = read_study(dicom_file())
    key = records.keep(study)
    trace = records.append({"question": {"text": "?", "options": None, "regions": [Box("box", (1, 2, 3, 4)).json()]},
                            "images": [{"key": key}], "tools": [], "answer": answer(study).json()})
    assert entry_of(records, trace).regions == (Box("box", (1, 2, 3, 4)),)


def test_the_picture_shows_what_was_found(dossier):
    first = dossier.entries[0]
    assert first.study
    assert not np.array_equal(np.asarray(first.picture()), first.study.rgb())
    assert replace(first, study=None).picture() is None


def test_markdown_tells_all_and_links_nothing(dossier):
    said = markdown(dossier)
    for words in ("Probably malignant", "confidence 64 %", "Refer to a human reader: unsure", "BreastMNIST",
                  "not a medical", "A reader disagrees; label: benign; reason: too sure",
                  "breast\\_lesion\\_unet: lesion"):
        assert words in said
    assert "<b>" not in said
    assert "![x]" not in said
    assert "http://" not in said


@pytest.mark.parametrize(("text", "shown"), [
    ("- a", "\\- a"), ("1. a", "1\\. a"), ("0.50", "0.50"), ("===", "\\==="), ("www.x.y", "www&#46;x.y"),
    ("a|b", "a\\|b"), ("<i>", "&lt;i&gt;")])
def test_text_is_shown_letter_by_letter(text, shown):
    assert plain(text) == shown


def test_a_pdf_has_pages_pictures_and_any_letter(dossier):
    odd = replace(dossier.entries[0], question="Ist das ≥ 5 mm? 肿瘤 \x07" + "very long " * 2000)
    made = exported(replace(dossier, entries=(dossier.entries[0], odd)), "pdf")
    assert made.startswith(b"%PDF-")
    assert made.count(b"/Subtype /Image") >= 1
    assert made.count(b"/Type /Page\n") > 3


def test_fhir_says_preliminary_and_refers_only_to_what_it_holds(dossier):
    made = bundle(dossier)
    report = made["entry"][0]["resource"]
    assert (report["resourceType"], report["status"]) == ("DiagnosticReport", "preliminary")
    urls = [one["fullUrl"] for one in made["entry"]]
    assert len(set(urls)) == len(urls)
    told = json.dumps(made)
    referred = {part.split('"')[0] for part in told.split('"reference": "')[1:]}
    assert referred
    assert referred <= set(urls)
    by_type = [one["resource"]["resourceType"] for one in made["entry"]]
    assert {"Observation", "Device", "Media"} <= set(by_type)
    value = next(r for one in made["entry"] if (r := one["resource"]).get("hasMember"))
    assert value["valueCodeableConcept"] == {"text": "malignant"}
    assert value["component"][0]["valueQuantity"]["value"] == 64.0
    assert base64.b64decode(report["presentedForm"][0]["data"]).startswith(b"# ")
    assert SECRET not in told
    assert "subject" not in told


@pytest.mark.parametrize("changes", [{}, {"PatientID": None, "PatientName": None}])
def test_a_segmentation_belongs_to_the_images_study(changes):
    data = dicom_file(**changes)
    header = read_header(data)
    assert header is not None
    made = pydicom.dcmread(io.BytesIO(dicom.segmentation(entry(data), header)))
    assert (made.Modality, made.StudyInstanceUID) == ("SEG", header.StudyInstanceUID)
    assert made.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"
    mask = hd.seg.Segmentation.from_dataset(made).pixel_array.reshape(20, 30)
    assert mask.astype(bool).sum() == 6 * 8
    assert mask[3, 4]


def test_a_report_holds_answer_opinion_and_place():
    data = dicom_file()
    header = read_header(data)
    assert header is not None
    made = hd.sr.ComprehensiveSR.from_dataset(pydicom.dcmread(io.BytesIO(dicom.report([entry(data)], header))))
    assert (made.VerificationFlag, made.PatientID) == ("UNVERIFIED", "4711")
    place = made.content.get_planar_roi_measurement_groups()[0]
    assert place.finding_type.meaning == "œdème"
    assert place.roi.value.max() <= 30
    said = [g.get_qualitative_evaluations()[0].value.meaning for g in made.content.get_image_measurement_groups()]
    assert said == ["malignant", "benign"]


@pytest.mark.parametrize(("frames", "changes", "match"), [
    (1, {"masks": (), "findings": ()}, "Nothing was outlined"), (3, {}, "no frame of reference")])
def test_what_cannot_be_a_segmentation_is_explained(frames, changes, match):
    data = dicom_file(frames)
    header = read_header(data)
    assert header is not None
    with pytest.raises(CannotExport, match=match):
        dicom.segmentation(entry(data, **changes), header)


def test_a_header_of_another_image_or_without_identifiers_is_refused():
    one, header = entry(dicom_file()), read_header(dicom_file(3))
    assert header is not None
    with pytest.raises(CannotExport, match="not the image"):
        dicom.segmentation(one, header)
    del header.StudyInstanceUID
    with pytest.raises(CannotExport, match="StudyInstanceUID"):
        dicom.report([one], header)


def test_dicom_forms_need_the_files_header(dossier):
    with pytest.raises(CannotExport, match="Add the same file again"):
        exported(dossier, "sr")
    png = replace(dossier, entries=(replace(dossier.entries[0], images=({"sha256": "x", "format": "png"},)),))
    with pytest.raises(CannotExport, match="about png"):
        exported(png, "seg")
    with pytest.raises(BadQuestion, match="wanted one of pdf"):
        exported(dossier, "docx")


def test_names_of_files_hold_plain_letters(dossier):
    assert file_name(dossier, "pdf") == "consilium-what-is-b-it-b-x-http-evil-invalid-x-png.pdf"
    assert file_name(replace(dossier, title="肿瘤/.."), "sr") == "consilium-report.sr.dcm"


def test_a_header_is_listed_cut_and_without_pixels():
    header = read_header(dicom_file(ImageComments="x" * 500))
    assert header is not None
    listed = {name: value for _, name, value in rows(header)}
    assert listed["Patient's Name"] == SECRET
    assert len(listed["Image Comments"]) == CHARACTERS + 3
    assert "Pixel Data" not in listed
    assert read_header(b"\x89PNG") is None
    assert read_header("none.dcm") is None


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_writes_a_conversation_or_an_answer(tmp_path, monkeypatch, capsys, form):
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    image = tmp_path / "image.dcm"
    image.write_bytes(dicom_file())
    conversation, trace = stored(Records(), image.read_bytes())
    name: Callable[[str], str] = lambda what: str(tmp_path / what)  # noqa: E731
    for number, identifier in enumerate((conversation, trace)):
        out = name(f"{number}.out")
        assert command.main([identifier, "--to", form, "--out", out, "--dicom", str(image)]) == 0
        assert capsys.readouterr().out.strip() == out
        assert (tmp_path / f"{number}.out").stat().st_size > 500
    with pytest.raises(TraceNotFound):
        command.main(["none"])


def test_a_question_of_empty_lines_is_written_as_it_is() -> None:
    assert plain("\n" * 20_000) == "\n" * 20_000
    assert plain("\n \n- a\n  1. b") == "\n \n\\- a\n  1\\. b"
