"""Where is it? A name answered with boxes, or with the word that it is not there; no box is made up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

from assistant.wording import grammar
from instruct_data import dialogue
from instruct_data.items import Item, Library
from instruct_data.kinds import facts, presence
from instruct_data.records import Record
from instruct_data.writers.templates import say

KIND = "visual_grounding"
IN_VAIN, IN_VAIN_UNMARKED = 0.5, 0.06
"""Share of the images asked for what they cannot show: of those with boxes, and of those without."""
MOST = 6
"""Boxes of an answer; of more regions the largest are shown, and the answer says so."""

WHERE = (
    "Where {be} {the}( on (this|the) {picture}|)?",
    "(Please |)(locate|find|box|outline|mark) {the}( on (this|the) {picture}| in the image|).",
    "(Please |)draw (a box|boxes) around {the}.", "Show me {the}( on this {picture}| with a box|).",
    "(Give|Return) the (bounding |)box(es|) of {the}.", "Can you (show|point out|box) {the}?",
    "(In which|What) part of the image {be} {the}? (Answer with a box|Give the box).",
    "(Ground|Detect) {the}( in the image|).",
    "(Do you|Can you) see {the}( here| on this image|)? (Then|If yes,) (mark|box|show) (it|the place).",
    "(Put|Place|Set) (a frame|a rectangle|a box) (on|over|round) {the}( please|).",
    "(Coordinates|Position|Location|Box) of {the}( please|)?",
    "(I am looking for|I cannot find|Where have you got) {the}.",
)
WHERE_ALL = (
    "Where are (the|all) {many}( on (this|the) {picture}|)?",
    "(Please |)(locate|find|box|mark) (all|every one of the|the)"
    " {many}.", "(Please |)draw (a box|boxes) around (all|each of the|the) {many}.",
    "Show me (all|the) {many}( with boxes|).", "(Give|Return) the (bounding |)boxes of (the|all) {many}.",
    "(Detect|List) (all|the) {many}( in the image|).",
)
WHERE_LARGEST = (
    "Where are the {count} largest {many}?", "(Please |)(locate|find|box|mark) the {count} largest {many}.",
    "Show me the {count} largest {many}( with boxes|).",
    "(Give|Return) the boxes of the {count} largest {many}.",
    "Where are the {many}? (Show|Box) (only |)the {count} largest.",
)
HERE = ("{boxes}", "(Here {be}|This is where you find) {the}: {boxes}", "{The} {be} here: {boxes}",
        "The (place|position|box) of {the}: {boxes}")
HERE_ALL = ("{boxes}", "Here are the {many}: {boxes}", "The {many} are here: {boxes}",
            "I (mark|box) {count}: {boxes}")
HERE_LARGEST = ("(Here|These) are the {count} largest {many}: {boxes}",
                "The {count} largest {many} are here: {boxes}",
                "The {count} largest {many}, largest first: {boxes}")


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield a record for each name on the image, and for names that are not there."""
    for name in sorted({r.name for r in item.regions}):
        yield _boxed(item, name, rng)
    for name in (*presence.absent(item), *(presence.elsewhere(item, library) if _in_vain(item) else ())):
        question = say(rng.choice((WHERE, WHERE_ALL)), rng, **_words(name, item))
        prompt = dialogue.opened(question, kind=dialogue.told(item, rng))
        answer = say(presence.NOT_THERE, rng, **presence.words(name, item))
        yield dialogue.record(KIND, item, dialogue.turns(prompt, answer), facts=[facts.absent(name)])


def _in_vain(item: Item) -> bool:
    """Tell whether an image is asked for what only other parts of the body show; always so for the same image.

    Were all images asked, most answers would deny, and a generalist learns to deny what is there (docs/log.md).
    """
    return sha256(item.image.encode()).digest()[0] < 256 * (IN_VAIN if item.regions else IN_VAIN_UNMARKED)


def _boxed(item: Item, name: str, rng: random.Random) -> Record:
    found = item.named(name)
    shown = found[:MOST]
    asked, answered = (WHERE, HERE) if len(found) == 1 else \
        (WHERE_ALL, HERE_ALL) if len(found) <= MOST else (WHERE_LARGEST, HERE_LARGEST)
    words = _words(name, item)
    words["count"] = grammar.counted(len(found), name) if len(found) <= MOST else str(MOST)
    words["boxes"] = f"{{boxes:{','.join(str(i) for i in range(len(shown)))}}}"
    prompt = dialogue.opened(say(asked, rng, **words), kind=dialogue.told(item, rng))
    said = [facts.present(name), *(facts.box(r) for r in shown)]
    return dialogue.record(KIND, item, dialogue.turns(prompt, say(answered, rng, **words)), facts=said,
                           boxes=[r.marked() for r in shown])


def _words(name: str, item: Item) -> dict[str, str]:
    the = grammar.the(name)
    many = f"areas of {name}" if grammar.last(name) in grammar.MASS else grammar.plural(name)
    return {"the": the, "The": the, "many": many, "be": grammar.be(name),
            "picture": grammar.picture(item.kind)}
