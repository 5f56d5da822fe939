"""Who answers the harness: a generalist alone, the whole consilium, and stand-ins of known skill.

They judge nothing. The stand-ins are for proof: what they must score is known before.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage

from assistant.assistant import Assistant, revisions
from assistant.collaboration.look import own_looks
from assistant.errors import ConsiliumError, ServerUnreachable
from assistant.evaluation.figures import MIN_COUNT
from assistant.evaluation.harness import Asked, Reply, Task, words
from assistant.evaluation.wrapped import TextOnly, index_of, named
from assistant.generalist.generalist import Generalist
from assistant.steps import Answer, Collaboration
from assistant.template import Message, decision, png_url
from specialists.core import registry
from specialists.core.study import Study

IMPOSSIBLE = -50.0
"""Log-probability of an option that a stand-in, or the consilium, gives no chance."""
STAND_INS = ("random", "majority", "truth")


class GeneralistAlone:
    """The generalist with the image and the question: no specialist, no similar case, no tool but those offered."""

    def __init__(self, generalist: Generalist | TextOnly) -> None:
        """Take an open generalist, or one that is shown no images."""
        self.generalist = generalist

    def name(self) -> str:
        """Return its kind and the identity of its weights."""
        looks = " with its look" if getattr(self.generalist, "look_record", None) else ""
        return f"alone {_identity(self.generalist.revision())}{looks}"

    def answer(self, questions: Sequence[Asked], images: Sequence[Sequence[Study]]) -> list[Reply]:
        """Score the questions with options together, and write the other answers together, by the tools offered."""
        asked = [filled(question.messages, studies) for question, studies in zip(questions, images, strict=True)]
        replies: dict[int, Reply] = {}
        for places in _alike(questions):
            part = [asked[place] for place in places]
            replies |= zip(places, self._together([questions[place] for place in places], part), strict=True)
        return [replies[place] for place in range(len(questions))]

    def _together(self, questions: Sequence[Asked], asked: Sequence[list[Message]]) -> list[Reply]:
        """Answer like questions in one call; where one of them cannot be asked, each in a call of its own."""
        try:
            return self._replies(questions, asked)
        except ServerUnreachable:
            raise
        except ConsiliumError as error:
            if len(questions) == 1:
                return [Reply(error=f"{type(error).__name__}: {error}")]
        return [self._together([question], [messages])[0] for question, messages in zip(questions, asked, strict=True)]

    def _replies(self, questions: Sequence[Asked], asked: Sequence[list[Message]]) -> list[Reply]:
        if questions[0].options:
            asked = [self._looked(question, messages) for question, messages in zip(questions, asked, strict=True)]
            scored = self.generalist.score_many(asked, [question.options for question in questions])
            return [best(scores) for scores in scored]
        tools = [dict(tool) for tool in questions[0].tools]
        return [_said(message) for message in self.generalist.reply_many(asked, tools=tools or None)]

    def _looked(self, asked: Asked, messages: list[Message]) -> list[Message]:
        """Return the prompt with its own look in it where it was validated on these options, as the assistant asks."""
        if not (asked.choices and asked.question and asked.images):
            return messages
        urls = [part["image_url"]["url"] for part in messages[-1]["content"] if part["type"] == "image_url"]
        look = own_looks(self.generalist, [urls], asked.kind, [asked.choices])[0]
        if look is None:
            return messages
        return decision(asked.question, urls, asked.choices, evidence=None, kind=asked.kind, look=look)


class Whole:
    """The whole consilium as a user asks it: triage, specialists, similar cases, generalist, arbiter.

    It offers its own tools alone: a question that brings tools is an error here.
    """

    def __init__(self, assistant: Assistant, collaboration: Collaboration = "full") -> None:
        """Take an assistant; its records get a trace of every answer."""
        self.assistant = assistant
        self.collaboration: Collaboration = collaboration

    def name(self) -> str:
        """Return its kind and the identity of all that an answer rests on."""
        rests = {"generalist": named(self.assistant.generalist.revision()), "specialists": revisions(registry.cards()),
                 "cases": {domain: index_of(domain) for domain in sorted(registry.domains())},
                 "texts": self.assistant.texts and self.assistant.texts.sha256,
                 "fitted": self.assistant.used_fit.json(), "collaboration": self.collaboration}
        return f"whole {_identity(rests)}"

    def answer(self, questions: Sequence[Asked], images: Sequence[Sequence[Study]]) -> list[Reply]:
        """Ask one question after the other; cases of the own group are never retrieved."""
        return [self._one(question, studies) for question, studies in zip(questions, images, strict=True)]

    def _one(self, asked: Asked, studies: Sequence[Study]) -> Reply:
        if asked.tools:
            return Reply(error="The consilium brings its own tools; wanted a question without any.")
        said = asked.choices or asked.options
        earlier = [message for message in asked.messages[:-1] if message["role"] != "system"]
        try:
            answer = self.assistant.ask(
                list(studies), words(asked), history=earlier, options=said or None, collaboration=self.collaboration,
                patient=asked.group.partition("/")[2] or None)
        except ServerUnreachable:
            raise
        except ConsiliumError as error:
            return Reply(error=f"{type(error).__name__}: {error}")
        return _answered(answer, dict(zip(said, asked.options, strict=True)))


class AtRandom:
    """Answers by the dice: a random option, or the right reply to a random question of the task."""

    def __init__(self, task: Task, questions: Sequence[Asked], seed: int = 0) -> None:
        """Take the questions that it will be asked, for replies of the right form."""
        self.seed = seed
        self._pool = _ideals(task, questions)

    def name(self) -> str:
        """Return its name with the seed."""
        return f"random {self.seed}"

    def answer(self, questions: Sequence[Asked], images: Sequence[Sequence[Study]]) -> list[Reply]:
        """Return replies that depend on the seed and the question alone."""
        return [self._one(question) for question in questions]

    def _one(self, asked: Asked) -> Reply:
        dice = random.Random(hashlib.sha256(f"{self.seed}|{asked.id}".encode()).hexdigest())
        if asked.options:
            shares = {option: dice.expovariate(1.0) for option in asked.options}  # uniform over the simplex
            total = sum(shares.values())
            return best({option: math.log(share / total) for option, share in shares.items()})
        return dice.choice(self._pool[_form(asked)])


class MajorityCopier:
    """Gives the most frequent right reply, whatever is asked and shown; among options, the most frequent of them."""

    def __init__(self, task: Task, questions: Sequence[Asked]) -> None:
        """Take the questions that it will be asked, to count their right replies."""
        self._most = {form: _most_frequent(replies) for form, replies in _ideals(task, questions).items()
                      if len(replies) >= MIN_COUNT or not form}

    def name(self) -> str:
        """Return its name."""
        return "majority"

    def answer(self, questions: Sequence[Asked], images: Sequence[Sequence[Study]]) -> list[Reply]:
        """Return the most frequent reply to questions of the same form; options that are rare have no majority: the
        first of them."""
        return [self._most.get(_form(q)) or sure(q.options[0], q.options) for q in questions]


class Truthful:
    """Knows the truth."""

    def __init__(self, task: Task) -> None:
        """Take the task that knows the right replies."""
        self.task = task

    def name(self) -> str:
        """Return its name."""
        return "truth"

    def answer(self, questions: Sequence[Asked], images: Sequence[Sequence[Study]]) -> list[Reply]:
        """Return the right replies."""
        return [self.task.ideal(question) for question in questions]


def stand_in(name: str, task: Task, questions: Sequence[Asked], seed: int = 0) -> AtRandom | MajorityCopier | Truthful:
    """Return the stand-in of this name, one of `STAND_INS`; none of them is worth a cache."""
    if name == "random":
        return AtRandom(task, questions, seed)
    if name == "majority":
        return MajorityCopier(task, questions)
    if name == "truth":
        return Truthful(task)
    raise ValueError(f"No stand-in named {name!r}; wanted one of {', '.join(STAND_INS)}.")


def best(scores: Mapping[str, float]) -> Reply:
    """Return the reply that names the most probable option."""
    return Reply(max(scores, key=lambda option: scores[option]), dict(scores))


def sure(option: str, options: Sequence[str]) -> Reply:
    """Return the reply of one who is sure of an option."""
    return Reply(option, {other: 0.0 if other == option else IMPOSSIBLE for other in options})


def filled(messages: Sequence[Message], studies: Sequence[Study]) -> list[Message]:
    """Return the messages with an image as the generalist gets it in place of each {"type": "image"} part."""
    waiting = [png_url(study) for study in studies]
    made = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            parts = [{"type": "image_url", "image_url": {"url": waiting.pop(0)}} if part["type"] == "image" else part
                     for part in content]
            message = {**message, "content": parts}
        made.append(message)
    if waiting:
        raise ValueError(f"{len(waiting)} of {len(studies)} images have no place; wanted an image part for each.")
    return made


def _alike(questions: Sequence[Asked]) -> list[list[int]]:
    """Return the places of questions that can be asked in one call: all with options, or with the same tools."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        kinds["options" if question.options else json.dumps(question.tools, sort_keys=True)].append(place)
    return list(kinds.values())


def _said(message: AIMessage) -> Reply:
    calls = [{"name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    calls += [{"name": call["name"] or "", "arguments": call["args"] or ""} for call in message.invalid_tool_calls]
    return Reply(message.text, tool_calls=tuple(calls))


def _answered(answer: Answer, replies: Mapping[str, str]) -> Reply:
    """Return an answer as a reply; `replies` are the options to score by what each says."""
    if not answer.options:
        return Reply(answer.text)
    scores = {replies[said]: math.log(share) if share > 0 else IMPOSSIBLE for said, share in answer.options.items()}
    return Reply(replies.get(answer.label or "", ""), scores)


def _ideals(task: Task, questions: Sequence[Asked]) -> dict[Any, list[Reply]]:
    found: dict[Any, list[Reply]] = defaultdict(list)
    for question in questions:
        found[_form(question)].append(task.ideal(question))
    return found


def _form(asked: Asked) -> tuple[str, ...]:
    """Return what questions share that can be answered alike: their options."""
    return tuple(sorted(asked.options))


def _most_frequent(replies: Sequence[Reply]) -> Reply:
    counted = Counter(json.dumps([reply.text, reply.tool_calls], sort_keys=True) for reply in replies)
    most = max(sorted(counted), key=lambda text: counted[text])
    return next(r for r in replies if json.dumps([r.text, r.tool_calls], sort_keys=True) == most)


def _identity(rests: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(named(rests), sort_keys=True, default=str).encode()).hexdigest()
