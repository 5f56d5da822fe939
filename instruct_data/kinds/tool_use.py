"""Call specialists and similar cases as tools, read their answers, and answer: the steps of the real agent, recorded.

A teacher that knows the record decides. It chooses tools by their descriptions alone: among the tools offered are some
made for other kinds of image, names are invented in part, some tools fail. What tools answer is made by `stand_ins`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistant.collaboration.rad import SIMILAR_CASES
from assistant.wording import grammar
from instruct_data import recorded, stand_ins
from instruct_data.dialogue import OPEN_QUESTIONS, opened, record, told
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.kinds.evidence import invented, weighable
from instruct_data.kinds.refusal import too_far_reason
from instruct_data.recorded import Bound, Heard
from instruct_data.records import Marked, Record
from instruct_data.writers.templates import say
from specialists.core import registry
from specialists.core.findings import SINGULAR, TOLD, Refusal

RENAMED = 0.5
"""Share of the tools under an invented name."""
FAILING = 0.12
"""Share of the conversations in which a fitting tool fails or refuses."""
IN_TURN = 0.3
"""Share in which tools are called one after another instead of all at once."""
NONE_FITS = 0.2
"""Share of the questions for an opinion with no fitting tool, or none at all, on offer."""
PLAIN = 0.15
"""Share of the images about which a question is asked that needs no tool."""
CASES = 0.15
"""Share of the images of which the similar cases alone are asked for."""
OPTIONS = 0.3
"""Share of the questions for an opinion that name options."""
MOST_OTHERS = 4
"""Tools for other kinds of image on offer, at most."""
KS = tuple(range(1, 10))
NOUNS = ("net", "expert", "opinion", "reader", "model", "tool")

OPINION = (*OPEN_QUESTIONS, "(What is wrong|Is anything wrong|Is there anything abnormal) here?",
           "What can you tell me( about this image|)?", "Please report( on this image|).",
           "(Ask|Please ask|Consult) the specialists: (what is it|what is the diagnosis)?",
           "What do (the |)specialists (think|say)(| of this image)?",
           "(I would like|Let us have|We want) (an opinion|a specialist's view|someone who knows such images).",
           "(Ask|Consult|Call) (somebody|an expert|all) who (knows|can read) (this|such images).",
           "(Which|What) (condition|illness|disorder|label) (is this|would you call it|applies)?")
WHERE = ("Where is the {name}( on this image|)?",
         "(Please |)(find|locate|mark|box) the {name}( here| on this image|).",
         "(Show|Tell) me where the {name} is.", "Can you see {thing}, and where?",
         "How large is the {name}, and where is it?")
COUNT = ("How many {many} are (there|on this image)?", "(Please count|Count) the {many}( here| on this image|).",
         "What is the number of {many}?")
GRADE = ("What is the {scale}?", "(How far along|How advanced) is it, by {scale}?",
         "(Please grade|Grade) this image: {scale}.",
         "Which {scale} is (it|this)?")
KIND = ("(What|Which) kind of image is this?", "What (am I looking at|is shown here): which kind of image?",
        "(Name|Tell me) the (kind|type) of (this |)image.")
SIMILAR = ("What (do the {k} most similar cases show|are the {k} most similar cases)?",
           "(Look up|Find|Show me) the {k} most similar cases.",
           "(Which labels|What labels) do the {k} (nearest|most similar) cases carry?",
           "{k} (neighbors|cases like this one|precedents)( please|), (with|and) their (labels|diagnoses).",
           "(What was found|Which diagnosis was made) in the {k} cases (nearest to|most like) this( one|)?")
ONE_SIMILAR = ("What is the most similar case?", "(Look up|Find|Show me) the (most similar|nearest) case.")

MOSTLY = ("Most likely {label}.",)
ALONE = ("No specialist (here|on offer) is made for (this kind of image|a {kind} image). From the image alone: "
         "most likely {label}.",
         "(None of the specialists|No specialist) fits a {kind} image. From what I see: most likely {label}.")
NOBODY = ("(No specialist|None of the specialists) could answer. From the image alone: most likely {label}.",
          "The (specialists|tools) could not answer. From what I see, most likely {label}. A human should check it.")
COULD_NOT = ("No answer came from {name}.", "I got no answer from {name}.", "There is no answer from {name}.")
FOUND = ("The {name} is at {boxes}.", "The specialist finds the {name}: {boxes}.", "{boxes}",
         "Here is the {name}: {boxes}.")
FOUND_MANY = ("There are {count}: {boxes}.", "The specialist finds {count}: {boxes}.", "{boxes}",
              "I see {count}: {boxes}.")
NOT_FOUND = ("There is no {name}( on this image|).", "No {name}: the specialist (found|finds) none.",
             "(The specialist found|I see) no {name}.")
COUNTED = ("There {be} {count}.", "The specialist counts {count}.", "{count}.",
           "I count {count}, as the specialist does.")
GRADED = ("{scale} {level}.", "This is {scale} {level}.", "The specialist's grade fits: {scale} {level}.")
CANNOT = ("(I cannot tell|I cannot say): the specialist (for it |)(gave no answer|could not answer).",
          "The specialist could not answer, and I cannot measure it myself.")
SHOWS = ("This is a {kind} image.", "(It is|This is|You are looking at) a {kind} image.", "A {kind} image.")
CARRY = ("Of the {count} most similar cases: {labels}.", "The {count} most similar cases carry: {labels}.")
CARRIES = ("The most similar case carries the label {labels}.", "Of the most similar case: {labels}.")


@dataclass(frozen=True)
class Task:
    """What is asked, what a tool must be made for to help, and what the answer is."""

    question: str
    begins: tuple[str, ...] = ()
    """How the description of a fitting tool begins; () where no tool is needed."""
    about: str = ""
    """What a fitting tool's description must name; "" for anything."""
    k: int | None = None
    """Similar cases alone are asked for, so many."""
    facts: tuple[str, ...] = ()
    boxes: tuple[Marked, ...] = ()
    options: Sequence[str] | None = None
    answer: str = ""
    """In words where the tools answered; of an opinion the label that they are counted for."""
    without: str = ""
    """In words where no tool did; it says nothing of the image."""


@dataclass
class Teacher:
    """Knows the record; reads the tools' descriptions to choose, and their answers to count them."""

    item: Item
    task: Task
    offered: Sequence[Bound]
    rng: random.Random
    calls: list[list[tuple[str, Mapping[str, Any]]]] = field(init=False)
    """What is still to be called, round by round."""
    fitting: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Choose the tools by what their descriptions say."""
        self.fitting = tuple(t.name for t in self.offered if fits(t, self.task, self.item.kind))
        chosen: list[tuple[str, Mapping[str, Any]]] = [(name, self._arguments(name)) for name in self.fitting]
        in_turn = self.rng.random() < IN_TURN
        self.calls = [[call] for call in chosen] if in_turn else [chosen] if chosen else []

    def __call__(self, heard: Sequence[Heard]) -> str | Sequence[tuple[str, Mapping[str, Any]]]:
        """Return the next round of calls, or the answer."""
        return self.calls.pop(0) if self.calls else self._answer(heard)

    def _arguments(self, name: str) -> dict[str, Any]:
        if name != SIMILAR_CASES:
            return {}
        return {"k": self.task.k} if self.task.k else self.rng.choice(({}, {}, {"k": self.rng.choice(KS)}))

    def _answer(self, heard: Sequence[Heard]) -> str:
        if not self.task.begins:
            return self.task.answer if not self.task.k else _of_cases(heard, self.rng)
        told_by = [h for h in heard if not h.refused]
        missing = [say(COULD_NOT, self.rng, name=h.name) for h in heard if h.refused]
        if self.task.without:
            return self.task.answer if told_by else self.task.without
        if not told_by:
            return say(NOBODY if heard else ALONE, self.rng, label=self.task.answer, kind=self.item.kind)
        return " ".join([f"This is a {self.item.kind} image.", say(MOSTLY, self.rng, label=self.task.answer),
                         *_counts(told_by, self.task.answer), *missing])


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield a conversation for each thing about the image that tools can tell."""
    if not item.kind:
        return
    own = random.Random(f"tool_use/{item.sample.dataset}/{item.image}")
    opinions = stand_ins.opinion_tools(item) if weighable(item) else []
    measuring = stand_ins.measuring_tools(item, rng)
    similar = [stand_ins.similar_cases(item)] if item.cases and opinions else []
    known = [*opinions, *measuring, *similar]
    for task in [*_tasks(item, measuring, own, rng), *([_opinion(item, rng)] if opinions else [])]:
        if task.k and not similar:
            continue
        yield _recorded(item, task, known, rng)


def fits(tool: Bound, task: Task, kind: str) -> bool:
    """Tell from a tool's description alone whether it helps with a question about this kind of image."""
    if tool.name == SIMILAR_CASES:
        return task.k is not None or "Opinion" in task.begins
    says = stand_ins.read(tool.schema)
    return says is not None and says.begins in task.begins and says.kind == kind and (
        not task.about or task.about in says.names)


def _tasks(item: Item, measuring: Sequence[Bound], own: random.Random, rng: random.Random) -> Iterator[Task]:
    if own.random() < PLAIN:
        yield Task(say(KIND, rng), facts=(facts.kind(item),), answer=say(SHOWS, rng, kind=item.kind))
    if own.random() < CASES and item.cases:
        k = own.choice([k for k in KS if k <= len(item.cases)])
        yield Task(say(SIMILAR if k > 1 else ONE_SIMILAR, rng, k=k), k=k)
    for tool in measuring:
        says = stand_ins.read(tool.schema)
        if says is not None and says.begins == "How far along" and item.grade is not None:
            level = item.grade.levels[item.grade.value]
            yield Task(say(GRADE, rng, scale=item.grade.scale), (says.begins,), facts=(facts.grade(item),),
                       answer=say(GRADED, rng, scale=item.grade.scale, level=level), without=say(CANNOT, rng))
            continue
        label = own.choice(says.names) if says is not None else ""
        if says is not None and (task := _about(item, says.begins, label, own, rng)):
            yield task


def _about(item: Item, begins: str, label: str, own: random.Random, rng: random.Random) -> Task | None:
    """Return a question on where something is, or how many there are; None where it is nothing to point at."""
    name = SINGULAR.get(label, label)
    regions = item.named(name)
    number = item.counts.get(name, len(regions))
    if begins.startswith("How many") and (own.random() < 0.5 or len(regions) > TOLD):
        words = {"be": "is" if number == 1 else "are", "count": grammar.counted(number, name)}
        answer = say(COUNTED, rng, **words) if number else say(NOT_FOUND, rng, name=name)
        return Task(say(COUNT, rng, many=grammar.plural(name)), (begins,), label, answer=answer,
                    facts=(facts.count(name, number),), without=say(CANNOT, rng))
    asked = say(WHERE, rng, name=name, thing=grammar.thing(name))
    if not regions:
        return Task(asked, (begins,), label, answer=say(NOT_FOUND, rng, name=name), facts=(facts.absent(name),),
                    without=say(CANNOT, rng))
    if len(regions) > TOLD:
        return None
    boxes = "{boxes:" + ",".join(str(i) for i in range(len(regions))) + "}"
    words = say(FOUND if len(regions) == 1 else FOUND_MANY, rng, name=name, boxes=boxes,
                count=grammar.counted(len(regions), name))
    return Task(asked, (begins,), label, answer=words, facts=tuple(facts.box(r) for r in regions),
                boxes=tuple(r.marked() for r in regions), without=say(CANNOT, rng))


def _opinion(item: Item, rng: random.Random) -> Task:
    options = rng.sample(item.labels, len(item.labels)) if rng.random() < OPTIONS else None
    return Task(say(OPINION, rng), ("Opinion",), facts=(facts.kind(item), facts.diagnosis(item.label)),
                options=options, answer=item.label)


def _recorded(item: Item, task: Task, known: Sequence[Bound], rng: random.Random) -> Record:
    """Run the agent on the question and return what it did as a record."""
    offered, failed = _offered(item, task, known, rng)
    teacher = Teacher(item, task, offered, rng)
    prompt = opened(task.question, options=task.options, kind=told(item, rng, 0.85))
    messages, tools = recorded.run(prompt, offered, teacher)
    silent = bool(task.without) and failed
    return record("tool_use", item, messages, tools=tools, facts=() if silent else task.facts,
                  boxes=() if silent else task.boxes)


def _offered(item: Item, task: Task, known: Sequence[Bound], rng: random.Random) -> tuple[list[Bound], bool]:
    """Return the tools on offer, shuffled, and whether all that fit fail."""
    fitting = [t for t in known if fits(t, task, item.kind)]
    others = [t for t in known if not fits(t, task, item.kind) and rng.random() < 0.5]
    opinion = "Opinion" in task.begins
    if opinion and rng.random() < NONE_FITS:
        fitting = []
        others = [t for t in others if t.name != SIMILAR_CASES]
    elif opinion:
        fitting = rng.sample(fitting, rng.randint(1, len(fitting)))
    failed = 0
    if fitting and task.begins and rng.random() < FAILING:
        failed = rng.randint(1, min(2, len(fitting)))
        fitting = [*(stand_ins.failing(t, _failure(t.name, item, rng)) for t in fitting[:failed]), *fitting[failed:]]
    tools = [*fitting, *others, *stand_ins.distractors(item, rng.randint(0, MOST_OTHERS), rng)]
    names = [f"{word}_{rng.choice(NOUNS)}" for word in invented(len(tools), rng)]
    tools = [stand_ins.renamed(t, name) if t.name != SIMILAR_CASES and rng.random() < RENAMED else t
             for t, name in zip(tools, names, strict=True)]
    rng.shuffle(tools)
    return tools, failed == len(fitting) > 0


def _failure(name: str, item: Item, rng: random.Random) -> Refusal:
    """Return why a specialist gives no answer, in the words of serving."""
    card = registry.cards().get(name)
    if card is None or rng.random() < 0.5:
        error = rng.choice(("RuntimeError: out of memory", "MissingWeights: its weights are not there",
                            "TimeoutError: it took too long", "OSError: its file cannot be read"))
        return Refusal(name, f"failed with {error}")
    return Refusal(name, too_far_reason(card, rng))


def _counts(heard: Sequence[Heard], label: str) -> list[str]:
    """Return how many specialists and similar cases name the label, as read from what the tools said."""
    opinions = [h.text.rpartition("; validated")[0] or h.text for h in heard if h.name != SIMILAR_CASES]
    agree = sum(t.partition(", ")[0].rpartition(" ")[0] == label for t in opinions)
    said = [f"{agree} of {len(opinions)} specialists say the same."] if opinions else []
    labels = [x for h in heard if h.name == SIMILAR_CASES for x in _labels(h.text)]
    return [*said, f"{labels.count(label)} of {len(labels)} similar cases carry this label."] if labels else said


def _labels(text: str) -> list[str]:
    """Return the labels of similar cases as the tool wrote them: similarity in percent, label."""
    return [part.partition(" ")[2] for part in text.split(", ") if part[:1].isdigit()]


def _of_cases(heard: Sequence[Heard], rng: random.Random) -> str:
    labels = [x for h in heard for x in _labels(h.text)]
    if not labels:
        return "No similar case was found."
    counted = grammar.listed([f"{n} {x}" if len(labels) > 1 else x for x, n in Counter(labels).most_common()])
    return say(CARRY if len(labels) > 1 else CARRIES, rng, count=len(labels), labels=counted)
