"""Talk about an earlier answer: why, how sure, who said what, is it not something else, in plain words.

It answers from what stands in the conversation alone; figures that do not stand there are not given.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from assistant import template
from assistant.steps import Evidence, Opinion
from assistant.wording import grammar
from instruct_data.dialogue import OPEN_QUESTIONS, opened, record, told, turns
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.kinds.evidence import given, others, weighable
from instruct_data.records import Record
from instruct_data.writers.templates import say

IN_ANSWER = 0.5
"""Share whose evidence stands in the answer, as an earlier answer of a served conversation, instead of before it."""
TWICE = 0.5
"""Share with two questions about the answer."""
CLEAR = 0.75
"""From this share of specialists and cases that agree on an answer is called sure."""

ABOUT = (*OPEN_QUESTIONS, "(What|Which diagnosis) is most likely( here|)?", "What (do you see|is this)?",
         "(Please report|Tell me) the (diagnosis|finding).")
WHY = ("Why( do you think so|)?", "(What makes you say that|What is that based on|How do you know)?",
       "(On what grounds|What is the evidence)?", "(Please explain|Explain) your answer.")
SURE = ("How (sure|certain|confident) are you( of that|)?", "(Are you sure|Is that certain)?",
        "How far can I trust (that|this)?")
SAID = ("What did the specialists say?", "(What|Which diagnosis) does each specialist (say|give)?",
        "(Tell me|Show me|List) the opinions of the specialists.")
WHO = ("(Which|Which of the) specialists disagreed?",
       "(Did any specialist|Does any specialist) (disagree|say otherwise)?",
       "Who (disagrees|said something else)?")
ALIKE = ("(What|Which) did the similar cases show?", "(And the|What about the) similar cases?",
         "(How many|Which) similar cases (were there|did you find)?")
SO = ("So it is {label}?", "(It is|This is) {label}, (right|is it not|then)?",
      "So (the diagnosis is|you say) {label}?",
      "(Then|So) (it must be|it could be) {label}?")
PLAIN = ("(Translate|Put|Say) (that|this|it) for (a patient|the patient)( please|).",
         "(How would you tell|What would you tell) the patient?", "(Please say|Say) (that|it) in plain words.")

NOBODY = ("No specialist was asked( here|), so I cannot say.",
          "(There is no opinion of a specialist|No specialist spoke) in this conversation.")
NO_CASES = ("No similar cases were looked up( here|).",
            "(There are no|I have no) similar cases in this conversation.")
YES = ("Yes(, most likely|): {label}.", "Yes, most likely {label}.", "(That is right|Right): most likely {label}.")
NO = ("No: most likely {label}, not {wrong}.",
      "(I do not think so|Rather not|Not likely): most likely {label}, not {wrong}.",
      "(I would not say {wrong}|{wrong} is less likely). Most likely {label}.")
LEAD = ("(From|By) the (image|look of the image), {label} (fits best|is the most likely).",
        "The image (fits|speaks for) {label}.",
        "(To me the image|The image) looks (most |)like {label}.")
CERTAIN = ("Fairly sure: {counts}.", "(Quite|Fairly) (sure|confident), since {counts}.",
           "As sure as the evidence: {counts}.")
UNCERTAIN = ("Not (very|really) sure: {counts}. A human should (look at it|check)( too|).",
             "(Somewhat|Rather) unsure: {counts}. (Please let|Let) a (doctor|human) check it.")
NO_FIGURE = ("I have no figure for that: (no specialist|nobody else) was asked. A human should check it.",)
ALL_SAY = ("None: all {count} say {label}.", "(Nobody|No specialist)( disagreed|): all {count} say {label}.")
ONLY_ONE = ("(There was only one|Only one was asked): {said}.",)
OTHERS = ("(Not all agree|There is disagreement|Against it): {said}.", "These (disagreed|said otherwise): {said}.")
ONE_OTHER = ("(Not all agree|There is disagreement|Against it): {said}.", "One (disagreed|said otherwise): {said}.")
LAY = (
    "In plain words: the image most likely shows {label}. {counts} Please (talk it over with|ask) your doctor, "
    "who knows more than an image.",
    "(We|The computer) looked at your image. It most likely shows {label}. {counts} Your doctor will "
    "(explain|tell you) what that means.",
    "Your image most likely shows {label}. {counts} That is no final diagnosis: your doctor (decides|has the last "
    "word).",
)


@dataclass(frozen=True)
class Told:
    """What the conversation holds: the label that was named, and what it rests on."""

    label: str
    labels: tuple[str, ...]
    """The set's labels of which one may be asked for wrongly."""
    evidence: Evidence

    @property
    def agree(self) -> int:
        """How many specialists named the label."""
        return sum(o.label == self.label for o in self.evidence.moed)

    @property
    def same(self) -> int:
        """How many similar cases carry the label."""
        return sum(c.label == self.label for c in self.evidence.rad)

    @property
    def parts(self) -> list[str]:
        """What specialists say, and what similar cases carry, each as a clause; [] without evidence."""
        found = []
        if self.evidence.moed:
            found.append(f"{self.agree} of {len(self.evidence.moed)} specialists say the same")
        if self.evidence.rad:
            found.append(f"{self.same} of {len(self.evidence.rad)} similar cases carry this label")
        return found

    def counts(self, *, end: str = "") -> str:
        """Return the clauses as one, with `end` after it; "" without evidence."""
        return " and ".join(self.parts) + end if self.parts else ""

    @property
    def support(self) -> float:
        """Return the mean share of specialists and of cases that agree."""
        counted = ((self.agree, len(self.evidence.moed)), (self.same, len(self.evidence.rad)))
        shares = [n / of for n, of in counted if of]
        return sum(shares) / len(shares) if shares else 0.0


Ask = Callable[[Told, random.Random], tuple[str, str]]


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield one conversation about an answer that names the image's label."""
    if not weighable(item):
        return
    opinions, cases = given([o for o in item.opinions if o.label in item.labels], others(item), rng)
    wrong = tuple(x for x in item.labels if x not in item.present)
    known = Told(item.label, wrong, Evidence(tuple(opinions), tuple(cases)))
    asked = [ask(known, rng) for ask in rng.sample(ASKS, 2 if rng.random() < TWICE else 1)]
    panel = rng.random() < IN_ANSWER
    shown = None if panel or known.evidence == Evidence() else known.evidence
    prompt = opened(say(ABOUT, rng), evidence=shown, kind=told(item, rng, 0.9))
    messages = turns(prompt, answered(known, item.kind, panel=panel), *asked)
    said = [facts.kind(item)] if item.kind else []
    yield record("earlier_answer", item, messages, facts=[*said, facts.diagnosis(item.label)])


def answered(known: Told, kind: str, *, panel: bool = False) -> str:
    """Return the answer that is talked about, with its counts, and with what each specialist said where `panel`."""
    counts = [f"{part}." for part in known.parts]
    told_by = [template.panel(known.evidence)] if panel and known.parts else []
    first = [f"This is a {kind} image."] if kind else []
    return " ".join([*first, f"Most likely {known.label}.", *counts, *told_by])


def _why(known: Told, rng: random.Random) -> tuple[str, str]:
    counts = known.counts(end=".")
    return say(WHY, rng), " ".join(filter(None, [say(LEAD, rng, label=known.label), counts]))


def _sure(known: Told, rng: random.Random) -> tuple[str, str]:
    if not known.parts:
        return say(SURE, rng), say(NO_FIGURE, rng)
    return say(SURE, rng), say(CERTAIN if known.support >= CLEAR else UNCERTAIN, rng, counts=known.counts())


def _said(known: Told, rng: random.Random) -> tuple[str, str]:
    if not known.evidence.moed:
        return say(SAID, rng), say(NOBODY, rng)
    return say(SAID, rng), " ".join(f"{o.specialist}: {_share(o)}." for o in known.evidence.moed)


def _who(known: Told, rng: random.Random) -> tuple[str, str]:
    opinions = known.evidence.moed
    against = [o for o in opinions if o.label != known.label]
    if not opinions:
        return say(WHO, rng), say(NOBODY, rng)
    if against:
        return say(WHO, rng), say(OTHERS if len(against) > 1 else ONE_OTHER, rng, said=_each(against))
    if len(opinions) == 1:
        return say(WHO, rng), say(ONLY_ONE, rng, said=f"{opinions[0].specialist} says {known.label}")
    return say(WHO, rng), say(ALL_SAY, rng, count=len(opinions), label=known.label)


def _alike(known: Told, rng: random.Random) -> tuple[str, str]:
    cases = known.evidence.rad
    if not cases:
        return say(ALIKE, rng), say(NO_CASES, rng)
    counted = [f"{n} {label}" for label, n in Counter(c.label for c in cases).most_common(2)]
    return say(ALIKE, rng), f"Of {len(cases)} similar cases: {grammar.listed(counted)}."


def _right(known: Told, rng: random.Random) -> tuple[str, str]:
    answer = [say(YES, rng, label=known.label), known.counts(end=".")]
    return say(SO, rng, label=known.label), " ".join(filter(None, answer))


def _wrong(known: Told, rng: random.Random) -> tuple[str, str]:
    others = [x for x in known.labels if x != known.label]
    if not others:
        return _right(known, rng)
    wrong = rng.choice(others)
    answer = [say(NO, rng, label=known.label, wrong=wrong), known.counts(end=".")]
    return say(SO, rng, label=wrong), " ".join(filter(None, answer))


def _plain(known: Told, rng: random.Random) -> tuple[str, str]:
    counts = ""
    if known.evidence.moed and not known.agree:
        counts = "The computer programs that looked at it say otherwise."
    elif known.evidence.moed:
        counts = f"{known.agree} of {len(known.evidence.moed)} computer programs that looked at it agree."
    return say(PLAIN, rng), say(LAY, rng, label=known.label, counts=counts)


def _each(opinions: Sequence[Opinion]) -> str:
    return grammar.listed([f"{o.specialist} says {_share(o)}" for o in opinions])


def _share(opinion: Opinion) -> str:
    return f"{opinion.label} ({min(99, round(100 * opinion.probabilities[opinion.label]))} %)"


ASKS: tuple[Ask, ...] = (_why, _sure, _said, _who, _alike, _right, _wrong, _plain)
"""What is asked of an answer."""
