"""Medical image analysis in several turns: kind, what is visible, where, how large or many, conclusion.

A turn is there only if the record knows its answer; fewer than three make no conversation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from assistant.wording import grammar
from instruct_data import dialogue
from instruct_data.items import Item, Library, Region
from instruct_data.kinds import counting, facts, image_kind, presence, report
from instruct_data.kinds.referring_captioning import placed, sized, told
from instruct_data.records import Marked, Record
from instruct_data.writers.templates import say

KIND = "image_analysis"
FEWEST = 3
MOST = 4
"""Boxes of an answer."""
IT = 0.5
"""Share of the questions for a place that say "it", where one thing alone was named."""
IN_WORDS = 0.5
"""Share of their answers that tell the place in words before the box."""

KINDS = ("What kind of (medical |)image is this?", "What am I looking at?",
         "(Let us|We) (begin|start)(. What is this image|: which kind of image is it)?",
         "(First, w|W)hat type of image is (this|it)?",
         "Which examination is this?", "Let us look at this image. What kind is it?")
VISIBLE = ("What (can you see|is visible|do you see|is shown|is marked)( on it|)?",
           "(And w|W)hat does it show?",
           "Which structures or findings (are there|do you see|are visible)?",
           "(Name|List) what you see( on it|).",
           "What (structures|things) can be made out?")
SHOWS = ("(The image|It) shows {things}.", "I (see|find) {things}( on it|).", "{Things}.",
         "What can be seen: {things}.")
WHERE = ("Where {be} {the}?", "(And w|W)here {be} {the}( exactly|)?", "(Show|Mark) {the} with a box.",
         "(Locate|Box) {the}.")
WHERE_IT = ("(And w|W)here (exactly |)(is it|do you (see|find) it)( on the image|)?",
            "(And its|Its) (place|position|location)?",
            "(In what|At which|In which) (place|region|area|corner|spot|section)( of the (image|picture)|) is it"
            "( found| located|)?",
            "(Whereabouts|Where on the (image|picture)) (is it|do I find it)?",
            "(Show|Point out|Mark) it( to me|)( please|).")
"""For the one thing that was named before."""
WHERE_MANY = ("Where are the {most} largest {many}?", "(Show|Mark) the {most} largest {many}.",
              "(Box|Locate) the {most} largest {many}.")
HERE = ("{The} {be} here: {boxes}", "Here: {boxes}", "{boxes}", "This is where {the} {be}: {boxes}")
LARGE = ("How large {be} {the}?", "How much of the image {does} {the} (take up|cover)?",
         "(And how|How) large {be} {the}, and (in which part"
         " of the image|where {does} {it} lie)?", "What (about|is) {its} size and position?")
CONCLUDE = ("What do you conclude?", "(So w|W)hat is your (impression|conclusion)?",
            "(What|And what) is the diagnosis?",
            "(Please |)(summarize|conclude).", "What is most likely?", "Your (impression|conclusion)?")
Turn = tuple[str, str, list[str], list[Marked]]


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield one conversation of three to five turns where so many are known."""
    found = [t for turn in (_kind, _taking, _visible, _where, _large, _conclusion) if (t := turn(item, rng))]
    if len(found) < FEWEST:
        return
    if len(found) > FEWEST + 2:
        found.pop(1)
    boxes: list[Marked] = []
    said, facts_said = [], []
    for question, answer, stated, marked in found:
        numbers = ",".join(str(len(boxes) + i) for i in range(len(marked)))
        said.append((question, answer.replace("{boxes}", f"{{boxes:{numbers}}}")))
        facts_said += stated
        boxes += marked
    first, *rest = said
    messages = dialogue.turns(dialogue.opened(first[0]), first[1], *rest)
    yield dialogue.record(KIND, item, messages, facts=list(dict.fromkeys(facts_said)), boxes=boxes)


def _kind(item: Item, rng: random.Random) -> Turn | None:
    return (say(KINDS, rng), image_kind.sentence(item, rng), [facts.kind(item)], []) if item.kind else None


def _taking(item: Item, rng: random.Random) -> Turn | None:
    """One thing about how it was taken."""
    if not item.attributes:
        return None
    name = sorted(item.attributes)[0]
    slots = image_kind.attribute_words(name, item.attributes[name], item, rng)
    asked, answered = image_kind.OF.get(name, image_kind.ANY)
    return say(asked, rng, **slots), say(answered, rng, **slots), [facts.attribute(name, item.attributes[name])], []


def _visible(item: Item, rng: random.Random) -> Turn | None:
    names = report.reported(item)
    if not names:
        missing = presence.absent(item)
        if not missing:
            return None
        text = f"There is {grammar.listed([f'no {n}' for n in missing])}."
        return say(VISIBLE, rng), text, [facts.absent(n) for n in missing], []
    things = [_amount(item, n) for n in names]
    text = say(SHOWS, rng, things=grammar.listed(things), Things=grammar.listed(things))
    said = [facts.present(n) for n in names] + [facts.count(n, item.counts[n]) for n in names if n in item.counts]
    return say(VISIBLE, rng), text, said, []


def _where(item: Item, rng: random.Random) -> Turn | None:
    region = main(item)
    if region is None:
        return None
    shown = item.named(region.name)[:MOST]
    many = len(item.named(region.name)) > len(shown)
    alone = len(shown) == 1
    if alone and report.reported(item) == [region.name] and not grammar.is_plural(region.name) and rng.random() < IT:
        return _where_it(region, rng)
    words = {"the": grammar.the(region.name if alone else grammar.plural(region.name)),
             "many": grammar.plural(region.name), "most": str(MOST), "boxes": "{boxes}",
             "be": grammar.be(region.name) if alone else "are"}
    if grammar.last(region.name) in grammar.MASS:
        words["be"] = "is"
    words["The"] = words["the"]
    if many:
        words["the"] = words["The"] = f"the {MOST} largest {grammar.plural(region.name)}"
    question = say(WHERE_MANY if many else WHERE, rng, **words)
    return question, say(HERE, rng, **words), [facts.box(r) for r in shown], [r.marked() for r in shown]


def _where_it(region: Region, rng: random.Random) -> Turn:
    """Ask for the place of what the turn before named, and answer with its box, in half with words before it."""
    words = {"the": "it", "The": "it", "be": "is", "boxes": "{boxes}"}
    said = f"{placed(region, rng)} {{boxes}}" if rng.random() < IN_WORDS else say(HERE, rng, **words)
    return say(WHERE_IT, rng), said, [facts.box(region)], [region.marked()]


def _large(item: Item, rng: random.Random) -> Turn | None:
    """Size and place of the only region of its name, or else a count."""
    region = main(item)
    if region is not None and len(item.named(region.name)) == 1:
        the, be = grammar.the(region.name), grammar.be(region.name)
        it = "they" if grammar.is_plural(region.name) else "it"
        text = f"{sized(region, rng, name=the)} {placed(region, rng, it)}"
        question = say(LARGE, rng, the=the, be=be, it=it, does="do" if be == "are" else "does",
                       its="their" if it == "they" else "its")
        return question, text, told(region), []
    if not item.counts:
        return None
    name = max(sorted(item.counts), key=lambda n: item.counts[n])
    words = {"many": grammar.plural(name), "picture": grammar.picture(item.kind)}
    return (say(counting.HOW_MANY, rng, **words), counting.counted(name, item.counts[name], item, rng),
            [facts.count(name, item.counts[name])], [])


def _conclusion(item: Item, rng: random.Random) -> Turn | None:
    held = presence.spoken(item)
    if not held and item.grade is None:
        return None
    said = [*map(facts.diagnosis, held), *([facts.grade(item)] if item.grade else [])]
    return say(CONCLUDE, rng), " ".join(report.impression(item, rng)), said, []


def main(item: Item) -> Region | None:
    """Return the region that a conversation goes into: the largest that is no plain anatomy, else the largest."""
    names = report.reported(item)
    odd = [n for n in names if not grammar.thing(n).startswith("the ")]
    return item.named((odd or names)[0])[0] if names else None


def _amount(item: Item, name: str) -> str:
    if name in item.counts:
        return grammar.counted(item.counts[name], name)
    return grammar.thing(name) if len(item.named(name)) == 1 else grammar.plural(name)
