"""The consilium panel as HTML: who said what, how good they are, which cases are alike, how it went.

It knows no Gradio, keeps no state, and weighs nothing: agreement is a comparison of two labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from assistant.steps import (
    Answer,
    Case,
    Evidence,
    Observation,
    Opinion,
    Question,
    SimilarText,
    Step,
    TextDelta,
    Triaged,
)
from specialists.core.findings import Classification, Refusal
from ui.render import Timed, escaped, line, only_steps, percent, said_by, title, verdict, warning

SHOWN_LABELS = 5
"""More labels than these are folded away."""


def panel(steps: Sequence[Timed], answer: Answer | None = None) -> str:
    """Return the consilium panel: who said what, how good they are, which cases are alike, and how it went.

    Before the answer is there it shows the evidence gathered so far; without any it is an empty string.
    """
    gathered = [step for step in only_steps(steps) if isinstance(step, Evidence)]
    if answer:
        gathered.append(answer.evidence)
    if not gathered:
        return ""
    evidence = gathered[-1]
    parts = [
        warning(answer) if answer else "",
        verdict(answer) if answer else "",
        _kind(steps),
        _opinions(evidence, answer),
        _findings(answer),
        _cases(evidence, answer.label if answer else None),
        _texts(evidence),
        _refusals(evidence),
        _trace(steps, answer),
    ]
    return f'<section class="cs-panel" aria-label="Consilium panel">{"".join(parts)}</section>'


def _section(heading: str, body: str, aside: str = "") -> str:
    note = f' <span class="cs-aside">{aside}</span>' if aside else ""
    return f"<div class='cs-section'><h3>{heading}{note}</h3>{body}</div>"


def _kind(steps: Sequence[Timed]) -> str:
    triaged = next((step for step in only_steps(steps) if isinstance(step, Triaged)), None)
    if triaged is None:
        return ""
    scope = "" if triaged.in_scope else " No specialist answers for this kind."
    return (
        f'<p class="cs-kind">Kind of image: <strong>{escaped(triaged.kind)}</strong> '
        f"({escaped(percent(triaged.probability))}).{scope}</p>"
    )


def _opinions(evidence: Evidence, answer: Answer | None) -> str:
    label = answer.label if answer else None
    rows = [_row(title(o.specialist), o.probabilities, _stand(o.label, label), _validated(o)) for o in evidence.moed]
    if answer and answer.options:
        rows.append(_row("Generalist", answer.options, "", "sees the image and reads the evidence; decides"))
    if evidence.arbiter:
        pool = evidence.arbiter
        rows.append(
            _row(
                "Arbiter",
                pool.probabilities,
                _stand(pool.label, label),
                "log-linear pool of the same evidence",
            )
        )
    if not rows:
        return _section("Opinions", '<p class="cs-empty">No specialist gave an opinion.</p>')
    conflict = (
        '<p class="cs-conflict">The generalist and the pool of the evidence disagree.</p>' if evidence.conflict else ""
    )
    return _section("Opinions", conflict + "".join(rows), _agreement(evidence.moed, label))


def _agreement(opinions: Sequence[Opinion], label: str | None) -> str:
    if not opinions or label is None:
        return ""
    agreeing = sum(_same(opinion.label, label) for opinion in opinions)
    return f"{agreeing} of {len(opinions)} specialists agree"


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _stand(label: str, decided: str | None) -> str:
    if decided is None:
        return ""
    return (
        '<span class="cs-tag cs-agrees">agrees</span>'
        if _same(label, decided)
        else '<span class="cs-tag cs-dissents">dissents</span>'
    )


def _validated(opinion: Opinion) -> str:
    parts = []
    if opinion.label in opinion.validated:
        parts.append(f"F1 {opinion.validated[opinion.label]:.2f} on {opinion.label}")
    if "macro" in opinion.validated:
        parts.append(f"{'mean ' if parts else 'mean F1 '}{opinion.validated['macro']:.2f}")
    return "validated: " + ", ".join(parts) if parts else "not validated"


def _row(name: str, probabilities: Mapping[str, float], tag: str, note: str) -> str:
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    bars = "".join(_bar(label, value, first=not rank) for rank, (label, value) in enumerate(ranked[:SHOWN_LABELS]))
    if rest := ranked[SHOWN_LABELS:]:
        more = "".join(_bar(label, value) for label, value in rest)
        bars += f"<details><summary>{len(rest)} more labels</summary>{more}</details>"
    return (
        f'<div class="cs-opinion"><div class="cs-who"><span class="cs-name">{escaped(name)}</span> {tag}'
        f'<span class="cs-aside">{escaped(note)}</span></div><div class="cs-bars">{bars}</div></div>'
    )


def _bar(label: str, value: float, *, first: bool = False) -> str:
    width = 100 * min(max(value, 0.0), 1.0)
    return (
        f'<div class="cs-bar{" cs-first" if first else ""}"><span class="cs-what">{escaped(label)}</span>'
        f'<span class="cs-track"><span style="width:{width:.1f}%"></span></span>'
        f'<span class="cs-number">{escaped(percent(value))}</span></div>'
    )


def _findings(answer: Answer | None) -> str:
    shown = [f for f in answer.findings if not isinstance(f, Classification | Refusal)] if answer else []
    if not shown:
        return ""
    items = "".join(f"<li>{escaped(said_by(f.specialist, f.words()))}</li>" for f in shown)
    return _section("Findings", f"<ul>{items}</ul>")


def _cases(evidence: Evidence, label: str | None) -> str:
    if evidence.no_similar_case:
        return _section("Similar cases", '<p class="cs-empty">No labelled case is similar enough.</p>')
    if not evidence.rad:
        return ""
    votes = ", ".join(
        f"{count} × {escaped(name)}" for name, count in Counter(c.label for c in evidence.rad).most_common(4)
    )
    rows = "".join(_case(case, label) for case in evidence.rad)
    head = "<thead><tr><th>Label</th><th>Similarity</th><th>Source</th><th>License</th></tr></thead>"
    return _section("Similar cases", f'<div class="cs-scroll"><table>{head}<tbody>{rows}</tbody></table></div>', votes)


def _case(case: Case, label: str | None) -> str:
    width = 100 * min(max(case.similarity, 0.0), 1.0)
    mark = ' class="cs-same"' if label is not None and _same(case.label, label) else ""
    return (
        f'<tr{mark} title="Case {escaped(case.id)}"><td>{escaped(case.label)}</td><td class="cs-similar">'
        '<span class="cs-track"><span '
        f'style="width:{width:.1f}%"></span></span> {case.similarity:.2f}</td><td>{escaped(case.source)}</td>'
        f"<td>{escaped(case.license or 'not stated')}</td></tr>"
    )


def _texts(evidence: Evidence) -> str:
    if evidence.no_similar_text:
        return _section("Similar texts", '<p class="cs-empty">No report or answered question is similar enough.</p>')
    if not evidence.texts:
        return ""
    rows = "".join(map(_text, evidence.texts))
    head = "<thead><tr><th>Text</th><th>Similarity</th><th>Source</th><th>License</th></tr></thead>"
    return _section("Similar texts", f'<div class="cs-scroll"><table>{head}<tbody>{rows}</tbody></table></div>')


def _text(found: SimilarText) -> str:
    return (
        f'<tr title="Text {escaped(found.id)}"><td>{escaped(found.words)}</td><td>{found.similarity:.2f}</td>'
        f"<td>{escaped(found.source)}</td><td>{escaped(found.license or 'not stated')}</td></tr>"
    )


def _refusals(evidence: Evidence) -> str:
    if not evidence.refusals:
        return ""
    items = "".join(
        f'<li><span class="cs-name">{escaped(title(r.specialist))}</span> {escaped(r.reason)}</li>'
        for r in evidence.refusals
    )
    return _section("Refused", f'<ul class="cs-refused">{items}</ul>')


def _trace(steps: Sequence[Timed], answer: Answer | None) -> str:
    rows = "".join(
        f"<li><span class='cs-number'>{seconds:.2f} s</span> {escaped(words)}</li>"
        for seconds, step in steps
        if (words := _trace_line(step))
    )
    if answer is None:
        return ""
    trace = f" · trace <code>{escaped(answer.trace_id)}</code>" if answer.trace_id else ""
    summary = f"<summary>Steps · {answer.seconds:.2f} s{trace}</summary>"
    return f'<details class="cs-trace">{summary}<ol>{rows}</ol></details>'


def _trace_line(step: Step) -> str | None:
    match step:
        case Question():
            style = f"{step.collaboration} collaboration, {step.style} style"
            return f"Question about {len(step.studies)} image{'' if len(step.studies) == 1 else 's'}; {style}"
        case Observation():
            took = f" (took {step.seconds:.2f} s)" if step.seconds else ""
            return f"{line(step)}{took}"
        case TextDelta():
            return None
        case Answer():
            return "Answer"
    return line(step)
