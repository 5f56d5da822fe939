"""A dossier as headings, paragraphs, tables and pictures, in one order for every kind of document; it writes none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from assistant.export.dossier import Dossier, Entry, region_words
from assistant.steps import Evidence
from specialists.core.findings import Classification, Refusal, percent

NOTICE = "Research use only, not a medical device. Written by a program; no human reader has confirmed it."
UNSURE = "the answer is not sure enough"
SHOWN_LABELS = 4
"""Of an opinion's probabilities the largest are told."""


@dataclass(frozen=True)
class Heading:
    """A heading; 1 is the document's."""

    text: str
    level: int


@dataclass(frozen=True)
class Paragraph:
    """Words of a kind that a document sets apart."""

    text: str
    kind: Literal["text", "question", "verdict", "warning", "small"] = "text"


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """An image with what was found drawn on it."""

    image: Image.Image
    caption: str


Block = Heading | Paragraph | Table | Picture


def blocks(dossier: Dossier) -> Iterator[Block]:
    """Yield the document from top to bottom."""
    yield Heading(dossier.title or "Consilium report", 1)
    yield Paragraph(NOTICE, "small")
    for number, entry in enumerate(dossier.entries, start=1):
        yield from _entry(number, entry)


def _entry(number: int, entry: Entry) -> Iterator[Block]:
    answer = entry.answer
    yield Heading(f"Question {number}", 2)
    yield Paragraph(entry.question, "question")
    if entry.options:
        yield Paragraph(f"Answers to choose from: {', '.join(entry.options)}", "small")
    for number, box in enumerate(entry.regions, start=1):
        words = region_words(number, box, entry.study)
        yield Paragraph(f"{words} (pixels from the left and the top), drawn by the reader", "small")
    picture = entry.picture()
    if picture is not None:
        yield Picture(picture, _about(entry))
    yield Paragraph(answer.text)
    if answer.label is not None:
        sure = "" if answer.confidence is None else f", confidence {percent(answer.confidence)}"
        yield Paragraph(f"{answer.label}{sure}", "verdict")
    if answer.refer:
        yield Paragraph(f"Refer to a human reader: {answer.refer_reason or UNSURE}", "warning")
    yield from _findings(entry)
    yield from _evidence(answer.evidence, dict(answer.options))
    for said in entry.said:
        given = {"label": said.label, "reason": said.reason}
        more = "".join(f"; {name}: {words}" for name, words in given.items() if words)
        yield Paragraph(f"A reader {said.verdict}s{more}", "verdict")
    yield Paragraph(_origin(entry), "small")


def _findings(entry: Entry) -> Iterator[Block]:
    shown = [f for f in entry.answer.findings if not isinstance(f, Classification | Refusal)]
    if shown:
        yield Heading("Findings", 3)
        for finding in shown:
            yield Paragraph(finding.words())


def _evidence(evidence: Evidence, options: dict[str, float]) -> Iterator[Block]:
    rows = [(o.specialist, o.label, _ranked(dict(o.probabilities)), _validated(dict(o.validated)))
            for o in evidence.moed]
    if options:
        rows.append(("generalist", max(options, key=options.__getitem__), _ranked(options), ""))
    if evidence.arbiter:
        rows.append(("arbiter", evidence.arbiter.label, _ranked(dict(evidence.arbiter.probabilities)), ""))
    if rows:
        yield Heading("Opinions", 3)
        yield Table(("Who", "Label", "Probabilities", "Validated F1"), tuple(rows))
    if evidence.conflict:
        yield Paragraph("The generalist and the pool of the evidence disagree.", "warning")
    if evidence.rad:
        yield Heading("Similar cases", 3)
        yield Table(("Label", "Similarity", "Source", "License"), tuple(
            (case.label, f"{case.similarity:.2f}", case.source, case.license or "not stated") for case in evidence.rad))
    if evidence.refusals:
        yield Heading("Refused", 3)
        yield Table(("Who", "Why"), tuple((one.specialist, one.reason) for one in evidence.refusals))


def _ranked(probabilities: dict[str, float]) -> str:
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    rest = f", {len(ranked) - SHOWN_LABELS} more" if len(ranked) > SHOWN_LABELS else ""
    return ", ".join(f"{label} {percent(value)}" for label, value in ranked[:SHOWN_LABELS]) + rest


def _validated(figures: dict[str, float]) -> str:
    return f"{figures['macro']:.2f}" if "macro" in figures else "not validated"


def _about(entry: Entry) -> str:
    study = entry.study
    if study is None:
        return ""
    width, height = study.size
    frame = f", frame {study.key_frame + 1} of {study.frames}" if study.frames > 1 else ""
    return f"{entry.answer.kind}; {study.format}, {width} x {height} pixels{frame}"


def _origin(entry: Entry) -> str:
    images = ", ".join(f"image {str(image.get('sha256', ''))[:12]}" for image in entry.images)
    parts = [entry.time[:19].replace("T", " ") + " UTC" if entry.time else "", f"model {entry.model}", images,
             f"trace {entry.answer.trace_id}"]
    return "; ".join(part for part in parts if part)
