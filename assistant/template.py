"""Steps to prompt text: the same code for training and for serving.

Messages are plain dicts in OpenAI's form; how a model family writes them as tokens is its chat template's business.
Departure from GSCo's published prompt: options carry letters wherever they are named and the decision is a letter,
because a small generalist that answers in label text is deaf to evidence on diseases it was not taught (docs/log.md).
"""

from __future__ import annotations

import base64
import hashlib
import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from string import Template
from typing import Any

from PIL import Image

from assistant.steps import Case, Evidence, Opinion, SimilarText, Style
from assistant.wording import grammar
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.study import Study

Message = dict[str, Any]

SHOWN_SIDE = 448
"""Pixels of the longer side of an image as a generalist gets it, in serving and in tuning."""
SHOWN_OPTIONS = 5
"""Options of a specialist that are written out, most probable first."""
TEXT_CHARACTERS = 300
"""Length to which a similar text is cut for the generalist, at a word."""


def _prompt(name: str) -> Template:
    return Template(resources.files("assistant").joinpath("prompts", f"{name}.md").read_text().rstrip("\n"))


PUBLISHED, CALIBRATED, SYSTEM = _prompt("published"), _prompt("calibrated"), _prompt("system")


def letters(count: int) -> list[str]:
    """Return the letters that `count` options carry, A first; at most 26."""
    if not 1 <= count <= 26:
        raise ValueError(f"{count} options; 1 to 26 can carry letters.")
    return [chr(ord("A") + i) for i in range(count)]


def shuffled(options: Sequence[str], seed: str) -> list[str]:
    """Return the options in an order that depends on `seed` alone, so that no option owns a letter."""
    order = sorted(options)
    random.Random(hashlib.sha256(seed.encode()).hexdigest()).shuffle(order)
    return order


def shown(image: Image.Image, size: int = SHOWN_SIDE) -> Image.Image:
    """Return the image as a generalist gets it: its longer side at most `size` pixels."""
    small = image.copy()
    small.thumbnail((size, size), Image.Resampling.BICUBIC)
    return small


def shown_size(size: tuple[int, int], longest: int = SHOWN_SIDE) -> tuple[int, int]:
    """Return the (width, height) of an image of `size` once it is shown."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def png_url(study: Study, size: int = SHOWN_SIDE) -> str:
    """Return the key frame as a PNG data URL, its longer side at most `size` pixels; no header value enters it."""
    buffer = io.BytesIO()
    shown(study.image(), size).save(buffer, format="PNG", compress_level=1)  # it goes a short way
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def decision(question: str, images: Sequence[str], options: Sequence[str], *, evidence: Evidence | None,
             style: Style = "calibrated", kind: str | None = None, look: Opinion | None = None) -> list[Message]:
    """Return the prompt whose next token is the letter of an option.

    `options` stand in the order shown; score the result with `letters(len(options))`. `look` is the generalist's own
    opinion in words; it stands in for specialists where none spoke (beside them it cost a point on validation).
    """
    kind = kind or "medical"
    if look is not None and not (evidence and evidence.moed):
        evidence = replace(evidence or Evidence(), moed=(look,))
    if style == "published":
        named = {o: f"{x} {o}" for x, o in zip(letters(len(options)), options, strict=True)}
        text = PUBLISHED.substitute(kind=kind, options=_quoted(options), question=question,
                                    rad=_published_rad(evidence, named), moed=_published_moed(evidence, named))
    else:
        listed = "\n".join(f"{x} {o}" for x, o in zip(letters(len(options)), options, strict=True))
        text = CALIBRATED.substitute(kind=kind, options=listed, question=question,
                                     evidence=_lettered(evidence, options))
    return [_user(images, text)]


def opening(question: str, images: Sequence[str], *, options: Sequence[str] | None = None,
            evidence: Evidence | None = None, style: Style = "calibrated", kind: str | None = None,
            history: Sequence[Message] = ()) -> list[Message]:
    """Return the prompt for free text and for the first turn of the tool loop.

    `history` holds earlier turns as messages, oldest first. An {"type": "image"} part in it is where the images were
    first given: they stand there, and not again in the last turn.
    """
    lines = [f"Image: {kind}."] if kind else []
    if options:
        lines.append("Options: " + ", ".join(options) + ".")
    if evidence is not None:
        written = _published_open(evidence) if style == "published" else _named(evidence)
        lines += [written] if written else []
    earlier, given = _placed(history, images)
    return [{"role": "system", "content": SYSTEM.template}, *earlier,
            _user(() if given else images, "\n".join([*lines, question]))]


def about(question: str, regions: Sequence[str]) -> str:
    """Return a question with its regions in a family's own words: where it says "region 1", else before it."""
    named: set[int] = set()

    def place(found: re.Match[str]) -> str:
        number = int(found[1])
        if not 1 <= number <= len(regions):
            return found[0]
        named.add(number)
        return f"region {regions[number - 1]}"

    text = re.sub(r"\bregion (\d+)\b", place, question, flags=re.IGNORECASE)
    rest = [place for number, place in enumerate(regions, 1) if number not in named]
    return f"Consider {' and '.join(rest)}. {text}" if rest else text


def look(images: Sequence[str], kind: str | None) -> list[Message]:
    """Return the prompt for the generalist's own look at the image: no options, no evidence."""
    return opening("What is the diagnosis?", images, kind=kind)


def looked(label: str, kind: str | None) -> str:
    """Return the reply to `look` that names a label; the generalist's shares of labels are scored with it."""
    return f"This is a {kind or 'medical'} image. Most likely {label}."


def observation(finding: Finding, validated: Mapping[str, float] | None = None) -> str:
    """Return what the generalist reads of a specialist's finding."""
    if isinstance(finding, Classification):
        return percentages(Opinion(finding.specialist, finding.label, finding.probabilities, validated or {}))
    if isinstance(finding, Refusal):
        return f"refused: {finding.reason}"
    return finding.words()


def cases(found: Sequence[Case], none_similar: bool = False) -> str:
    """Return what the generalist reads of similar cases: similarity in percent and label, most similar first."""
    if not found:
        return "no similar case" if none_similar else "no cases"
    return ", ".join(f"{_percent(c.similarity)} {c.label}" for c in found)


def texts(found: Sequence[SimilarText]) -> str:
    """Return what the generalist reads of similar texts: similarity in percent and words, a line a text."""
    if not found:
        return "similar texts: none"
    return "\n".join(["similar texts:", *(f"{_percent(t.similarity)} {_cut(t.words)}" for t in found)])


def sentence(label: str, probability: float | None, evidence: Evidence, kind: str) -> str:
    """Return the sentence for people around a decided letter; it says nothing that the steps do not hold."""
    chance = f" ({_percent(probability)} %)" if probability is not None else ""
    parts = [f"Most likely {label}{chance}" + (f" on this {kind}." if kind not in ("", "unknown") else ".")]
    if evidence.moed:
        agree = sum(o.label == label for o in evidence.moed)
        parts.append(f"{agree} of {len(evidence.moed)} specialists say the same.")
    if evidence.rad:
        same = sum(c.label == label for c in evidence.rad)
        parts.append(f"{same} of {len(evidence.rad)} similar cases carry this label.")
    elif evidence.no_similar_case:
        parts.append("No similar case is known.")
    if evidence.conflict:
        parts.append("The evidence points elsewhere than the image alone.")
    return " ".join(parts)


def panel(evidence: Evidence) -> str:
    """Return what specialists and similar cases say, a sentence each, for people; empty where nobody says anything."""
    said = [f"{o.specialist}: {o.label} ({_percent(o.probabilities[o.label])} %)." for o in evidence.moed]
    if evidence.rad:
        counted = Counter(c.label for c in evidence.rad).most_common(2)
        named = ", ".join(f"{n} {label}" for label, n in counted)
        said.append(f"Of {len(evidence.rad)} similar cases: {named}." if len(evidence.rad) > 1 else
                    f"The one similar case: {counted[0][0]}.")
    return " ".join(said)


COUNT = re.compile(r"\s*\d+ of \d+ (?:specialists say the same|similar cases carry this label)\.")
SIMILAR = re.compile(r"\s*(?:Of the|The) (?:\w+ )?(?:most )?similar cases?\b(?:[^.]|\.(?=\d))*\.")
UNFIT = re.compile(r"\s*(?:No specialist|None of the specialists|The specialists|The tools)\b[^.]*\.")
ALONE = re.compile(r"(?:From the image alone: |From what I see[:,] )(\w)")
NAMED = re.compile(r"\b[Mm]ost likely ([^.]+)\.")
"""A label as a generalist writes it."""
DIAGNOSIS = "What is the most likely diagnosis?"
"""What is decided where a question names no options."""
AROUND_KIND = frozenset(re.findall(r"\w+", "a an image it is like looks of photograph picture scan shows this you are "
                                            "looking at"))
YES_OR_NO = re.compile(r"(?:yes|no)\b", re.IGNORECASE)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
HOW_MANY = re.compile(r"\b(?:how many|count|number of)\b", re.IGNORECASE)
LISTED = re.compile(r"\s*[^.]*\bcounts? \[.*?\}\s*\]\.?", re.DOTALL)
WHERE = re.compile(r"\b(?:where|locate|location|point (?:to|at))\b", re.IGNORECASE)
KIND_OF = re.compile(r"\b(?:kind|type|sort) of (?:medical )?(?:image|picture|scan|photo)|\bmodality\b", re.IGNORECASE)
LEAD_WORDS = 2
"""Such as "Here:"; more words before boxes name a thing."""
UNKNOWN_THING = "I cannot tell that."
NOWHERE = "Where, nobody here can tell on this kind of image."


def not_found(looked: Sequence[str]) -> str:
    """Return what is told of a place for which specialists looked in vain."""
    return f"{grammar.listed(looked)} looked and found no place; this does not rule it out."


def tells_kind(text: str, kind: str) -> bool:
    """Tell whether a text says what kind of image this is, and nothing else."""
    words = set(re.findall(r"\w+", text.lower())) - AROUND_KIND
    return bool(words) and words <= set(re.findall(r"\w+", kind.lower()))


def own_words(text: str, *, heard: bool) -> str:
    """Return what a generalist wrote without what it tells of others: how many agree, what similar cases carry.

    With `heard` others did answer, and what it says of their silence goes, too.
    """
    text = COUNT.sub("", SIMILAR.sub("", text))
    if heard:
        text = ALONE.sub(lambda found: found[1].upper(), UNFIT.sub("", text))
    return text.strip()


def names(text: str, labels: Iterable[str]) -> bool:
    """Tell whether a text names one of the labels, in any case of letters."""
    return any(re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE) for label in labels)


def backed(text: str, kind: str, known: Iterable[str], question: str) -> str:
    """Return what others back of a small generalist's words: the kind of image, and boxes, which are corrected later.

    Its other sentences are of its own making, on images unlike the taught ones mere sound. A yes or a no goes with
    them; where the question has no word of any `known` label, that it cannot be told stands in its place.
    """
    words = set(re.findall(r"[^\W\d_]{3,}", " ".join(known).lower())) & set(re.findall(r"\w+", question.lower()))
    first = [] if words or not YES_OR_NO.match(text) else [UNKNOWN_THING]
    return " ".join([*first, *(_led(one) for one in SENTENCE.split(text) if "[" in one or tells_kind(one, kind))])


def _led(text: str) -> str:
    """Return a sentence with boxes without its words where they name nothing of what the boxes are about."""
    lead, opened, boxes = text.partition("[")
    labels = re.findall(r'"label": "([^"]+)"', boxes)
    fits = not labels or len(lead.split()) <= LEAD_WORDS or any(label.lower() in lead.lower() for label in labels)
    return text if fits else opened + boxes


def wants_place(question: str) -> bool:
    """Tell whether a question asks where something is."""
    return WHERE.search(question) is not None


def wants_number(question: str) -> bool:
    """Tell whether a question asks how many things there are."""
    return HOW_MANY.search(question) is not None


def wants_kind(question: str) -> bool:
    """Tell whether a question asks what kind of image it is."""
    return KIND_OF.search(question) is not None


def numbered(text: str, counts: Mapping[str, int], question: str) -> str:
    """Return a text whose numbers of things are those that specialists counted, and that tells what was asked for."""
    asked = [name for name in counts if names(question, (name, grammar.plural(name)))]
    if asked and wants_number(question):
        return " ".join(f"There {'is' if counts[name] == 1 else 'are'} {grammar.counted(counts[name], name)}."
                        for name in asked)
    return as_counted(LISTED.sub("", text) if counts else text, counts)


def report(kind: str, measured: Sequence[str], told: str) -> str:
    """Return a short report: what was found and measured, and the decision as a sentence; "" where nobody decides."""
    found = measured or ["Nobody here locates or measures anything on it"]
    findings = " ".join(f"{words}." for words in (kind[:1].upper() + kind[1:], *found) if words)
    return f"Findings: {findings}\n\nImpression: {told or 'nobody here names a diagnosis for this kind of image.'}"


def as_counted(text: str, counts: Mapping[str, int]) -> str:
    """Return a text whose numbers of things are those that specialists counted, by name in small letters."""
    for name, count in counts.items():
        many = "|".join(map(re.escape, (grammar.plural(name), name)))
        said = re.compile(rf"\b(?:(there) (?:is|are) )?(?:{'|'.join(grammar.NUMBERS)}|\d+) (?:{many})\b", re.IGNORECASE)
        right, be = grammar.counted(count, name), "is" if count == 1 or grammar.last(name) in grammar.MASS else "are"
        text = said.sub(lambda found, right=right, be=be: f"{found[1]} {be} {right}" if found[1] else right, text)
    return text


def _user(images: Sequence[str], text: str) -> Message:
    return {"role": "user", "content": [*_shown(images), {"type": "text", "text": text}]}


def _shown(images: Sequence[str]) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}} for url in images]


def _placed(history: Sequence[Message], images: Sequence[str]) -> tuple[list[Message], bool]:
    """Return the earlier turns with the images where they were first given, and whether they were."""
    earlier, given = [], False
    for message in history:
        content = message["content"]
        if not isinstance(content, str) and any(part["type"] == "image" for part in content):
            message = _user(images, "\n".join(part["text"] for part in content if part["type"] == "text"))
            given = True
        earlier.append(message)
    return earlier, given


def percentages(opinion: Opinion) -> str:
    """Return an opinion as the generalist reads it of a tool."""
    return (_percentages(opinion.probabilities, {x: x for x in opinion.probabilities})
            + _validated(opinion.label, opinion.validated))


def _percent(share: float) -> int:
    return min(99, max(0, round(100 * share)))


def _quoted(options: Sequence[str]) -> str:
    return ", ".join(f'"{x} {o}"' for x, o in zip(letters(len(options)), options, strict=True))


def _published_rad(evidence: Evidence | None, named: Mapping[str, str]) -> str:
    if evidence is None or not evidence.rad:
        return ""
    labels = ", ".join(named.get(c.label, c.label) for c in evidence.rad)
    return f" The diagnoses of the most similar cases are: {labels}."


def _published_moed(evidence: Evidence | None, named: Mapping[str, str]) -> str:
    if evidence is None or not evidence.moed:
        return ""
    labels = ", ".join(named.get(o.label, o.label) for o in evidence.moed)
    return f" The diagnoses of the specialist models are: {labels}."


def _published_texts(evidence: Evidence) -> str:
    if not evidence.texts:
        return ""
    asked = any(t.question for t in evidence.texts)
    what = "questions and answers" if asked else "reports"
    return f" The {what} of similar cases are: {'; '.join(_cut(t.words).rstrip('.') for t in evidence.texts)}."


def _cut(words: str) -> str:
    """Return the words up to `TEXT_CHARACTERS`, with dots where some are left out."""
    if len(words) <= TEXT_CHARACTERS:
        return words
    return words[:TEXT_CHARACTERS - 3].rpartition(" ")[0].rstrip(".,;") + " ..."


def _published_open(evidence: Evidence) -> str:
    return (_published_rad(evidence, {}) + _published_moed(evidence, {}) + _published_texts(evidence)).strip()


def _percentages(probabilities: Mapping[str, float], names: Mapping[str, str]) -> str:
    ranked = sorted(probabilities, key=lambda label: -probabilities[label])
    shown = [label for label in ranked[:SHOWN_OPTIONS] if label in names]
    return ", ".join(f"{names[label]} {_percent(probabilities[label])}" for label in shown)


def _validated(label: str, validated: Mapping[str, float]) -> str:
    return f"; validated {_percent(validated[label])}" if label in validated else ""


def _lettered(evidence: Evidence | None, options: Sequence[str]) -> str:
    """Write the evidence with the options' letters, a line a specialist and a line a case."""
    if evidence is None:
        return ""
    names = dict(zip(options, letters(len(options)), strict=True))
    lines = ["Specialists:"] if evidence.moed else []
    lines += [f"{o.specialist}: {_percentages(o.probabilities, names)}{_validated(o.label, o.validated)}"
              for o in evidence.moed]
    if evidence.rad:
        lines += ["Similar cases:", *(f"{_percent(c.similarity)} {names.get(c.label, c.label)}" for c in evidence.rad)]
    elif evidence.no_similar_case:
        lines.append("Similar cases: none.")
    return "".join(line + "\n" for line in lines)


def _named(evidence: Evidence) -> str:
    """Write the evidence with the labels' names, for open questions."""
    lines = [f"{o.specialist}: {percentages(o)}" for o in evidence.moed]
    if evidence.rad:
        counted = Counter(c.label for c in evidence.rad).most_common()
        lines.append("similar cases: " + ", ".join(f"{n} {label}" for label, n in counted))
    elif evidence.no_similar_case:
        lines.append("similar cases: none")
    if evidence.texts or evidence.no_similar_text:
        lines.append(texts(evidence.texts))
    lines += [f"{r.specialist} refused: {r.reason}" for r in evidence.refusals[:3]]
    return "\n".join(lines)

