"""What an agent of somebody else is offered: specialists, triage, retrieval and the whole consultation as tools.

Each tool takes the image among its arguments and answers in words, as JSON and as pictures. It speaks no protocol:
`tools.py` makes LangChain's tools of it, `server/mcp.py` those of MCP.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assistant import template
from assistant.collaboration import moed, rad
from assistant.collaboration.rad import SIMILAR_CASES
from assistant.errors import BadQuestion
from assistant.scoping import scoping
from assistant.settings import LIMITS
from assistant.steps import Answer, Collaboration, Question
from specialists.core import registry
from specialists.core.card import Card
from specialists.core.findings import Boxes, Classification, Enhanced, Finding, HeatMap, Instances, Masks, Volumes
from specialists.core.scope import in_scope
from specialists.core.study import Study, read_study

CONSULT, TRIAGE = "consult", "triage"
NOTICE = "Research use only; not a medical device."
PICTURES = 4
"""Overlays that one answer holds at most."""
RUN_LENGTHS = ("rle", "instances", "png")
"""Keys of a finding's JSON that hold masks or pictures: long, and of no use to a language model."""

LONGEST_PATH = 4096
"""Characters of a path; what is longer is base64."""

Read = Callable[[str], Study]
"""Makes a study of what an argument names as an image; raises BadStudy or BadQuestion."""


class Asking(Protocol):
    """What the toolbox needs of an assistant."""

    def ask(self, images: Any, question: str, *, options: Sequence[str] | None = ...,
            collaboration: Collaboration = ..., without: Sequence[str] = ..., kind: str | None = ...) -> Answer:
        """Return the answer to one question."""
        ...


@dataclass(frozen=True)
class Told:
    """What a tool answers."""

    text: str
    json: Mapping[str, Any]
    pictures: tuple[Image.Image, ...] = ()
    """The image with what was found drawn over it."""


@dataclass(frozen=True)
class Tool:
    """A tool by name; `run` raises BadQuestion, BadStudy or GeneralistError, whose messages say what to do."""

    name: str
    description: str
    takes: type[BaseModel]
    answer: Callable[[Any], Told]

    @property
    def schema(self) -> dict[str, Any]:
        """The arguments as a JSON schema."""
        return self.takes.model_json_schema()

    def run(self, arguments: Mapping[str, Any]) -> Told:
        """Answer a call; raises BadQuestion for arguments that do not fit, naming each."""
        try:
            return self.answer(self.takes.model_validate(dict(arguments)))
        except ValidationError as fault:
            raise BadQuestion(f"{self.name}: {_wrong(fault)}") from None


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Named = Annotated[str, Field(description="The image: a data URL, base64, or a path where the server takes paths.")]
WithMasks = Annotated[bool, Field(description="Also return masks as COCO run lengths.")]


class OfImage(_Arguments):
    """The image."""

    image: Named
    masks: WithMasks = False


class OfSimilar(_Arguments):
    """The image, and how many cases."""

    image: Named
    k: int = Field(LIMITS.neighbors, ge=1, le=LIMITS.most_neighbors, description="How many cases at most.")


class OfQuestion(_Arguments):
    """A question about images."""

    images: list[str] = Field(min_length=1, max_length=LIMITS.images,
                              description="The images, each as a data URL, base64, or a path.")
    question: str = Field(description="The question, in plain words.")
    options: list[str] = Field([], max_length=LIMITS.options,
                               description="Answers to choose from; none asks an open question.")
    collaboration: Collaboration = Field("full", description="full: all specialists in scope are asked; "
                                         "auto: the generalist chooses; none: the generalist alone.")
    without: list[str] = Field([], description="Specialists to leave out; similar_cases leaves retrieval out.")
    kind: str | None = Field(None, description="Kind of image (brain MRI), where it is known; else triage tells.")
    masks: WithMasks = False


def toolbox(assistant: Asking | None, read: Read) -> list[Tool]:
    """Return all tools: the consultation (where there is an assistant), triage, retrieval, a tool a specialist."""
    cards = [card for card in registry.cards().values() if card.task != TRIAGE]
    whole = [] if assistant is None else [_consult(assistant, read)]
    return [*whole, _triage(read), _similar(read), *(_specialist(card, read) for card in cards)]


def from_text(source: str) -> Study:
    """Read an image from a data URL or base64: never a file, never an address."""
    head, comma, data = source.partition(",")
    encoded = data if comma and head.startswith("data:") and head.endswith(";base64") else source
    try:
        decoded = base64.b64decode(encoded.encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raise BadQuestion("The image is no data URL (data:image/png;base64,...) and no base64; wanted one of them: "
                          "neither files nor addresses are opened here.") from None
    return read_study(decoded)


def from_text_or_path(source: str) -> Study:
    """Read an image from a data URL, base64, or a file of this machine."""
    if source.startswith("data:") or len(source) > LONGEST_PATH:
        return from_text(source)
    return read_study(source.removeprefix("file://"))


def _consult(assistant: Asking, read: Read) -> Tool:
    def run(asked: OfQuestion) -> Told:
        studies = [read(image) for image in asked.images]
        answer = assistant.ask(studies, asked.question, options=asked.options or None,
                               collaboration=asked.collaboration, without=asked.without, kind=asked.kind)
        return Told(answer.text, _shortened(answer.json(), asked.masks), _drawn(answer.findings, studies[0]))

    return Tool(CONSULT, "Ask about one or several medical images: a generalist consults specialists and similar "
                f"cases and answers with all it rests on. {NOTICE}", OfQuestion, run)


def _triage(read: Read) -> Tool:
    def run(asked: OfImage) -> Told:
        triaged = scoping(Question("", (read(asked.image),))).triaged
        named = ", ".join(triaged.in_scope) or "none"
        return Told(f"{triaged.kind} ({triaged.probability:.2f}); specialists for it: {named}",
                    {"kind": triaged.kind, "probability": triaged.probability, "domain": triaged.domain,
                     "in_scope": list(triaged.in_scope)})

    return Tool(TRIAGE, "Which kind of medical image it is, and which specialists are made for it.", OfImage, run)


def _similar(read: Read) -> Tool:
    def run(asked: OfSimilar) -> Told:
        study = read(asked.image)
        domain = scoping(Question("", (study,))).triaged.domain
        if domain is None:
            return Told("refused: there are no cases for this kind of image", {"cases": []})
        found = rad.similar(domain, study, asked.k)
        said = "; ".join(f"refused: {r.reason}" for r in found.refusals)
        return Told(said or template.cases(found.cases, found.none_similar),
                    {"domain": domain, "cases": [case.json() for case in found.cases]})

    return Tool(SIMILAR_CASES, "Labelled cases that look like this image, with their similarity.", OfSimilar, run)


def _specialist(card: Card, read: Read) -> Tool:
    def run(asked: OfImage) -> Told:
        study = read(asked.image)
        finding = _gated(card, study)
        words = template.observation(finding, card.validated)
        return Told(words, _shortened(finding.json(), asked.masks), _drawn([finding], study))

    return Tool(card.name, card.description(), OfImage, run)


def _gated(card: Card, study: Study) -> Finding:
    """Return the specialist's finding, or why it is not asked: triage says that it is not made for such an image."""
    kinds = registry.triage().predict(study)
    if isinstance(kinds, Classification) and (refusal := in_scope(card, kinds)) is not None:
        return refusal
    return moed.ask(card.name, study)[0]


def _drawn(findings: Iterable[Finding], study: Study) -> tuple[Image.Image, ...]:
    """Return the image with each finding that has a place in it, a volume's on the frame that shows most of it."""
    drawn = []
    for finding in findings:
        if isinstance(finding, Masks | Instances | Volumes | Boxes | HeatMap | Enhanced):
            frame = finding.frame if isinstance(finding, Volumes) else None
            drawn.append(template.shown(finding.overlay(study.image(frame))))
    return tuple(drawn[:PICTURES])


def png(picture: Image.Image) -> str:
    """Return a picture as PNG in base64."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _shortened(told: Any, masks: bool) -> Any:
    """Return the JSON without the run lengths of masks, unless they are asked for."""
    if masks:
        return told
    if isinstance(told, Mapping):
        return {key: _shortened(value, masks) for key, value in told.items() if key not in RUN_LENGTHS}
    return [_shortened(value, masks) for value in told] if isinstance(told, list | tuple) else told


def _wrong(fault: ValidationError) -> str:
    """Name each argument that does not fit; what was given is not repeated, it may be an image."""
    return "; ".join(f"{'.'.join(map(str, row['loc'])) or 'arguments'}: {row['msg']}"
                     for row in fault.errors(include_url=False, include_input=False, include_context=False))
