"""Steps of an answer as chat messages; it knows no Gradio and keeps no state (the panel is in `panel.py`).

Every text that a person, a file, a specialist or the generalist wrote is escaped here: nothing of it becomes
markup, a link or a request to another machine.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from assistant.export.dossier import region_words
from assistant.steps import (
    Answer,
    Evidence,
    Observation,
    Step,
    ToolCall,
    Triaged,
)
from specialists.core.findings import Box
from specialists.core.study import Study
from ui import planes
from ui.planes import View

Timed = tuple[float, Step]
"""Seconds since the question was sent, and the step that arrived then."""
Message = dict[str, Any]
"""A chat message: role, content, and for the consultation's own steps metadata."""

FORMATS = {"nifti": "NIfTI", "webp": "WebP", "array": "Array"}
"""Formats that are not written in capitals."""
_INLINE = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]~$|"}
_LINKS = {ord(sign): f"&#{ord(sign)};" for sign in "[]!\\"}
_BLOCK = re.compile(r"^(\s*)(?:([#+=-])|(\d+)([.)])(?=\s|$))", re.MULTILINE)
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto):|\bwww\.|@")
_HIGH, _MODERATE, _LOW = 0.9, 0.7, 0.5


def plain(text: str) -> str:
    """Return text that Markdown and HTML show letter by letter."""
    inert = html.escape(text, quote=False).translate(_INLINE)
    return _unlinked(_BLOCK.sub(_dulled, inert))


def prose(text: str) -> str:
    """Return the generalist's text with its emphasis and lists alive, but without HTML, links or images."""
    return _unlinked(html.escape(text, quote=False).translate(_LINKS))


def _dulled(found: re.Match[str]) -> str:
    space, sign, number, mark = found.groups()
    return f"{space}&#{ord(sign)};" if sign else f"{space}{number}&#{ord(mark)};"


def _unlinked(text: str) -> str:
    """Return text in which no bare address becomes a link."""
    return _ADDRESS.sub(lambda found: f"{found[0][:-1]}&#{ord(found[0][-1])};", text)


def percent(probability: float) -> str:
    """Return a probability as a whole per cent that never claims certainty."""
    if 0.995 <= probability < 1:
        return "> 99 %"
    return "< 1 %" if 0 < probability < 0.005 else f"{100 * probability:.0f} %"


def confidence_word(confidence: float) -> str:
    """Return the word that stands beside a confidence: high, moderate, low or very low."""
    if confidence >= _HIGH:
        return "high"
    if confidence >= _MODERATE:
        return "moderate"
    return "low" if confidence >= _LOW else "very low"


def title(name: str) -> str:
    """Return a specialist's name as words: brain_mri_small_cnn -> brain mri small cnn."""
    return name.replace("_", " ")


def escaped(value: object) -> str:
    """Return a value on one line, for HTML that may stand in Markdown, and for attributes."""
    return plain(" ".join(str(value).split())).replace('"', "&quot;").replace("'", "&#39;")


def question_message(text: str, options: Sequence[str] | None = None, images: Sequence[str] = ()) -> Message:
    """Return what the user asked, with the options and the images sent along."""
    about = [
        f"{name}: {', '.join(map(escaped, values))}"
        for name, values in (("Options", options), ("Image", images))
        if values
    ]
    note = f'\n\n<div class="cs-about">{" · ".join(about)}</div>' if about else ""
    return {"role": "user", "content": plain(text) + note}


def image_message(name: str) -> Message:
    """Return what stands in the conversation for an image that was added."""
    return {"role": "user", "content": f'<div class="cs-about">Image: {escaped(name)}</div>'}


def error_message(error: BaseException) -> Message:
    """Return an error that the user can mend: what was got, what is wanted, what to do."""
    return {
        "role": "assistant",
        "content": f'<div class="cs-error"><strong>This did not work.</strong> {escaped(error)}</div>',
    }


def note_message(text: str) -> Message:
    """Return a short remark of the window itself, such as that an answer was stopped."""
    return {"role": "assistant", "content": f'<div class="cs-note">{escaped(text)}</div>'}


def consultation_message(steps: Sequence[Timed], *, waiting: bool, started: str = "Reading the question") -> Message:
    """Return the steps so far as one collapsible message; `waiting` keeps it open with a spinner."""
    lines = [line for line in map(line, only_steps(steps)) if line]
    count = len(lines)
    heading = "Consulting" if waiting else f"Consulted: {count} step{'' if count == 1 else 's'}"
    metadata = {"title": heading, "status": "pending" if waiting else "done"}
    if steps:
        metadata["log"] = f"{steps[-1][0]:.1f} s"
    return {
        "role": "assistant",
        "content": "\n".join(f"- {plain(line)}" for line in lines) or plain(started),
        "metadata": metadata,
    }


def answer_message(text: str, answer: Answer | None = None) -> Message:
    """Return the answer's text so far; with the finished answer also its label, confidence and warning, said once."""
    said = answer.text if answer else text
    if answer and answer.refer_reason:
        said = said.replace(f"Refer to a human: {answer.refer_reason}.", "").rstrip()
    parts = [prose(said)]
    if answer:
        parts += [part for part in (verdict(answer), warning(answer)) if part]
    return {"role": "assistant", "content": "\n\n".join(parts)}


def only_steps(timed: Sequence[Timed]) -> Iterable[Step]:
    """Return steps without their times."""
    return (step for _, step in timed)


def told_by(step: Triaged) -> str:
    """Return how sure triage is of the kind of image, or who else told it."""
    if step.source == "triage":
        return percent(step.probability)
    seen = f"; it looks like {step.looks_like}" if step.looks_like else ""
    return ("as the question says" if step.source == "question" else "the adapter's kind, unchecked") + seen


def line(step: Step) -> str | None:
    """Return one step in a line of words, or None where it is shown elsewhere."""
    match step:
        case Triaged():
            kind = f"Kind of image: {step.kind} ({told_by(step)})"
            return (
                f"{kind}; {len(step.in_scope)} specialists in scope"
                if step.in_scope
                else f"{kind}; no specialist in scope"
            )
        case ToolCall():
            return f"The generalist asks {title(step.name)}"
        case Observation():
            return said_by(step.name, step.error or step.text)
        case Evidence():
            return _gathered(step)
    return None


def said_by(name: str, words: str) -> str:
    """Return words with the name of who said them in front, once."""
    return f"{title(name)}: {words.removeprefix(f'{name}: ')}"


def _gathered(evidence: Evidence) -> str:
    parts = [f"{len(evidence.moed)} opinions", f"{len(evidence.rad)} similar cases"]
    if evidence.texts:
        parts.append(f"{len(evidence.texts)} similar texts")
    if evidence.refusals:
        parts.append(f"{len(evidence.refusals)} refused")
    return "Evidence: " + ", ".join(parts)


def verdict(answer: Answer) -> str:
    """Return label and confidence as HTML; nothing for an open question."""
    if answer.label is None:
        return ""
    chip = ""
    if answer.confidence is not None:
        word = confidence_word(answer.confidence)
        chip = (
            f' <span class="cs-confidence cs-{word.replace(" ", "-")}">{word} confidence, '
            f"{escaped(percent(answer.confidence))}</span>"
        )
    rest = [label for label in answer.label_set.labels if label != answer.label] if answer.label_set else []
    beside = ""
    if answer.label_set and rest:
        named = escaped(", ".join(rest))
        beside = f'<span class="cs-aside">not ruled out at {percent(answer.label_set.level)}: {named}</span>'
    return f'<div class="cs-verdict"><span class="cs-label">{escaped(answer.label)}</span>{chip}{beside}</div>'


def warning(answer: Answer) -> str:
    """Return the banner that sends the case to a human, with its reason; nothing where there is no need."""
    if not answer.refer:
        return ""
    reason = answer.refer_reason or "The consilium is not sure enough of this answer."
    return (
        '<div class="cs-refer" role="alert"><strong>Refer to a human reader.</strong> '
        f"<span>{escaped(reason[:1].upper() + reason[1:])}</span></div>"
    )


def study_line(study: Study, view: View) -> str:
    """Return what an image is, in one line of HTML: format, size, slice, spacing, window."""
    width, height = study.size
    parts = [FORMATS.get(study.format, study.format.upper()), f"{width} × {height} pixels"]
    if study.modality:
        parts.append(study.modality)
    if study.frames > 1:
        word = (f"{view.plane} slice" if view.plane != "axial" else "slice") if study.volume else "frame"
        parts.append(f"{word} {view.at(study) + 1} of {planes.slices(study, view.plane)}")
    if study.spacing_mm:
        parts.append(f"{study.spacing_mm[1]:.3g} × {study.spacing_mm[2]:.3g} mm a pixel")
    else:
        parts.append("pixel size unknown")
    window = view.window or study.window
    if window:
        parts.append(f"window center {window[0]:.4g}, width {window[1]:.4g}")
    if view.window and view.window != study.window:
        parts.append("models see the file's own window")
    return f'<p class="cs-study">{" · ".join(escaped(part) for part in parts)}</p>'


def regions_line(study: Study, regions: Sequence[Box], *, drawable: bool) -> str:
    """Return what was drawn, with sizes where the spacing is known, and that the question will be about it."""
    if not regions:
        return ""
    words = [region_words(number, box, study) for number, box in enumerate(regions, 1)]
    said = [f"<li><strong>{escaped(one)}</strong></li>" for one in words]
    where = "" if drawable else f" It is on slice {study.key_frame + 1}, which the generalist looks at."
    name = "it" if len(regions) == 1 else "them, or name one: “region 1”"
    return (
        f'<div class="cs-regions" role="status"><ul>{"".join(said)}</ul>'
        f'<p class="cs-aside">Your next question is about {name}.{where}</p></div>'
    )


def status_line(words: str) -> str:
    """Return what is still loading as HTML; nothing when all is there."""
    return f'<p class="cs-status" role="status">{escaped(words)}</p>' if words else ""
