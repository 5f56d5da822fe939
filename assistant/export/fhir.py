"""Answers as FHIR R4: a Bundle with a DiagnosticReport, an Observation an answer and an opinion, and Devices.

It names no patient: whoever files it adds the subject. The status is "preliminary", for no human has confirmed it.
Labels are told as texts, since they are the data's own names and no codes of a terminology.
"""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from assistant.export.blocks import NOTICE, UNSURE
from assistant.export.dossier import Dossier, Entry, fitted
from assistant.export.markdown import markdown
from specialists.core.findings import Box, Classification, Refusal

Resource = dict[str, Any]
LOINC = "http://loinc.org"
REPORT = {"coding": [{"system": LOINC, "code": "18748-4", "display": "Diagnostic imaging study"}]}
IMAGING = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "IMG"}]}
IMAGING_FINDING = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
                               "code": "imaging"}]}
ROOT = uuid.UUID("6f6e7d0c-5f5e-5c0a-8a55-0d1c7c2b9a44")
"""Names of this program's resources are made from it, so that the same answer has the same names."""
PICTURE_PIXELS = 512


def bundle(dossier: Dossier) -> Resource:
    """Return the dossier as a FHIR R4 Bundle of type "collection", its DiagnosticReport first."""
    made = [_of_entry(entry) for entry in dossier.entries]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    report: Resource = {
        "resourceType": "DiagnosticReport", "status": "preliminary", "category": [IMAGING], "code": REPORT,
        "issued": now, "conclusion": _conclusion(dossier),
        "result": [_reference(one) for resources in made for one in resources
                   if one["resourceType"] == "Observation"],
        "media": [{"link": _reference(one)} for resources in made for one in resources
                  if one["resourceType"] == "Media"],
        "presentedForm": [{"contentType": "text/markdown", "title": dossier.title,
                           "data": base64.b64encode(markdown(dossier).encode()).decode()}]}
    named = _named(report, dossier.id, "report")
    resources = {one["id"]: one for one in [named, *(one for several in made for one in several)]}
    return {"resourceType": "Bundle", "type": "collection", "timestamp": now,
            "entry": [{"fullUrl": f"urn:uuid:{key}", "resource": _filled(one)} for key, one in resources.items()]}


def _of_entry(entry: Entry) -> list[Resource]:
    model = _device(entry.model, "vision-language model")
    observations, devices = [], [model]
    for number, finding in enumerate(f for f in entry.answer.findings if not isinstance(f, Refusal)):
        device = _device(finding.specialist, "specialist")
        devices.append(device)
        observations.append(_named({
            **_observation(entry, device), "code": {"text": f"Finding of {finding.specialist}"},
            "valueString": finding.words(),
            "component": list(_probabilities(finding.probabilities)) if isinstance(finding, Classification) else [],
        }, entry.answer.trace_id, f"finding {number}"))
    return [_answer(entry, model, observations), *observations, *devices, *_media(entry)]


def _answer(entry: Entry, device: Resource, members: list[Resource]) -> Resource:
    answer = entry.answer
    value = {"valueCodeableConcept": {"text": answer.label}} if answer.label else {"valueString": answer.text}
    notes = [answer.text] if answer.label else []
    if answer.refer:
        notes.append(f"Refer to a human reader: {answer.refer_reason or UNSURE}")
    for said in entry.said:
        notes.append("; ".join(filter(None, (f"A reader {said.verdict}s", said.label, said.reason))))
    sure = [] if answer.confidence is None else [_component("confidence", answer.confidence)]
    return _named({
        **_observation(entry, device), "code": {"text": entry.question}, **value,
        "note": [{"text": note} for note in notes], "hasMember": [_reference(one) for one in members],
        "component": [*sure, *_probabilities(answer.options), *map(_place, answer.boxes),
                      *(_place(replace(box, label=f"region {number}, drawn by the reader"))
                        for number, box in enumerate(entry.regions, 1))],
    }, answer.trace_id, "answer")


def _observation(entry: Entry, device: Resource) -> Resource:
    return {"resourceType": "Observation", "status": "preliminary", "category": [IMAGING_FINDING],
            "effectiveDateTime": entry.time, "device": _reference(device), "derivedFrom": _derived(entry)}


def _derived(entry: Entry) -> list[Resource]:
    """Return what the image is known by: the hash of its decoded pixels."""
    return [{"type": "Media", "identifier": {"system": "urn:consilium:sha256", "value": image["sha256"]}}
            for image in entry.images if image.get("sha256")]


def _device(name: str, kind: str) -> Resource:
    return _named({"resourceType": "Device", "deviceName": [{"name": name, "type": "model-name"}],
                   "type": {"text": kind}}, name, "device")


def _media(entry: Entry) -> Iterator[Resource]:
    picture = entry.picture()
    if picture is not None:
        stream = io.BytesIO()
        fitted(picture, PICTURE_PIXELS).save(stream, "JPEG", quality=85)
        yield _named({"resourceType": "Media", "status": "completed", "content": {
            "contentType": "image/jpeg", "data": base64.b64encode(stream.getvalue()).decode()}},
            entry.answer.trace_id, "picture")


def _probabilities(probabilities: Mapping[str, float]) -> Iterator[Resource]:
    return (_component(f"probability of {label}", value) for label, value in probabilities.items())


def _component(text: str, share: float) -> Resource:
    percent = {"value": round(100 * share, 2), "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
    return {"code": {"text": text}, "valueQuantity": percent}


def _place(box: Box) -> Resource:
    corners = ", ".join(f"{v:.1f}" for v in box.xyxy)
    return {"code": {"text": f"place of {box.label}: left, top, right, bottom in pixels"}, "valueString": corners}


def _conclusion(dossier: Dossier) -> str:
    return "\n\n".join([NOTICE, *(entry.answer.text for entry in dossier.entries)])


def _named(resource: Resource, *parts: str) -> Resource:
    return {**resource, "id": str(uuid.uuid5(ROOT, "|".join(parts)))}


def _reference(resource: Resource) -> Resource:
    return {"reference": f"urn:uuid:{resource['id']}"}


def _filled(resource: Resource) -> Resource:
    """Return the resource without what is empty, which FHIR does not allow."""
    return {key: value for key, value in resource.items() if value not in ("", [], None)}
