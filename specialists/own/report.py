"""One page on what was made: data, figures with intervals, plots, and the images it got wrong.

The page is whole by itself: plots and thumbnails stand inside it. It is written into the user's home alone, since it
shows images.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from specialists.core.card import Card
from specialists.core.study import read_study
from specialists.datasets.layout import Sample
from specialists.evaluation import measure
from specialists.own import plots
from specialists.own.checks import Note
from specialists.zoo import Domain

ERRORS = 24
"""Images shown that were judged wrongly, the surest first."""
THUMBNAIL = 160
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ddd;padding:.3em .7em;text-align:left}
td.n{text-align:right}.serious{color:#a32}figure{display:inline-block;margin:.5em;vertical-align:top;width:170px}
figure img{width:160px}figcaption{font-size:12px;overflow-wrap:anywhere}details{margin:.3em 0}
"""


@dataclass(frozen=True, eq=False)
class Page:
    """All that the page tells."""

    domain: Domain
    cards: Sequence[Card]
    notes: Sequence[Note]
    samples: Sequence[Sample]
    rows: np.ndarray
    """Rows (n,) of the test samples."""
    targets: np.ndarray
    """Numbers of their labels (n,)."""
    probabilities: np.ndarray
    """Mean of the specialists, (n, labels)."""
    cases: Mapping[str, Any]
    """Figures of the index."""
    answered: tuple[int, int]
    """How many of the test images they answer when asked as in use, and how many were asked."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.cards[0].label_names

    def figures(self) -> dict[str, Any]:
        """Return the test figures of the specialists together."""
        groups = [self.samples[row].group for row in self.rows]
        return measure.classification(self.probabilities, self.targets, groups, self.labels)


def write(page: Page, folder: Path) -> dict[str, Any]:
    """Write report.html and figures.json; return the test figures of the specialists together."""
    figures = page.figures()
    drawn = {"confusion": plots.confusion(page.probabilities, page.targets, page.labels),
             "reliability": plots.reliability(page.probabilities, page.targets),
             "roc": plots.roc(page.probabilities, page.targets, page.labels)}
    parts = [f"<h1>{escape(page.domain.title)}</h1>", _summary(page, figures), "<h2>Images</h2>", _data(page),
             _notes(page.notes), "<h2>Measured on the test images</h2>", _measured(page, figures)]
    parts += [f'<p><img alt="{name}" src="{_source(png)}"></p>' for name, png in drawn.items()]
    parts += ["<h2>Wrong on test</h2>", _errors(page), "<h2>How it was made</h2>", _made(page)]
    body = "\n".join(parts)
    html = (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(page.domain.name)}</title>'
            f"<style>{STYLE}</style><body>{body}</body></html>\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(html, encoding="utf-8")
    facts = {"name": page.domain.name, "kind": page.domain.kind, "labels": list(page.labels), "test": figures,
             "answered": dict(zip(("n", "of"), page.answered, strict=True)),
             "specialists": {card.name: card.figures for card in page.cards}, "index": dict(page.cases),
             "checks": [note.json() for note in page.notes]}
    (folder / "figures.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return figures


def _summary(page: Page, figures: Mapping[str, Any]) -> str:
    return (f"<p>{len(page.cards)} specialists for the kind of image <b>{escape(page.domain.kind)}</b>; together, on "
            f"{figures['n']} test images that none of them saw: macro-F1 <b>{figures['macro_f1']:.3f}</b> "
            f"({escape(interval(figures))}), accuracy {figures['accuracy']:.3f}, calibration error "
            f"{figures['ece']:.3f}. {asked(page.answered)}. Trained from scratch on these images alone. For research: "
            "not clinically validated, no medical device.</p>")


def interval(figures: Mapping[str, Any]) -> str:
    """Say the interval of macro-F1, and which labels it leaves out."""
    low, high = figures["ci95"]
    few = measure.without(figures)
    return f"95 % interval {low:.3f} to {high:.3f}{'; ' if few else ''}{few}"


def asked(answered: tuple[int, int]) -> str:
    """Say how many test images are answered."""
    if answered[0] == answered[1]:
        return f"Asked as in use, they answer all {answered[1]} test images"
    return (f"Asked as in use, they answer {answered[0]} of {answered[1]} test images and refuse the others, as of "
            "another kind or unlike what they were taught")


def _data(page: Page) -> str:
    counts = Counter((str(s.label), s.split) for s in page.samples)
    sides = ("train", "val", "test")
    rows = [[label, *(counts[label, side] for side in sides)] for label in page.labels]
    groups = {side: len({s.group for s in page.samples if s.split == side}) for side in sides}
    rows += [["all", *(sum(counts[label, side] for label in page.labels) for side in sides)],
             ["groups", *(groups[side] for side in sides)]]
    return _table(["label", *sides], rows)


def _notes(notes: Sequence[Note]) -> str:
    if not notes:
        return "<p>Nothing was found amiss.</p>"
    lines = []
    for note in notes:
        css = ' class="serious"' if note.serious else ""
        text = f"<span{css}>{escape(note.text)}</span>"
        about = "<br>".join(escape(name) for name in note.about)
        lines.append(f"<details><summary>{text}</summary>{about}</details>" if about else f"<p>{text}</p>")
    return "\n".join(lines)


def _measured(page: Page, figures: Mapping[str, Any]) -> str:
    keys = ("macro_f1", "accuracy", "ece", "brier")
    rows = []
    for name, found in [("together", figures), *((card.name, card.figures["test"]) for card in page.cards)]:
        low, high = found["ci95"]
        rows.append([name, *(f"{found[key]:.3f}" for key in keys[:1]), f"{low:.3f} to {high:.3f}",
                     *(f"{found[key]:.3f}" for key in keys[1:])])
    table = _table(["", "macro-F1", "95 % interval", "accuracy", "calibration error", "Brier"], rows)
    each = [[label, f"{f1:.3f}", int((page.targets == page.labels.index(label)).sum())]
            for label, f1 in figures["per_class"].items()]
    return table + _table(["label", "F1 together", "test images"], each)


def _errors(page: Page) -> str:
    guesses = page.probabilities.argmax(axis=1)
    sure = page.probabilities.max(axis=1)
    wrong = [int(i) for i in np.argsort(-sure) if guesses[i] != page.targets[i]]
    if not wrong:
        return "<p>None.</p>"
    shown = [_figure(page.samples[page.rows[i]], page.labels[guesses[i]], sure[i]) for i in wrong[:ERRORS]]
    return f"<p>{len(wrong)} of {len(page.rows)}, the surest first.</p>" + "".join(shown)


def _figure(sample: Sample, guess: str, sure: float) -> str:
    picture = read_study(sample.path).image()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return (f'<figure><img alt="" src="{_source(buffer.getvalue())}"><figcaption>{escape(sample.id)}<br>'
            f"is <b>{escape(str(sample.label))}</b>, was called {escape(guess)} ({100 * sure:.0f} %)"
            "</figcaption></figure>")


def _made(page: Page) -> str:
    rows = [[card.name, f"{card.trained['parameters']:,}", card.trained["epochs"], f"{card.trained['seconds']} s",
             f"{card.calibration['temperature']:.2f}", f"{card.scope['kept_test']:.3f}",
             f"{card.scope['refused_drawn']:.3f}"] for card in page.cards]
    table = _table(["", "parameters", "epochs", "trained in", "temperature", "test images within scope",
                    "drawn pictures refused"], rows)
    return (f"<p><code>{escape(page.cards[0].trained['command'])}</code></p>{table}"
            + "".join(f"<p>{escape(limit)}</p>" for limit in page.cards[0].limits))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        css = "" if isinstance(value, str) and not value[:1].isdigit() else ' class="n"'
        return f"<td{css}>{escape(str(value))}</td>"
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>"]
    lines += ["<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _source(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
