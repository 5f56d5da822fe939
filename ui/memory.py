"""A visitor's sessions out of the store: who the visitor is, which conversations there are, and one made whole again.

It knows no Gradio and decides nothing; `assistant.records` keeps what it reads.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from assistant.errors import ConsiliumError
from assistant.export.dossier import asked_about
from assistant.records import Feedback, Listed, Records, Turn
from assistant.remembered import answer_of, observations
from assistant.steps import Answer, Observation
from specialists.core.study import Study
from ui import render
from ui.session import Session

log = logging.getLogger(__name__)

UNTITLED = "New conversation"


def fresh_secret() -> str:
    """Return what a browser keeps to be known again."""
    return secrets.token_urlsafe(32)


def owner_of(secret: str) -> str:
    """Return whose conversations those of a browser are: the store knows no secret."""
    return hashlib.sha256(f"consilium|{secret}".encode()).hexdigest()


def label(listed: Listed) -> str:
    """Return a conversation's line in the list: its title and its day."""
    title = listed.title if len(listed.title) <= 60 else f"{listed.title[:59]}…"
    return f"{title or UNTITLED} · {listed.changed[:10]}"


def recall(records: Records, owner: str, conversation: str) -> Session:
    """Return the session of a stored conversation as it was after its last answer.

    Raises ConversationNotFound, also where it is another's. What can no longer be shown is left out.
    """
    records.check_owner(conversation, owner)
    session = Session(owner=owner, conversation=conversation)
    for number, turn in enumerate(turns := records.turns(conversation)):
        new = turn.images != (turns[number - 1].images if number else ())
        _retell(records, session, turn, new)
    if turns:
        session.studies = _studies(records, turns[-1])
        session.names = [_name(study, number) for number, study in enumerate(session.studies, start=1)]
        session.about, session.sent = session.studies, bool(session.studies)
    return session


def said_before(records: Records, session: Session) -> Feedback | None:
    """Return what the visitor said of the present answer, None where nothing."""
    if session.answer is None or not session.answer.trace_id:
        return None
    said = records.said(session.answer.trace_id, session.owner)
    return said[-1] if said else None


def _retell(records: Records, session: Session, turn: Turn, new_images: bool) -> None:
    """Add a turn's messages; the latest turn's answer and steps are the session's."""
    try:
        trace = records.trace(turn.trace_id)
        studies = _studies(records, turn)[:1]
        answer = answer_of(trace, studies[0] if studies else None)
    except ConsiliumError:
        log.warning("a stored answer can no longer be shown whole")
        answered = {"role": "assistant", "content": render.prose(turn.answer)}
        session.history += [render.question_message(turn.question), answered]
        session.steps, session.answer, session.asked, session.regions = [], None, [], []
        return
    images = _images(trace) if new_images else []
    session.steps, session.answer = _timed(trace, answer), answer
    session.asked = list(asked_about(trace))
    session.regions = list(session.asked)
    session.history += [
        render.question_message(turn.question, trace["question"].get("options"), images),
        render.consultation_message(session.steps, waiting=False),
        render.answer_message(turn.answer, answer),
    ]


def _timed(trace: Mapping[str, Any], answer: Answer) -> list[render.Timed]:
    """Return what tools said and the answer; the trace knows how long each took, not when it came."""
    steps, passed = [], 0.0
    for step in observations(trace):
        passed += step.seconds if isinstance(step, Observation) else 0.0
        steps.append((passed, step))
    return [*steps, (answer.seconds, answer)]


def _images(trace: Mapping[str, Any]) -> list[str]:
    return [str(image.get("format", "image")).upper() for image in trace.get("images") or ()]


def _studies(records: Records, turn: Turn) -> list[Study]:
    try:
        return [records.study(key) for key in turn.images]
    except ConsiliumError:
        return []


def _name(study: Study, number: int) -> str:
    return f"{render.FORMATS.get(study.format, study.format.upper())} {number}"
