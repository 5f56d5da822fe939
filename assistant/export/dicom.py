"""What was found on a DICOM image as objects of the same study: a segmentation (SEG) and a report (SR, TID 1500).

Made by highdicom from the header of the image's file, whose patient and study they take over: they are as private as
the image. Labels are the data's own names; where a name is one of a few that SNOMED CT has, it is coded so, else in a
scheme of this program. Nothing is marked as verified.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from assistant.errors import CannotExport
from assistant.export.blocks import NOTICE, UNSURE
from assistant.export.dossier import Entry
from assistant.steps import Answer
from specialists.core.findings import Box, Volumes
from specialists.core.study import Study

SCHEME = "99CONSILIUM"
MEANING = 64
"""Characters that a meaning may have."""
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
                "AccessionNumber", "ReferringPhysicianName")
ABNORMAL, ANATOMY = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.AnatomicalStructure
KNOWN = {
    "lesion": (ABNORMAL, codes.SCT.Lesion), "nodule": (ABNORMAL, codes.SCT.Nodule), "mass": (ABNORMAL, codes.SCT.Mass),
    "tumor": (ABNORMAL, codes.SCT.Neoplasm), "tumour": (ABNORMAL, codes.SCT.Neoplasm),
    "cyst": (ABNORMAL, codes.SCT.Cyst), "hemorrhage": (ABNORMAL, codes.SCT.Hemorrhage),
    "liver": (ANATOMY, codes.SCT.Liver), "lung": (ANATOMY, codes.SCT.Lung), "lungs": (ANATOMY, codes.SCT.Lung),
    "heart": (ANATOMY, codes.SCT.Heart), "spleen": (ANATOMY, codes.SCT.Spleen),
    "kidney": (ANATOMY, codes.SCT.Kidney), "nucleus": (ANATOMY, codes.SCT.Nucleus)}
UNICODE = "ISO_IR 192"
SERIES = {"SEG": 901, "SR": 902}
Group = sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations
BROKEN = (AttributeError, KeyError, TypeError, ValueError, IndexError)
"""What highdicom raises on headers that lack something; its words may quote the header and are not passed on."""


def segmentation(entry: Entry, header: Dataset) -> bytes:
    """Return the masks of an answer as a DICOM SEG file, a segment a label of each specialist.

    Raises CannotExport where there is no mask, or the header lacks what a segmentation needs.
    """
    source = _complete(header)
    frames = int(source.get("NumberOfFrames") or 1)
    if entry.study is None or (entry.study.frames, entry.study.size) != (frames, (source.Columns, source.Rows)):
        raise CannotExport("The DICOM file is not the image that was asked about. Add that image's own file.")
    found = list(_masks(entry.answer, entry.study))
    if not found:
        raise CannotExport("Nothing was outlined on this image, so that there is no segmentation to export. "
                           "Ask where something is, or export the report.")
    if frames > 1 and "FrameOfReferenceUID" not in source:
        raise CannotExport(f"The file has {frames} frames and no frame of reference, which a segmentation needs. "
                           "Export the report (SR), or the PDF.")
    pixels = np.stack([mask for _, _, mask in found], axis=-1)
    try:
        made = hd.seg.Segmentation(
            [source], pixels, "BINARY",
            [_segment(n, who, label) for n, (who, label, _) in enumerate(found, start=1)],
            generate_uid(None), SERIES["SEG"], generate_uid(None), 1, "Consilium", "Consilium", _version(), "1",
            content_label="CONSILIUM", content_description="Research use only",
            series_description="Consilium segmentation, research only", specific_character_set=UNICODE)
    except BROKEN as error:
        raise _lacking("segmentation", error) from None
    return _file(made)


def report(entries: Sequence[Entry], header: Dataset) -> bytes:
    """Return answers about one image as a DICOM Comprehensive SR file; raises CannotExport."""
    source = _complete(header)
    try:
        device = sr.ObserverContext(codes.DCM.Device, sr.DeviceObserverIdentifyingAttributes(
            generate_uid(None, ["Consilium"]), name="Consilium", model_name=_version()))
        groups = [group for entry in entries for group in _groups(entry, source)]
        content = sr.MeasurementReport(sr.ObservationContext(device), codes.cid100.ImagingProcedure, groups,
                                       title=codes.DCM.ImagingMeasurementReport)
        for words in (NOTICE, *map(_said, entries)):
            content[0].ContentSequence.append(sr.TextContentItem(
                codes.DCM.Comment, words, sr.RelationshipTypeValues.CONTAINS))
        made = sr.ComprehensiveSR(
            [source], content[0], generate_uid(None), SERIES["SR"], generate_uid(None), 1, "Consilium",
            is_complete=True, is_final=False, is_verified=False,
            series_description="Consilium report, research only", specific_character_set=UNICODE)
    except BROKEN as error:
        raise _lacking("report", error) from None
    return _file(made)


def _complete(header: Dataset) -> Dataset:
    """Return a copy of the header with what may be empty; raises CannotExport without what must not be."""
    missing = [name for name in NEEDED if not header.get(name)]
    if missing:
        raise CannotExport(f"The DICOM file lacks {', '.join(missing)}, without which nothing can be filed beside it. "
                           "Use the file as the archive has it.")
    source = Dataset()
    source.update(header)
    source.file_meta = getattr(header, "file_meta", None) or FileMetaDataset()
    source.file_meta.TransferSyntaxUID = source.file_meta.get("TransferSyntaxUID") or ExplicitVRLittleEndian
    for name in MAY_BE_EMPTY:
        if name not in source:
            setattr(source, name, "")
    return source


def _masks(answer: Answer, study: Study) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield who found it, its label and its mask (frames, H, W)."""
    shape = study.pixels.shape[:3]
    volumes = {f.specialist: f for f in answer.findings if isinstance(f, Volumes)}
    for volume in volumes.values():
        yield from ((volume.specialist, label, mask) for label, mask in volume.masks.items()
                    if mask.shape == shape and mask.any())
    for masks in (m for m in answer.masks if m.specialist not in volumes):
        for label, mask in masks.masks.items():
            if mask.shape == shape[1:] and mask.any():
                whole = np.zeros(shape, dtype=bool)
                whole[study.key_frame] = mask
                yield masks.specialist, label, whole


def _segment(number: int, who: str, label: str) -> hd.seg.SegmentDescription:
    category, kind = KNOWN.get(label.casefold(), (codes.SCT.SpatialAndRelationalConcept, _code(label)))
    algorithm = hd.AlgorithmIdentificationSequence(who[:MEANING], codes.cid7162.ArtificialIntelligence, _version())
    return hd.seg.SegmentDescription(number, label[:MEANING], category, kind, "AUTOMATIC", algorithm)


def _groups(entry: Entry, source: Dataset) -> Iterator[Group]:
    answer = entry.answer
    share = [] if answer.confidence is None else [_probability(answer.confidence)]
    advice = [sr.QualitativeEvaluation(_code("advice"), _code("refer to a human reader"))] if answer.refer else []
    said = _code(answer.label or "in words, see the comment")
    yield sr.MeasurementsAndQualitativeEvaluations(  # also of an open question: a report without a group is refused
        _tracked("answer"), finding_type=_code(answer.kind), algorithm_id=_algorithm(entry.model), measurements=share,
        qualitative_evaluations=[sr.QualitativeEvaluation(_code("answer"), said), *advice])
    for opinion in answer.evidence.moed:
        yield sr.MeasurementsAndQualitativeEvaluations(
            _tracked(opinion.specialist), algorithm_id=_algorithm(opinion.specialist),
            qualitative_evaluations=[sr.QualitativeEvaluation(_code("opinion"), _code(opinion.label))],
            measurements=[_probability(opinion.probabilities[opinion.label])])
    for box in answer.boxes:
        yield _region(box, entry, source)
    for number, box in enumerate(entry.regions, start=1):
        yield _region(replace(box, label=f"region {number}, drawn by the reader"), entry, source)


def _region(box: Box, entry: Entry, source: Dataset) -> Group:
    limits = (float(source.Columns), float(source.Rows))
    left, top, right, bottom = (float(np.clip(v, 0, limits[i % 2])) for i, v in enumerate(box.xyxy))
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
    frame = [entry.study.key_frame + 1] if entry.study and entry.study.frames > 1 else None
    image = sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID, frame)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        _tracked(box.label), referenced_region=sr.ImageRegion("POLYLINE", corners, image),
        finding_type=KNOWN.get(box.label.casefold(), (None, _code(box.label)))[1],
        measurements=[] if box.score is None else [_probability(box.score)])


def _probability(share: float) -> sr.Measurement:
    return sr.Measurement(codes.DCM.Probability, round(100 * share, 2), codes.UCUM.Percent)


def _tracked(name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(generate_uid(None), name[:MEANING])


def _algorithm(name: str) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(name[:MEANING], _version())


def _code(words: str) -> Code:
    shown = " ".join(words.split())[:MEANING] or "unknown"
    return Code("_".join(shown.casefold().split()), SCHEME, shown)


def _said(entry: Entry) -> str:
    answer = entry.answer
    reason = f" Refer to a human reader: {answer.refer_reason or UNSURE}." if answer.refer else ""
    return f"Question: {entry.question}\nAnswer: {answer.text}{reason}\nTrace: {answer.trace_id}"


def _lacking(what: str, error: Exception) -> CannotExport:
    return CannotExport(f"The header of this DICOM file does not hold all that a {what} beside it needs "
                        f"({type(error).__name__}). Use the file as the archive has it, or export the PDF.")


def _version() -> str:
    return metadata.version("consilium")


def _file(made: Dataset) -> bytes:
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
