"""What can be wrong with one conversation, and with all conversations about one image; it reads no file and no image.

Every fault is one of `CHECKS`, with the record it was found in and what was found.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from instruct_data.records import PLACEHOLDER, Marked, Record, words
from instruct_data.writers.claims import yes_or_no
from instruct_data.writers.validator import COORDINATES

Severity = Literal["error", "warning"]
MOST_FORMS = 8
"""Records that may say the same fact of the same image."""

CHECKS: Mapping[str, tuple[Severity, str]] = {
    "box out of range": ("error", "corners beyond the image, not finite or in the wrong order"),
    "box without area": ("error", "less than a thousandth of the image wide or high"),
    "box mirrored": ("error", "the mirror image of the same thing's box elsewhere in the data"),
    "box not in the source": ("error", "the source has boxes of this name on the image, and this lies in none of them"),
    "placeholder to nowhere": ("error", "names a box or an image that the record lacks"),
    "slot left open": ("error", "braces of a template that nothing was put into"),
    "coordinates written out": ("warning", "numbers in place of a placeholder hold for one model family alone"),
    "empty turn": ("error", "no words, no call, no image"),
    "missing answer": ("error", "the conversation does not end with an answer"),
    "roles out of order": ("error", "wanted system, then user and assistant in turn, tools after their call"),
    "images miscounted": ("error", "image parts, images and sizes differ in number, or stand after the first question"),
    "tool not offered": ("error", "a call to a tool that is not in the list"),
    "broken tool call": ("error", "arguments that are no JSON object, or an answer to no call"),
    "question asked twice": ("warning", "within one conversation"),
    "the same conversation twice": ("error", "same images, same words"),
    "nearly the same words": ("warning", "two conversations about one image share nine word triples of ten"),
    "the same meaning": ("warning", "two conversations about one image, by sentence embeddings"),
    "too many forms of a fact": ("error", f"more than {MOST_FORMS} records say the same fact of the same image"),
    "contradiction": ("error", "two facts about one image that cannot both hold"),
    "excluded set": ("error", "a set that the generalist must never see, or that the manifest leaves out"),
    "wrong split": ("error", "another split than the manifest names"),
    "group on two sides": ("error", "a patient or near-duplicate group in two splits"),
    "image on two sides": ("error", "the same image in two splits"),
    "nearly the same image on two sides": ("error", "difference hashes of images in two splits are close"),
    "answer in the question": ("error", "the label that is asked for stands in the question, without other options"),
    "one answer prevails": ("warning", "most conversations of a kind and set have the same answer"),
    "image missing": ("error", "no such file"),
    "image unreadable": ("error", "cannot be decoded"),
}
"""Name of a check -> (severity, what it means)."""

ORDER = re.compile(r"s?(?:u(?:ct+)*a)+(?:ct*)?")
"""Roles as letters: system, user, assistant, c for an assistant that calls, tool; records may end with a call."""
SINGLE = frozenset({"kind", "grade", "view", "eye", "plane", "laterality"})
"""Facts of which an image has one value."""
TOLD = frozenset({"evidence", "weighing", "imagined", "tool_use", "earlier_answer", "comparison", "vqa", "report",
                  "bootstrapping"})
"""Kinds whose questions may name the label: by evidence, by an earlier answer, or because it is what they are about."""
LETTER = re.compile(r"\(?([A-Z])\)?[.:]?")


@dataclass(frozen=True)
class Fault:
    """Something wrong."""

    check: str
    record: str
    """Id of a record with it."""
    what: str

SLACK = 10
"""Thousandths that a box of a mask may lie outside the box that the source states: some pixels of a small image."""


def of_record(record: Record) -> Iterator[Fault]:
    """Yield what is wrong with one conversation by itself."""
    for check, what in (*_boxes(record), *_turns(record), *_pictures(record), *_tools(record)):
        yield Fault(check, record.id, what)


def of_image(records: Sequence[Record], labels: Mapping[str, frozenset[str]], several: frozenset[str],
             source: Sequence[Marked] | None = None) -> Iterator[Fault]:
    """Yield what is wrong between the conversations about one image.

    `labels` are the diagnoses of each set, `several` the sets of which an image may have more than one; `source` are
    the boxes that the source gives for the image, None where it is not at hand.
    """
    alone = [r for r in records if len(r.images) == 1]
    yield from _forms(records)
    yield from _mirrored(records, source)
    yield from _contradictions(alone, several)
    for record in records:
        yield from _leaks(record, labels.get(record.dataset, frozenset()))


def spoken(record: Record) -> str:
    """Return the words of user and assistant with their boxes in thousandths: equal where conversations are."""
    def written(match: re.Match[str]) -> str:
        numbers = [int(n) for n in match[2].split(",")]
        found = [record.boxes[n] for n in numbers if n < len(record.boxes)]
        return " ".join(f"{m.name} {' '.join(map(str, _thousandths(m)))}" for m in found)

    text = "\n".join(words(m) + _calls(m) for m in record.messages if m["role"] in ("user", "assistant"))
    return PLACEHOLDER.sub(written, text) if record.boxes else text


def answer(record: Record) -> str:
    """Return the answer in a form to be counted: a letter, yes or no, the diagnosis, or the words without numbers."""
    text = words(record.messages[-1]).strip() if record.messages else ""
    if letter := LETTER.fullmatch(text):
        return letter[1]
    told = [f for f in record.facts if f.startswith(("diagnosis: ", "grade: ", "kind: "))]
    return yes_or_no(text) or " + ".join(sorted(told)) or re.sub(r"[\d.,]+", "#", PLACEHOLDER.sub("#", text)).lower()


def _boxes(record: Record) -> Iterator[tuple[str, str]]:
    for marked in record.boxes:
        x1, y1, x2, y2 = marked.box
        if not all(math.isfinite(v) and -1e-6 <= v <= 1 + 1e-6 for v in marked.box) or x2 < x1 or y2 < y1:
            yield "box out of range", f"{marked.name} {marked.box}"
        elif min(x2 - x1, y2 - y1) < 1e-3:
            yield "box without area", f"{marked.name} {marked.box}"
        if not 0 <= marked.image < len(record.images):
            yield "placeholder to nowhere", f"box on image {marked.image} of {len(record.images)}"
    for message in record.messages:
        text = words(message)
        if "{" in text:
            far = [m[0] for m in PLACEHOLDER.finditer(text)
                   if max(map(int, m[2].split(","))) >= len(record.boxes)]
            yield from (("placeholder to nowhere", f"{f} for {len(record.boxes)} boxes") for f in far)
            if left := re.search(r"\{\w*\}|\{(?:boxes|region)\b(?!:\d+(?:,\d+)*\})", text):
                yield "slot left open", left[0]
        if message["role"] == "assistant" and (found := COORDINATES.search(text)):
            yield "coordinates written out", found[0]


def _turns(record: Record) -> Iterator[tuple[str, str]]:
    letters = ""
    for number, message in enumerate(record.messages):
        role, text = str(message.get("role", "")), words(message)
        calls = bool(message.get("tool_calls"))
        pictures = isinstance(message.get("content"), list) and any(p["type"] == "image" for p in message["content"])
        if not text.strip() and not calls and not (pictures and role == "user"):
            yield "empty turn", f"turn {number} ({role})"
        letters += "c" if role == "assistant" and calls else role[:1]
    if not letters or letters[-1] not in "ac":
        yield "missing answer", f"ends with {record.messages[-1]['role'] if record.messages else 'nothing'}"
    elif not ORDER.fullmatch(letters) and not re.fullmatch(r"s?(?:u(?:ct+)*a)*u(?:ct+)*c", letters):
        yield "roles out of order", ", ".join(str(m["role"]) for m in record.messages)
    asked = Counter(words(m).strip().lower() for m in record.messages if m["role"] == "user")
    yield from (("question asked twice", text[:80]) for text, n in asked.items() if n > 1 and text)


def _pictures(record: Record) -> Iterator[tuple[str, str]]:
    places = [i for i, m in enumerate(record.messages) if isinstance(m.get("content"), list)
              for p in m["content"] if p["type"] == "image"]
    if len(places) != len(record.images) or (record.sizes and len(record.sizes) != len(record.images)):
        yield "images miscounted", f"{len(places)} parts, {len(record.images)} images, {len(record.sizes)} sizes"
    first = next((i for i, m in enumerate(record.messages) if m["role"] == "user"), 0)
    if any(place != first for place in places):
        yield "images miscounted", "an image after the first question"


def _tools(record: Record) -> Iterator[tuple[str, str]]:
    offered = {t.get("function", t).get("name") for t in record.tools}
    called: set[Any] = set()
    for message in record.messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function", {})
            called.add(call.get("id"))
            if function.get("name") not in offered:
                yield "tool not offered", str(function.get("name"))
            if not _is_object(function.get("arguments")):
                yield "broken tool call", f"{function.get('name')}: {str(function.get('arguments'))[:60]}"
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            yield "broken tool call", f"an answer to {message.get('tool_call_id')}, which was not called"


def _is_object(arguments: object) -> bool:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError:
            return False
    return isinstance(arguments, dict)


def _forms(records: Sequence[Record]) -> Iterator[Fault]:
    told: Counter[tuple[str, ...]] = Counter()
    for record in records:
        for fact in set(record.facts):
            told[(*record.images, fact)] += 1
            if record.images and told[(*record.images, fact)] == MOST_FORMS + 1:
                yield Fault("too many forms of a fact", record.id, fact)


def _mirrored(records: Sequence[Record], source: Sequence[Marked] | None) -> Iterator[Fault]:
    """Yield boxes that are the mirror image of another record's box of that name, or of the source's."""
    seen: dict[str, dict[tuple[int, ...], set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        for marked in record.boxes:
            if marked.image == 0:
                seen[marked.name][_thousandths(marked)].add(record.id)
    for name, boxes in seen.items():
        own = [_thousandths(m) for m in source or () if m.name == name]
        for box, ids in boxes.items():
            other = (1000 - box[2], box[1], 1000 - box[0], box[3])
            if own and not any(_within(box, o, SLACK) for o in own):
                turned = any(_within(other, o, SLACK) for o in own)
                yield Fault("box mirrored" if turned else "box not in the source", min(ids), f"{name} {list(box)}")
            elif not _near(box, other, 20) and any(
                    _near(other, o, 1) and not ids & boxes[o] for o in boxes):
                yield Fault("box mirrored", min(ids), f"{name} {list(box)}")


def _thousandths(marked: Marked) -> tuple[int, ...]:
    return tuple(round(1000 * v) if math.isfinite(v) else -1 for v in marked.box)


def _near(one: Sequence[int], other: Sequence[int], most: int) -> bool:
    return all(abs(a - b) <= most for a, b in zip(one, other, strict=True))


def _within(one: Sequence[int], other: Sequence[int], most: int) -> bool:
    """Tell whether a box lies in another, as a connected part does in the box that a source gives its whole mask."""
    return (one[0] >= other[0] - most and one[1] >= other[1] - most and one[2] <= other[2] + most
            and one[3] <= other[3] + most)


def _contradictions(records: Sequence[Record], several: frozenset[str]) -> Iterator[Fault]:
    """Yield facts of one image that cannot both hold, each once."""
    told: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        for fact in record.facts:
            for key, value in _stated(fact, record.dataset in several):
                clash = next((v for v in told[key] if v != value), None)
                if clash is not None and value not in told[key]:
                    yield Fault("contradiction", record.id, f"{key}: {value} and {clash} (in {told[key][clash]})")
                told[key].setdefault(value, record.id)


def _stated(fact: str, several: bool) -> Iterator[tuple[str, str]]:
    """Yield what a fact states as (of what, value); two values of one thing contradict."""
    kind, _, rest = fact.partition(": ")
    if kind in ("present", "absent"):
        yield f"there is {rest.lower()}", kind
    elif kind == "box":
        yield f"there is {rest.rsplit(' ', 4)[0].lower()}", "present"
    elif kind == "diagnosis":
        yield f"there is {rest.lower()}", "present"
        if not several:
            yield "diagnosis", rest
    elif kind == "count" and rest.rsplit(" ", 1)[-1].isdigit():
        yield f"count of {rest.rsplit(' ', 1)[0]}", rest.rsplit(" ", 1)[1]
    elif kind in SINGLE:
        yield kind, rest


def _leaks(record: Record, labels: frozenset[str]) -> Iterator[Fault]:
    """Yield answers that stand in their question: the diagnosis, or the kind of image where that is asked."""
    if record.kind in TOLD:
        return
    wanted = [f.removeprefix("diagnosis: ") for f in record.facts if f.startswith("diagnosis: ")]
    kinds = [f.removeprefix("kind: ") for f in record.facts if f.startswith("kind: ")]
    wanted += kinds if record.kind == "image_kind" else []
    said, question = "", ""
    for message in record.messages:
        text = words(message)
        if message["role"] == "user":
            question = text
        elif message["role"] == "assistant":
            leaked = [w for w in wanted if _holds(question, w, w not in kinds) and _holds(text, w)
                      and not _holds(said, w) and not yes_or_no(text)]
            if leaked and not any(_holds(question, x) for x in labels - set(wanted)) and " or " not in question:
                yield Fault("answer in the question", record.id, f"{leaked[0]}: {question[-80:]}")
                return
            said += text + "\n"


def _holds(text: str, name: str, last_line: bool = False) -> bool:
    text = text.rsplit("\n", 1)[-1] if last_line else text
    at = text.lower().find(name.lower())
    return at >= 0 and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _calls(message: Mapping[str, Any]) -> str:
    return json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
