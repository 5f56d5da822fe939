"""What can go wrong in a consultation, as one tree; it formats nothing for a face and knows no HTTP status.

ConsiliumError
├── BadQuestion (ValueError)        the user's: no image, empty text, unusable options, unknown names
├── CannotExport (ValueError)       the user's: there is nothing of this kind to export, or its source is not at hand
├── BadFitted (ValueError)          the user's: a file of the fitted consilium that cannot be used
├── NotFound (LookupError)          the user's: an identifier that is not stored
│   ├── TraceNotFound
│   └── ConversationNotFound
├── RecordsError                    the store of conversations and traces
│   ├── TamperedRecords             the chain of traces does not hold
│   └── ReplayDiffers               a replay gave another answer
└── GeneralistError                 the language model or its server
    ├── ServerUnreachable
    ├── BadReply
    ├── ToolsUnsupported
    └── AdapterRefused              an adapter that is broken, of another checkpoint, or not to be served

Bad images raise `specialists.core.errors.BadStudy`, which passes through unchanged.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from specialists.core.errors import SpecialistsError

PLACES = 6
"""Calls that `place` names."""


class ConsiliumError(Exception):
    """Anything this package raises on purpose."""


class BadQuestion(ConsiliumError, ValueError):
    """The question cannot be asked as it stands; the message says what was got and what is wanted."""


class CannotExport(ConsiliumError, ValueError):
    """There is nothing to export in this form, or it needs a file that was not given."""


class BadFitted(ConsiliumError, ValueError):
    """A file of what was fitted is missing, damaged, or of another version."""


class NotFound(ConsiliumError, LookupError):
    """Nothing is stored under this identifier."""


class TraceNotFound(NotFound):
    """No trace has this identifier."""


class ConversationNotFound(NotFound):
    """No conversation has this identifier."""


class RecordsError(ConsiliumError):
    """The store of conversations and traces cannot be used."""


class TamperedRecords(RecordsError):
    """A trace does not agree with the chain of hashes."""


class ReplayDiffers(RecordsError):
    """A replayed trace gave another answer; the message names the first difference."""


class GeneralistError(ConsiliumError):
    """The generalist did not do its part."""


class ServerUnreachable(GeneralistError):
    """The generalist's server does not answer."""


class BadReply(GeneralistError):
    """The generalist's reply cannot be read."""


class ToolsUnsupported(GeneralistError):
    """The generalist, or its server, takes no tools."""


class AdapterRefused(GeneralistError):
    """An adapter is not there, does not fit the generalist, or cannot be served with it."""


def failed(error: Exception) -> str:
    """Return how a specialist or an index failed, as evidence tells it: the message only where it is worded here.

    Evidence is traced, and read by a generalist that may be on another machine.
    """
    said = f": {error}" if isinstance(error, ConsiliumError | SpecialistsError) else ""
    return f"failed with {type(error).__name__}{said}"


def place(error: BaseException) -> str:
    """Return the type of an unexpected error and where it came from, innermost last, without its message.

    For logs: a library's message may hold a value of a patient's header.
    """
    frames = traceback.extract_tb(error.__traceback__)[-PLACES:]
    steps = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} at {' > '.join(steps) or 'an unknown place'}"
