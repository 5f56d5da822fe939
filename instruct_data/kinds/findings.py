"""An open question answered in sentences: kind of image, most likely finding, what the evidence says.

The answer keeps the words that serving reads: "Most likely X." and the counts of specialists and cases.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from assistant.steps import Case, Evidence, Opinion
from assistant.wording import grammar
from instruct_data import dialogue
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.kinds.evidence import given
from instruct_data.kinds.similar_texts import with_texts
from instruct_data.records import Record
from instruct_data.writers.templates import say

KIND = "findings"
QUESTIONS = (
    *dialogue.OPEN_QUESTIONS,
    "(What|What all|What exactly) (do (you|we)|(can|could|would) (you|we|one|a doctor)) (see|find|make out|read"
    "|recognize|discover|notice|spot)( here| (in|from) {image}|)?",
    "What (does|would|can) {image} (show|display|contain|reveal|present|suggest|tell|say)( me| us|)?",
    "(Which|What) (findings|structures|abnormalities|lesions|changes|signs|things) (are (there|visible|shown|present)"
    "|can be (seen|found|made out|noted)|does {image} (show|have|contain)|do you (notice|note|name|list))( here|)?",
    "What is (on|in|shown on|shown in|visible on|to be seen on|there on|going on in|the matter in|going on here in)"
    " {image}?",
    "What is (shown|visible|going on|the matter|depicted|pictured|seen|it that I see)( here|)?",
    "(Please|Could you|Could you please|Can you|Would you|I want you to|I would like you to|Kindly|Now|)"
    " (describe|interpret|read|assess|evaluate|analyze|examine|explain|look at|review|comment on|go over|summarize"
    "|look through|check|judge) {image}( for me| briefly| in a sentence| in your own words| as a whole| for us|).",
    "(Please|Could you|Can you|) (tell|show) (me|us) what (you (see|find|notice|make of (it|this))"
    "|there is( to see|)|is (there|to be seen|visible|shown|on it|important))( here| on {image}|).",
    "(Please|) (tell|inform) (me|us) (about|of) (the (findings|contents) (of|in) {image}|what {image} (holds|contains)"
    "|{image}).",
    "(Give|Write|Send|Make|I need|I want|I would like|May I have|Could I have|Let me have)( me|) (a|your|a short|a"
    " brief) (summary|description|reading|interpretation|impression|opinion|assessment|account|synopsis|outline|view)"
    "( of {image}| on this| of it|).",
    "(Is|Do you see|Can you see|Do you find|Would you say there is|Is there) (anything|something) (abnormal|wrong"
    "|unusual|suspicious|pathological|remarkable|striking|sick|worrying|to note)( here| on {image}|)?",
    "(What (looks|seems|is)|Does anything look) (wrong|unusual|suspicious|remarkable|odd|striking)( here|)?",
    "(Anything|Something) (to worry about|of note|special|abnormal|unusual)( here| on it|)?",
    "(How (do|would) you (read|interpret|understand)|What (do|would) you (make of|say about|think of)) {image}?",
    "What (would|should) (you|a report) (say|write|note|state|mention)( about {image}| here|)?",
    "(I (cannot|can't) read (it|this)|I do not understand {image}|Help me (understand|with|read) {image}"
    "|Please explain it)(. What is shown?|: what is there?|, please.)",
    "(What|How) about {image}?", "Your (thoughts|opinion|reading|impression|view)( on {image}|)?",
    "(Findings|Impression|Interpretation|Description|Reading|Result|Summary)( of {image}| please|)?",
    "Do you see a disease?", "(Healthy|Normal) or (not|sick|ill|abnormal)?", "(Main|Key|Relevant) (finding|findings)?",
    "(Look|Have a look)( at {image}|). (What do you (see|find|notice)?|Tell me what you (see|find|notice).)",
)
NO_MORE = "I cannot tell more from it."
IMAGE = "(this|the|this|my) (image|image|picture|scan|photo|file|study|one|examination)"
"""What people call it, in each question."""
TOLD, PUBLISHED = 0.8, 0.25
"""Shares of prompts that tell the kind of image, and that are worded in the published style."""


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield the answer from the image alone, and with evidence where there is some."""
    if not item.kind:
        return
    yield _record(item, (), (), library, rng)
    if item.opinions or item.cases:
        opinions, cases = given(item.opinions, item.cases, rng)
        if opinions or cases:
            yield _record(item, opinions, cases, library, rng)


def _record(item: Item, opinions: Sequence[Opinion], cases: Sequence[Case], library: Library, rng: random.Random
            ) -> Record:
    evidence = Evidence(moed=tuple(opinions), rad=tuple(cases)) if opinions or cases else None
    style = "published" if rng.random() < PUBLISHED else "calibrated"
    question = asked(rng)
    kind = dialogue.told(item, rng, TOLD)
    prompt = dialogue.opened(question, evidence=with_texts(evidence, question, item, library, rng), style=style,
                             kind=kind)
    if not evidence and doubtful(item):
        answer = f"This is {grammar.a(item.kind)} image. {NO_MORE}"
        return dialogue.record(KIND, item, dialogue.turns(prompt, answer), facts=[facts.kind(item)])
    said = [facts.kind(item), *facts.diagnoses(item)]
    if not item.labels:
        said += [facts.present(name) for name in seen(item)]
    return dialogue.record(KIND, item, dialogue.turns(prompt, spoken(item, opinions, cases)), facts=said)


def doubtful(item: Item) -> bool:
    """Tell whether every specialist that did not see the image in training names another label.

    A generalist that is taught to name what such an image shows learns to guess; it is taught to say that it cannot
    tell (refusal-aware tuning, Zhang et al., "R-Tuning", NAACL 2024, with the specialists in place of its own answers).
    """
    return bool(item.opinions) and all(opinion.label != item.label for opinion in item.opinions)


def asked(rng: random.Random) -> str:
    """Return an open question, as one of many people might ask it."""
    return say(QUESTIONS, rng, image=say(IMAGE, rng).lower())


def seen(item: Item) -> list[str]:
    """Return the names on the image, most regions first."""
    names = {r.name for r in item.regions} | {n for n, count in item.counts.items() if count}
    return sorted(names, key=lambda n: (-len(item.named(n)), n))


def spoken(item: Item, opinions: Sequence[Opinion], cases: Sequence[Case]) -> str:
    """Return the answer in sentences; it counts the evidence and never names more than the record knows."""
    said = [f"This is a {item.kind} image."] if item.kind else []  # as `template.looked` words it
    if not item.labels or not item.present:
        said = [f"This is {grammar.a(item.kind)} image."] if item.kind else []
        names = [_many(item, name) for name in seen(item)]
        known = f"It shows {grammar.listed(names)}." if names else ""
        return " ".join(filter(None, [*said, known, NO_MORE]))
    said.append(f"Most likely {item.label}.")
    if len(item.present) > 1:
        said.append(f"Also {grammar.listed(list(map(grammar.named, item.present[1:])))}.")
    if opinions:
        agree = sum(o.label == item.label for o in opinions)
        said.append(f"{agree} of {len(opinions)} specialists say the same.")
    if cases:
        same = sum(c.label == item.label for c in cases)
        said.append(f"{same} of {len(cases)} similar cases carry this label.")
    return " ".join(said)


def _many(item: Item, name: str) -> str:
    many = item.counts.get(name, len(item.named(name)))
    return grammar.thing(name) if many == 1 else grammar.plural(name)
