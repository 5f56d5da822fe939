"""One visitor's conversation in the window: what was loaded, asked and answered; it knows no Gradio.

It holds no logic of a consultation: it reads images, consumes the steps of `Conversation.stream`, and keeps
what is shown.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol

from pydicom import Dataset

from assistant.errors import ConsiliumError, ConversationNotFound, place
from assistant.export.headers import read_header
from assistant.settings import LIMITS
from assistant.steps import Answer, Evidence, Step, TextDelta
from assistant.thumbnails import thumbnail
from specialists.core.errors import SpecialistsError
from specialists.core.findings import Box, HeatMap
from specialists.core.study import Study, read_study
from ui import changed, render, viewer
from ui.planes import View

log = logging.getLogger(__name__)

EVERY_S = 0.05
"""Shortest time between two updates of a streamed text: faster ones are put together."""

LISTED = 25
"""Conversations on the first page of the list, and how many more each further page adds."""
BROKEN = "Something went wrong inside; the log of the program says what. The conversation can go on."
GONE = "This conversation was deleted elsewhere. Ask again: a new one begins with the image shown."
_beginning = threading.Lock()


class Changed(Enum):
    """What there is to show anew while a question is answered."""

    WORDS = auto()
    """The conversation's last message alone."""
    PANEL = auto()
    """The conversation and the panel."""
    DONE = auto()
    """All of it: the answer has come to its end."""
    STOPPED = auto()
    """What came meanwhile: another turn has begun, or none."""


class Talk(Protocol):
    """What the window needs of a conversation."""

    @property
    def id(self) -> str:
        """Identifier under which it is stored."""
        ...

    def stream(self, question: str, images: Any = None, **options: Any) -> Iterator[Step]:
        """Answer a question step by step; images None means those of earlier turns."""
        ...


class Consultant(Protocol):
    """What the window needs of an assistant."""

    def chat(self, conversation_id: str | None = None, owner: str = "") -> Talk:
        """Open a stored conversation of an owner, or a new one."""
        ...

    def again(self, trace_id: str, *, without: Sequence[str] = (), regions: Sequence[Box] | None = None
              ) -> Iterator[Step]:
        """Answer a traced question again with something left out or moved."""
        ...

    def heat_map(self, trace_id: str, specialist: str) -> HeatMap:
        """Return where a specialist's opinion in a traced answer hangs."""
        ...


@dataclass(frozen=True)
class Choices:
    """How a question is to be answered."""

    options: tuple[str, ...] | None = None
    collaboration: str = "full"
    style: str = "calibrated"


@dataclass(frozen=True)
class Changes:
    """What is to be different when a question is asked again."""

    without: tuple[str, ...] = ()
    moved: bool = False
    """The regions are those that are drawn now."""

    def words(self) -> str:
        """Say what is different."""
        parts = [f"without {' and '.join(map(render.title, self.without))}"] if self.without else []
        return ", ".join([*parts, *(["with the regions as drawn now"] if self.moved else [])])


@dataclass
class Session:
    """What one visitor sees; it lives in that visitor's state alone."""

    owner: str = ""
    """Whose conversations these are: a secret of the visitor's browser."""
    headers: dict[str, Dataset] = field(default_factory=dict)
    """Headers of the DICOM files that were added, by the hash of their study: shown on demand, needed to export."""
    conversation: str | None = None
    studies: list[Study] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sent: bool = False
    """The conversation has an answer about these studies, so it keeps them itself."""
    shown: int = 0
    """Which study the viewer shows."""
    view: View = field(default_factory=View)
    """Which slice of it, and how."""
    regions: list[Box] = field(default_factory=list)
    """What the visitor drew on the first study, to ask about."""
    history: list[render.Message] = field(default_factory=list)
    steps: list[render.Timed] = field(default_factory=list)
    """Steps of the latest question, with the seconds since it was sent."""
    answer: Answer | None = None
    heats: dict[str, HeatMap] = field(default_factory=dict)
    """Where opinions of `answer` hang, by specialist, as far as it was asked."""
    about: list[Study] = field(default_factory=list)
    """The studies that `answer` is about: the same list as `studies` until new ones are loaded."""
    asked: list[Box] = field(default_factory=list)
    """The regions that `answer` is about."""
    objecting: str = ""
    """Trace of the answer that an objection is being written about."""
    listed: int = LISTED
    """How many conversations the list shows."""
    turn: int = 0
    """Counts questions and stops: an answer that is no longer the present turn writes nothing more."""
    answering: int | None = None
    """The turn that is being answered; an older one ends at its next step."""

    @property
    def busy(self) -> bool:
        """Return whether the present turn is being answered."""
        return self.answering == self.turn

    def become(self, other: Session) -> None:
        """Hold what another session holds; an answer under way writes nothing more."""
        self.turn += 1
        for one in fields(self):
            if one.name not in ("turn", "answering"):
                setattr(self, one.name, getattr(other, one.name))

    @property
    def study(self) -> Study | None:
        """Return the study in the viewer."""
        return self.studies[self.shown] if self.studies else None

    @property
    def overlaid(self) -> Answer | None:
        """Return the answer whose findings belong on the shown study: findings are about the first one."""
        study = self.study
        if self.answer is None or study is None or not self.about or study is not self.about[0]:
            return None
        more = tuple(self.heats.values())
        return replace(self.answer, findings=(*self.answer.findings, *more)) if more else self.answer


def split_options(text: str) -> tuple[str, ...] | None:
    """Return comma-separated options, or None where the field is empty."""
    options = tuple(part.strip() for part in text.split(",") if part.strip())
    return options or None


def take(session: Session, sources: Sequence[str | bytes], names: Sequence[str] = ()) -> bool:
    """Read new images in place of the old ones; a bad one is explained and leaves all as it was.

    Uploaded files are removed as soon as they are read.
    """
    names = list(names) or [Path(source).name if isinstance(source, str) else "image" for source in sources]
    studies, headers = [], {}
    try:
        if len(sources) > LIMITS.images:
            session.history.append(render.note_message(
                f"Got {len(sources)} images; wanted at most {LIMITS.images}. Add fewer at once."))
            return False
        for name, source in zip(names, sources, strict=True):
            try:
                studies.append(read_study(source))
                if (header := read_header(source)) is not None:
                    headers[studies[-1].sha256] = header
            except SpecialistsError as error:
                session.history += [render.image_message(name), render.error_message(error)]
                return False
            except Exception as error:  # noqa: BLE001 - the visitor is told, the program goes on
                log.error("an uploaded image could not be read: %s", place(error))
                session.history += [render.image_message(name), render.note_message(BROKEN)]
                return False
    finally:
        for source in sources:
            if isinstance(source, str):
                with suppress(OSError):
                    os.unlink(source)
    if studies:
        session.headers = dict([*session.headers.items(), *headers.items()][-LIMITS.images:])
        session.studies, session.names, session.shown, session.sent = studies, names, 0, False
        session.answer, session.steps, session.view, session.regions, session.heats = None, [], View(), [], {}
    return bool(studies)


def ask(consultant: Consultant, session: Session, text: str, choices: Choices) -> Iterator[Changed]:
    """Answer a question; yields whenever there is something new to show, and nothing where one is being answered.

    Errors become a message of the conversation. Closing the iterator stops the answer.
    """
    turn = _begun(session)
    if turn is None:
        return
    try:
        images = None if session.sent else session.studies
        session.history.append(render.question_message(text, choices.options, session.names if images else ()))
        start = len(session.history)
        session.history.append(render.consultation_message([], waiting=True))
        yield Changed.PANEL
        told = None
        try:
            yield from _stream(consultant, session, turn, text, images or None, choices)
        except ConversationNotFound:
            session.conversation, session.sent = None, False
            told = render.note_message(GONE)
        except (SpecialistsError, ConsiliumError) as error:
            told = render.error_message(error)
        except Exception as error:  # noqa: BLE001 - the visitor is told, the program goes on
            log.error("a question could not be answered: %s", place(error))
            told = render.note_message(BROKEN)
        if told is not None and session.turn == turn:
            session.history[start:] = [told]
    finally:
        if session.answering == turn:
            session.answering = None
    yield Changed.DONE if session.turn == turn else Changed.STOPPED


def _begun(session: Session) -> int | None:
    """Begin a turn and return it; None while one is being answered."""
    with _beginning:
        if session.busy:
            return None
        session.turn += 1
        session.answering = session.turn
    session.answer, session.steps, session.about = None, [], session.studies
    session.asked, session.heats = list(session.regions), {}
    return session.turn


def again(consultant: Consultant, session: Session, changes: Changes) -> str:
    """Return as HTML what changes when the latest question is asked again, or why it cannot be; nothing is kept."""
    before, after = session.answer, None
    if before is None or not before.trace_id:
        return ""
    regions = session.regions if changes.moved else None
    try:
        for step in consultant.again(before.trace_id, without=changes.without, regions=regions):
            after = step
    except (SpecialistsError, ConsiliumError) as error:
        return str(render.error_message(error)["content"])
    except Exception as error:  # noqa: BLE001 - the visitor is told, the program goes on
        log.error("a question could not be asked again: %s", place(error))
        return str(render.note_message(BROKEN)["content"])
    if session.answer is not before:
        return ""
    assert isinstance(after, Answer)
    return changed.compared(before, after, changes.words())


def where(consultant: Consultant, session: Session, specialist: str) -> str:
    """Lay over the image where a specialist's opinion hangs; returns as HTML what that means, or why it cannot be."""
    answer = session.answer
    if answer is None or not answer.trace_id:
        return ""
    try:
        found = consultant.heat_map(answer.trace_id, specialist)
    except (SpecialistsError, ConsiliumError) as error:
        return str(render.error_message(error)["content"])
    except Exception as error:  # noqa: BLE001 - the visitor is told, the program goes on
        log.error("a heat map could not be made: %s", place(error))
        return str(render.note_message(BROKEN)["content"])
    if session.answer is not answer:
        return ""
    session.heats[specialist] = found
    words = f"{found.words()}. It tells what this model rests on, not where a disease is."
    return str(render.note_message(words)["content"])


def thumbnails(session: Session) -> dict[str, str]:
    """Return small pictures of the similar cases at hand, as data URLs by their ids; none where no data are at hand."""
    gathered = [step for step in render.only_steps(session.steps) if isinstance(step, Evidence)]
    evidence = session.answer.evidence if session.answer else gathered[-1] if gathered else Evidence()
    seen = {case.id: thumbnail(case.id) for case in evidence.rad}
    return {known: viewer.png_url(picture) for known, picture in seen.items() if picture is not None}


def stop(session: Session) -> None:
    """End the present turn, close what it left open and say so; an answer that is there already stays."""
    waiting = any(message.get("metadata", {}).get("status") == "pending" for message in session.history)
    if session.answer is not None or not (session.busy or waiting):
        return
    session.turn += 1
    _settle(session)
    session.history.append(render.note_message("Stopped."))


def _settle(session: Session) -> None:
    for index, message in enumerate(session.history):
        if message.get("metadata", {}).get("status") == "pending":
            session.history[index] = render.consultation_message(session.steps, waiting=False)


def _stream(
    consultant: Consultant, session: Session, turn: int, text: str, images: list[Study] | None, choices: Choices
) -> Iterator[Changed]:
    if session.turn != turn:
        return
    began = time.monotonic()
    place = len(session.history) - 1  # of the message that tells the steps; the answer follows it
    words, last = "", 0.0
    conversation = consultant.chat(session.conversation, owner=session.owner)   # may wait until it is loaded
    if session.turn != turn:
        return
    session.conversation = conversation.id
    steps = conversation.stream(
        text, images, options=choices.options, collaboration=choices.collaboration, style=choices.style,
        regions=session.asked,
    )
    for step in steps:
        if session.turn != turn:
            return
        now = time.monotonic() - began
        if isinstance(step, TextDelta):
            words += step.text
            if now - last < EVERY_S:
                continue
            last = now
            _settle(session)
            session.history[place + 1 :] = [render.answer_message(words)]
            yield Changed.WORDS
            continue
        session.steps.append((now, step))
        if isinstance(step, Answer):
            _settle(session)
            session.answer, session.sent = step, session.studies is session.about
            session.history[place + 1 :] = [render.answer_message(words, step)]
            continue
        session.history[place] = render.consultation_message(session.steps, waiting=True)
        yield Changed.PANEL if isinstance(step, Evidence) else Changed.WORDS
