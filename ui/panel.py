"""The consilium panel as HTML: who said what, how good they are, which cases are alike, how it went.

It knows no Gradio, keeps no state, and weighs nothing: agreement is a comparison of two labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

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
from ui import annotate
from ui.render import Timed, escaped, line, only_steps, percent, said_by, title, told_by, verdict, warning

SCRIPT = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-without], [data-several], [data-moved], [data-where]");
  if (!button) return;
  if ("where" in button.dataset) return trigger("select", { where: button.dataset.where });
  const ticked = [...element.querySelectorAll("[data-leave]:checked")].map((box) => box.dataset.leave);
  const without = "several" in button.dataset ? ticked : [button.dataset.without].filter(Boolean);
  if ("several" in button.dataset && !without.length) return element.querySelector("[data-leave]").focus();
  trigger("select", { without, moved: "moved" in button.dataset });
  document.querySelector("#whatif")?.scrollIntoView({ block: "center", behavior: "smooth" });
});"""
"""What the page does with the buttons of the panel: each asks again, with something changed."""
SHOWN_LABELS = 5
"""More labels than these are folded away."""
SHOWN_REFUSALS = 3
"""More refusals than these are folded away: of an image of no known kind all refuse."""


def panel(steps: Sequence[Timed], answer: Answer | None = None, *, regions: bool = False,
          pictures: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the consilium panel: who said what, how good they are, which cases are alike, and how it went.

    Before the answer is there it shows the evidence gathered so far; without any it is an empty string. With
    `regions` the question can be asked again about those that are drawn by then; `pictures` are small ones of similar
    cases, as addresses by the cases' ids.
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
        _kind(steps, answer),
        _opinions(evidence, answer),
        _findings(answer),
        _moved(answer) if regions else "",
        _cases(evidence, answer, pictures),
        _texts(evidence),
        _refusals(evidence),
        _trace(steps, answer),
    ]
    return f'<section class="cs-panel" aria-label="Consilium panel">{"".join(parts)}</section>'


def _section(heading: str, body: str, aside: str = "") -> str:
    note = f' <span class="cs-aside">{aside}</span>' if aside else ""
    return f"<div class='cs-section'><h3>{heading}{note}</h3>{body}</div>"


def _kind(steps: Sequence[Timed], answer: Answer | None) -> str:
    """Tell the kind of image; of an answer out of the store it is not known any more who told it, and how sure."""
    triaged = next((step for step in only_steps(steps) if isinstance(step, Triaged)), None)
    if triaged is None:
        if answer is None or answer.kind == "unknown":
            return ""
        return f'<p class="cs-kind">Kind of image: <strong>{escaped(answer.kind)}</strong>.</p>'
    scope = "" if triaged.in_scope else " No specialist answers for this kind."
    return (
        f'<p class="cs-kind">Kind of image: <strong>{escaped(triaged.kind)}</strong> '
        f"({escaped(told_by(triaged))}).{scope}</p>"
    )


def _opinions(evidence: Evidence, answer: Answer | None) -> str:
    label = answer.label if answer else None
    rows = [
        _row(
            title(o.specialist),
            o.probabilities,
            _stand(o.label, label) + _without(o.specialist, answer) + _where(o.specialist, answer),
            _validated(o),
        )
        for o in evidence.moed
    ]
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
    return _section("Opinions", conflict + "".join(rows) + _several(evidence, answer), _agreement(evidence.moed, label))


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


def _without(name: str, answer: Answer | None) -> str:
    """Return the button that asks again without one of those who were asked."""
    if answer is None or not answer.trace_id:
        return ""
    told = f"Ask again without {title(name)} and see what changes"
    return (
        f'<button type="button" class="cs-again" data-without="{escaped(name)}" title="{escaped(told)}" '
        f'aria-label="{escaped(told)}">what if without?</button>'
    )


def _where(name: str, answer: Answer | None) -> str:
    """Return the button that shows where a specialist's opinion hangs."""
    if answer is None or not answer.trace_id:
        return ""
    told = f"Show where the opinion of {title(name)} hangs, by covering the image piece by piece"
    return (
        f'<button type="button" class="cs-again" data-where="{escaped(name)}" title="{escaped(told)}" '
        f'aria-label="{escaped(told)}">where?</button>'
    )


def _several(evidence: Evidence, answer: Answer | None) -> str:
    """Return what asks again without several of those who were asked."""
    names = [o.specialist for o in evidence.moed] + (["similar_cases"] if evidence.rad else [])
    if answer is None or not answer.trace_id or len(names) < 2:
        return ""
    boxes = "".join(
        f'<label class="cs-entry"><input type="checkbox" data-leave="{escaped(name)}">{escaped(title(name))}</label>'
        for name in names
    )
    button = '<button type="button" class="cs-again" data-several>ask again without those ticked</button>'
    return (
        '<details class="cs-several"><summary>What if without several?</summary>'
        f'<div role="group" aria-label="To leave out">{boxes}</div>{button}</details>'
    )


def _moved(answer: Answer | None) -> str:
    if answer is None or not answer.trace_id:
        return ""
    words = '<button type="button" class="cs-again" data-moved>ask again with the regions as drawn now</button>'
    return _section("Regions", f'<p class="cs-empty">Move or redraw a region, then {words}</p>')


def _findings(answer: Answer | None) -> str:
    shown = [f for f in answer.findings if not isinstance(f, Classification | Refusal)] if answer else []
    if not answer or not (shown or answer.boxes):
        return ""
    items = "".join(_finding(said_by(f.specialist, f.words()), annotate.of_finding(f, answer), answer) for f in shown)
    known = {layer for f in shown for layer in annotate.of_finding(f, answer)}
    rest = [layer for layer in annotate.layer_ids(answer) if layer not in known]
    names = {annotate.box_id(box.label): box.label for box in answer.boxes}
    items += "".join(_finding(f"the generalist: {names[layer]}", [layer], answer) for layer in rest if layer in names)
    return _section("Findings", f'<ul class="cs-findings">{items}</ul>', "point at one to see it on the image")


def _finding(words: str, layers: Sequence[str], answer: Answer) -> str:
    """Return a finding that lights its layers."""
    if not layers:
        return f"<li>{escaped(words)}</li>"
    known = annotate.colors(answer)
    dots = "".join(f'<span class="cs-swatch" style="background:{known[layer]}"></span>' for layer in layers)
    return (
        f'<li><button type="button" class="cs-finding" data-layers="{" ".join(layers)}">{dots}'
        f"{escaped(words)}</button></li>"
    )


def _cases(evidence: Evidence, answer: Answer | None, pictures: Mapping[str, str]) -> str:
    if evidence.no_similar_case:
        return _section("Similar cases", '<p class="cs-empty">No labelled case is similar enough.</p>')
    if not evidence.rad:
        return ""
    votes = ", ".join(
        f"{count} × {escaped(name)}" for name, count in Counter(c.label for c in evidence.rad).most_common(4)
    )
    shown = {case.id: pictures[case.id] for case in evidence.rad if case.id in pictures}
    label = answer.label if answer else None
    rows = "".join(_case(case, label, shown.get(case.id, "") if shown else None) for case in evidence.rad)
    first = "<th>Image</th>" if shown else ""
    head = f"<thead><tr>{first}<th>Label</th><th>Similarity</th><th>Source</th><th>License</th></tr></thead>"
    table = f'<div class="cs-scroll" tabindex="0"><table class="cs-cases">{head}<tbody>{rows}</tbody></table></div>'
    return _section("Similar cases", table, f"{votes} {_without('similar_cases', answer)}")


def _case(case: Case, label: str | None, picture: str | None) -> str:
    """Return a row; `picture` is an address, "" where this case has none, None where no case has one."""
    seen = ""
    if picture is not None:
        alike = escaped(f"Similar case: {case.label}")
        seen = f'<td class="cs-thumb">{f"""<img src="{picture}" alt="{alike}">""" if picture else ""}</td>'
    width = 100 * min(max(case.similarity, 0.0), 1.0)
    mark = ' class="cs-same"' if label is not None and _same(case.label, label) else ""
    return (
        f'<tr{mark} title="Case {escaped(case.id)}">{seen}<td class="cs-case">{escaped(case.label)}</td>'
        '<td class="cs-similar"><span class="cs-track"><span '
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
    table = f'<div class="cs-scroll" tabindex="0"><table>{head}<tbody>{rows}</tbody></table></div>'
    return _section("Similar texts", table)


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
    told = f'<ul class="cs-refused">{items}</ul>'
    if len(evidence.refusals) > SHOWN_REFUSALS:
        told = f"<details><summary>{len(evidence.refusals)} specialists, and why</summary>{told}</details>"
    return _section("Refused", told)


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
