"""What happens while a question is answered, as plain data: the one stream every face consumes.

Knows neither torch, nor Gradio, nor HTTP; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from specialists.core.findings import Box, Finding, Masks
from specialists.core.study import Study

Collaboration = Literal["auto", "full", "none"]
Style = Literal["published", "calibrated"]


class How(TypedDict, total=False):
    """How a question is to be answered; what is left out is as `Question` has it."""

    options: Sequence[str] | None
    """Answers to choose from; None asks an open question."""
    collaboration: Collaboration
    """"auto": the generalist decides whom to ask; "full": everybody in scope; "none": the image alone."""
    style: Style
    without: Sequence[str]
    """Specialists to leave out ("similar_cases", "similar_texts": retrieval)."""
    patient: str | None
    """Whose cases and texts must not be retrieved; blanks around it do not count."""
    regions: Sequence[Box]
    """Boxes on the first image that the question is about."""
    kind: str | None
    """What kind of image the first one is, in the words of whoever asks; None lets triage tell."""


@dataclass(frozen=True)
class Question:
    """One question about one or several images."""

    text: str
    studies: tuple[Study, ...]
    options: tuple[str, ...] | None = None
    """Answers to choose from; None asks an open question."""
    collaboration: Collaboration = "auto"
    style: Style = "calibrated"
    without: frozenset[str] = frozenset()
    """Specialists that must not be consulted; "similar_cases" and "similar_texts" leave retrieval out."""
    patient: str | None = None
    """Patient or group of the image, if known: its own cases and texts are never retrieved."""
    regions: tuple[Box, ...] = ()
    """Boxes on the first image that the question is about: "region 1" in its text is the first of them."""
    kind: str | None = None
    """What kind of image the first one is, as whoever asks states; None lets triage tell."""


@dataclass(frozen=True)
class Triaged:
    """Which kind of image the first study is; `kind` is "unknown" when it is like none that was taught."""

    kind: str
    probability: float
    domain: str | None
    """Domain whose specialists are consulted, None when there is none."""
    in_scope: tuple[str, ...]
    """Names of the specialists that may be asked about this kind of image."""
    source: Literal["triage", "question", "adapter"] = "triage"
    """Who told the kind: triage by the image; whoever asks; or the generalist's adapter, which was taught it."""
    looks_like: str = ""
    """What triage says of the image, where another told the kind: "blood smear (98 %)"; empty where it knows none."""


@dataclass(frozen=True)
class ToolCall:
    """The generalist asks a tool."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What a tool answered: a finding, a refusal, or the error of a wrong call, always with its words."""

    call_id: str
    name: str
    text: str
    finding: Finding | None = None
    error: str | None = None
    seconds: float = 0.0
    cases: tuple[Case, ...] = ()
    """What similar_cases found."""


@dataclass(frozen=True)
class Opinion:
    """A specialist's calibrated probabilities, with its record on validation data."""

    specialist: str
    label: str
    probabilities: Mapping[str, float]
    validated: Mapping[str, float]
    """Validated F1 of each label (0..1) and of the mean under the key "macro"."""

    def json(self) -> dict[str, Any]:
        """Return the object that stands under `evidence.moed`."""
        return {"specialist": self.specialist, "label": self.label,
                "probabilities": dict(self.probabilities), "validated": dict(self.validated)}


@dataclass(frozen=True)
class Case:
    """A similar labelled case; similarity is the cosine of features, -1..1."""

    id: str
    label: str
    similarity: float
    source: str
    license: str = ""

    def json(self) -> dict[str, Any]:
        """Return the object that stands under `evidence.rad`."""
        return {"id": self.id, "label": self.label, "similarity": self.similarity, "source": self.source,
                "license": self.license}


@dataclass(frozen=True)
class SimilarText:
    """A report, or an answered question, of another case; similarity is the cosine of sentence vectors, -1..1."""

    id: str
    question: str
    """What was asked; "" for a report."""
    text: str
    """The answer, or the report."""
    similarity: float
    source: str
    license: str = ""

    @property
    def words(self) -> str:
        """Question and answer, or the report, on one line."""
        return " ".join(f"{self.question} {self.text}".split())

    def json(self) -> dict[str, Any]:
        """Return the object that stands under `evidence.texts`."""
        return {"id": self.id, "question": self.question, "text": self.text, "similarity": self.similarity,
                "source": self.source, "license": self.license}


@dataclass(frozen=True)
class Pool:
    """The arbiter's log-linear pool over the options (probabilities sum to 1)."""

    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class LabelSet:
    """Labels that cannot be ruled out, the most probable first (assistant/collaboration/fitted.py)."""

    labels: tuple[str, ...]
    level: float
    """In which share of new patients the truth is among them, 0..1."""

    def json(self) -> dict[str, Any]:
        """Return the object that stands under `label_set` of an answer."""
        return {"labels": list(self.labels), "level": self.level}


@dataclass(frozen=True)
class Declined:
    """A specialist that refused, and why."""

    specialist: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """All that an answer rests on besides the image."""

    moed: tuple[Opinion, ...] = ()
    rad: tuple[Case, ...] = ()
    arbiter: Pool | None = None
    refusals: tuple[Declined, ...] = ()
    conflict: bool = False
    """The generalist and the pool of the evidence disagree."""
    no_similar_case: bool = False
    """Retrieval was asked and found nothing similar enough."""
    texts: tuple[SimilarText, ...] = ()
    """Reports or answered questions of other cases, for open questions."""
    no_similar_text: bool = False
    """Texts were searched and none is similar enough."""

    def json(self) -> dict[str, Any]:
        """Return the object that stands under `evidence` of an answer."""
        pool = self.arbiter and {"label": self.arbiter.label, "probabilities": dict(self.arbiter.probabilities)}
        return {"moed": [o.json() for o in self.moed], "rad": [c.json() for c in self.rad], "arbiter": pool,
                "refusals": [{"specialist": r.specialist, "reason": r.reason} for r in self.refusals],
                "conflict": self.conflict, "no_similar_case": self.no_similar_case,
                "texts": [t.json() for t in self.texts], "no_similar_text": self.no_similar_text}


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer's text, in order; the pieces together are `Answer.text`."""

    text: str


@dataclass(frozen=True)
class Answer:
    """The last step: the answer and all that it rests on."""

    text: str
    label: str | None
    confidence: float | None
    refer: bool
    refer_reason: str | None = None
    kind: str = "unknown"
    options: Mapping[str, float] = field(default_factory=dict)
    """The generalist's own probabilities over the options (empty for open questions)."""
    label_set: LabelSet | None = None
    """None unless the consilium was fitted for these options (`consilium calibrate`)."""
    findings: tuple[Finding, ...] = ()
    boxes: tuple[Box, ...] = ()
    masks: tuple[Masks, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    trace_id: str = ""
    seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        """Return the machine-readable answer: boxes in pixels of the image, masks as COCO run lengths."""
        return {
            "text": self.text, "label": self.label, "confidence": self.confidence, "refer": self.refer,
            "refer_reason": self.refer_reason, "kind": self.kind, "options": dict(self.options),
            "label_set": self.label_set and self.label_set.json(),
            "findings": [f.json() for f in self.findings],
            "boxes": [{"label": b.label, "xyxy": [float(v) for v in b.xyxy]} for b in self.boxes],
            "masks": [m for masks in self.masks for m in masks.json()["masks"]],
            "evidence": self.evidence.json(), "trace_id": self.trace_id, "seconds": self.seconds,
        }


Step = Question | Triaged | ToolCall | Observation | Evidence | TextDelta | Answer
