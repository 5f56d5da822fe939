"""What the window says of kept things, as HTML: feedback, searches, problems, a file's header; it keeps nothing."""

from __future__ import annotations

from pydicom import Dataset

from assistant.export.headers import rows
from assistant.records import Feedback
from ui.render import escaped

HEADER_NOTE = (
    "It may name the patient. It is read from the file that you added, kept in memory until this tab is closed, "
    "and neither stored nor shown to any model.")


def said(feedback: Feedback | None, *, earlier: bool = False) -> str:
    """Return what the reader said of the answer, or of an earlier one; nothing where nothing was said."""
    if feedback is None:
        return ""
    if feedback.verdict == "agree":
        return note("Noted: you agree.")
    of = " with the earlier answer" if earlier else ""
    parts = (("label", feedback.label), ("reason", feedback.reason.rstrip(".")))
    more = "".join(f"; {name}: {words}" for name, words in parts if words)
    return note(f"Noted: you disagree{of}{more}.")


def found(words: str, count: int) -> str:
    """Return how many conversations a search found; without a search only where there is none at all."""
    if not words.strip():
        return "" if count else note("What you ask is kept here, for this browser alone.")
    return note("No conversation holds all these words." if not count else f"{count} found.")


def note(words: str) -> str:
    """Return a short remark."""
    return f'<p class="cs-note" role="status">{escaped(words)}</p>'


def problem(error: BaseException) -> str:
    """Return an error that the visitor can mend."""
    return f'<p class="cs-error" role="alert">{escaped(error)}</p>'


def header(dataset: Dataset | None) -> str:
    """Return a header's values as a table."""
    if dataset is None:
        return note("No header is at hand: the image shown is no DICOM file, or was added in an earlier visit. "
                    "Add the file again.")
    lines = "".join(f"<tr><td><code>{escaped(tag)}</code></td><td>{escaped(name)}</td><td>{escaped(value)}</td></tr>"
                    for tag, name, value in rows(dataset))
    head = "<thead><tr><th>Tag</th><th>Name</th><th>Value</th></tr></thead>"
    return f'<div class="cs-scroll cs-kept"><table>{head}<tbody>{lines}</tbody></table></div>'
