"""The way of one question, from its images to its answer; a Consultation is used once.

It chooses who is asked and puts the parts in order. What specialists, cases and arbiter do stands under
`collaboration`; the loop in `agent.py`; the words in `template.py`. It stores nothing.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from assistant import agent, template, tools
from assistant.collaboration import moed, rad
from assistant.collaboration.evidence import assemble
from assistant.collaboration.fitted import Fitted
from assistant.collaboration.look import own_looks
from assistant.collaboration.rad import SIMILAR_CASES, Retrieved
from assistant.collaboration.rotations import joined, rotations
from assistant.collaboration.shortlist import shortlist
from assistant.collaboration.texts import SIMILAR_TEXTS, Apart, Found, TextIndex, wants_report
from assistant.errors import BadReply, ToolsUnsupported
from assistant.generalist.boxes import corrected, read_back, told, without_places
from assistant.generalist.generalist import Generalist
from assistant.records import without_images
from assistant.scoping import scoping
from assistant.settings import LIMITS
from assistant.steps import (
    Answer,
    Declined,
    Evidence,
    Observation,
    Opinion,
    Question,
    Step,
    TextDelta,
    ToolCall,
)
from assistant.tools import Result
from assistant.wording import grammar
from specialists.core.findings import Box, Boxes, Classification, Finding, Instances, Masks, Refusal, Volumes
from specialists.core.scope import UNKNOWN

EMPTY = "I cannot tell."
GUESSED = "no specialist or similar case speaks of these options, and its own look was not validated on them"
"""Why a human is to decide where a small generalist, which learned to look in words, has a letter to go by alone."""
FIRST_ONLY = "Specialists and similar cases looked at the first image only."

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Weighed:
    """A decision between options."""

    label: str
    decided: Mapping[str, float]
    """The generalist's probabilities of the options."""
    believed: Mapping[str, float]
    """Calibrated ones."""
    confidence: float | None
    """That of the label; None where nothing was calibrated on such images."""
    reason: str | None
    """Why a human is to decide."""
    evidence: Evidence
    """What it rests on, with the arbiter's view."""


@dataclass
class Consultation:
    """One question on its way."""

    question: Question
    generalist: Generalist
    fitted: Fitted
    history: Sequence[Message] = ()
    seed: int = 0
    texts: TextIndex | None = None
    """Reports and answered questions to look among for open questions."""
    prompts: list[dict[str, Any]] = field(default_factory=list)
    """What the generalist was shown and, for decisions, what it gave; images by their hash."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """What tools and specialists were asked and answered."""

    def __post_init__(self) -> None:
        """Draw the images as the generalist gets them and set the order of the options."""
        self._began = time.perf_counter()
        self._urls = [template.png_url(study) for study in self.question.studies]
        self._image_names = {url: f"image:{study.sha256}"
                             for url, study in zip(self._urls, self.question.studies, strict=True)}
        size = self.question.studies[0].size
        places = [told(self.generalist.boxes, box, size, template.shown_size(size)) for box in self.question.regions]
        self._words = template.about(self.question.text, places)
        self._decided = self._words if self.question.options else template.about(template.DIAGNOSIS, places)
        self._shown = None if self.question.options is None else shown(self.question, self.seed)
        self._results: dict[str, Result] = {}
        self._declined: list[Declined] = []
        self._look: Opinion | None = None
        self.found: Found | None = None
        """What was looked for among the texts; None where nothing was."""

    def steps(self) -> Iterator[Step]:
        """Yield the steps of the question, the answer last."""
        yield self.question
        self._scoping = scoping(self.question, self.generalist.skill_kinds)
        self.fitted = self.fitted.of(self.domain)
        yield self._scoping.triaged
        if self.question.collaboration != "none":
            self._declined += self._scoping.declined
        yield from self._choose(self._shown) if self._shown is not None else self._write()

    @property
    def _kind(self) -> str | None:
        kind = self._scoping.triaged.kind
        return None if kind == UNKNOWN else kind

    @property
    def _untaught(self) -> bool:
        """The generalist says which kinds it was taught, and this is none: specialists are asked, it chooses none."""
        taught = self.generalist.taught_kinds
        return bool(taught) and self._scoping.triaged.kind not in taught

    @property
    def domain(self) -> str | None:
        """Domain whose specialists are asked, once triage has seen the image."""
        return self._scoping.triaged.domain

    # 1) a question with options: evidence, scores without and with it, a sentence

    def _choose(self, options: Sequence[str]) -> Iterator[Step]:
        if self.question.collaboration == "full":
            yield from self._consult_all()
        elif self.question.collaboration == "auto":
            free = self._consult_all() if self._untaught else self._loop()
            yield from (step for step in free if not isinstance(step, TextDelta))
        found = self._weighed(options, self._evidence())
        yield found.evidence
        reason, kind = self._out_of_scope() or found.reason, self._scoping.triaged.kind
        text = self._with_notes(template.sentence(found.label, found.confidence, found.evidence, kind), reason)
        yield TextDelta(text)
        known = found.evidence.arbiter is not None and found.confidence is not None
        answer = Answer(text=text, label=found.label, confidence=found.confidence, refer=reason is not None,
                        refer_reason=reason, kind=kind,
                        options={option: found.decided[option] for option in self.question.options or ()},
                        label_set=self.fitted.label_set(self.domain, found.believed, found.label) if known else None)
        yield self._finished(answer, found.evidence, ())

    def _weighed(self, options: Sequence[str], evidence: Evidence) -> Weighed:
        """Decide between options with the evidence."""
        self._look = own_looks(self.generalist, [self._urls], self._kind, [options])[0]
        alone = self._score("alone", [options], None)
        arbiter, told = self.fitted.arbiter, self.fitted.shown(self.domain, options, evidence)
        decided = self._decide(options, told, alone) if told.moed or told.rad else alone
        conflict = arbiter.conflict(alone, decided, evidence)
        pool = arbiter.pool(alone, evidence) if evidence.moed or evidence.rad else None
        evidence = replace(evidence, arbiter=pool, conflict=conflict)
        label = max(decided, key=decided.__getitem__)
        believed = arbiter.believed(alone, decided, evidence, conflict)
        sure = believed[label]
        guessed = pool is None and self._look is None and bool(self.generalist.look_record)
        known = self._kind is not None and self._scoping.triaged.source == "triage" and not guessed
        confidence = sure if known else None  # calibrated on known kinds and options: it says nothing of others
        reason = GUESSED if guessed else arbiter.refer_reason(sure, conflict, pool)
        return Weighed(label, decided, believed, confidence, reason, evidence)

    def _decide(self, options: Sequence[str], told: Evidence, alone: Mapping[str, float]) -> dict[str, float]:
        """Return the generalist's probabilities over all options with evidence; the published prompt names them all."""
        if self.question.style == "published":
            return self._score("decision", [options], told)
        short = shortlist(options, told, max(alone, key=alone.__getitem__))
        return short.whole(self._score("decision", rotations(short.options), short.evidence))

    def _score(self, purpose: str, orders: Sequence[Sequence[str]], evidence: Evidence | None) -> dict[str, float]:
        """Return the generalist's probabilities over the options, the mean over the orders that they are shown in."""
        prompts = [template.decision(self._decided, self._urls, order, evidence=evidence, style=self.question.style,
                                     kind=self._kind, look=self._look) for order in orders]
        letters = template.letters(len(orders[0]))
        found = []
        for order, messages, scores in zip(
                orders, prompts, self.generalist.score_many(prompts, [letters] * len(orders)), strict=True):
            shares = [math.exp(scores[letter]) for letter in letters]
            if not sum(shares) > 0 or not math.isfinite(sum(shares)):
                raise BadReply(f"The generalist's scores of the options are {scores}; wanted log-probabilities.")
            found.append({option: share / sum(shares) for option, share in zip(order, shares, strict=True)})
            self._record(purpose, messages, options=list(order), probabilities=found[-1])
        return joined(found)

    # 2) an open question: free text, alone, with all evidence, or after tools

    def _write(self) -> Iterator[Step]:
        if self._untaught:
            yield from self._cannot_tell()
            return
        said: list[str] = []
        told: Evidence | None = None
        weighed: Weighed | None = None
        if self.question.collaboration == "auto":
            yield from self._look_up()
        for step in self._loop() if self.question.collaboration == "auto" else self._free():
            if isinstance(step, TextDelta):
                said.append(step.text)
                if told != (told := self._evidence()):
                    yield told
                if self.generalist.taught_kinds:
                    continue  # a small generalist's counts are made true before anybody reads them
            yield step
        if self.generalist.taught_kinds and said:
            yield from self._heard("".join(said))
            text, weighed = self._made_true("".join(said))
            said = [text]
        evidence = weighed.evidence if weighed else self._evidence()
        if told != evidence:
            yield evidence
        if self.generalist.taught_kinds:
            yield from (TextDelta(piece) for piece in re.findall(r"\S+\s*", "".join(said)))
        written = "".join(said)
        if not written.strip():
            said.append(EMPTY)
            yield TextDelta(EMPTY)
        reason = self._out_of_scope() or (weighed.reason if weighed else None)
        notes = self._with_notes("", reason)
        if notes:
            said.append(f"\n\n{notes}")
            yield TextDelta(f"\n\n{notes}")
        size = self.question.studies[0].size
        located = self._located() if self.generalist.taught_kinds else {}
        boxes = [box for box in read_back(self.generalist.boxes, written, size, template.shown_size(size))
                 if box.label.lower() not in located]
        answer = Answer(text="".join(said), label=None, confidence=None, refer=reason is not None,
                        refer_reason=reason, kind=self._scoping.triaged.kind)
        yield self._finished(answer, evidence, boxes)

    def _heard(self, text: str) -> Iterator[Step]:
        """Ask those in scope whom a small generalist did not ask, where it says more than what kind of image this is.

        It calls the same one again and again, or nobody, and then writes of what it did not hear.
        """
        if self.question.collaboration == "auto" and self._scoping.made_for_it and not template.tells_kind(
                text, self._kind or ""):
            yield from self._rest_of_the_panel()

    def _made_true(self, text: str) -> tuple[str, Weighed | None]:
        """Return what a small generalist wrote, held to what others found, and the decision where one is made.

        Between letters it weighs the evidence better than in words (docs/gsco.md), so that the label is decided there.
        Of its sentences those stay that others back; boxes and counts of what was located are the specialist's.
        """
        question, size, weighed = self.question.text, self.question.studies[0].size, None
        evidence, kind = self._evidence(), self._kind or ""
        heard = bool(self._findings() or evidence.rad)
        text = template.own_words(text, heard=heard)
        if not heard:
            return text, None
        if kind and template.wants_kind(question):
            return text if template.tells_kind(text, kind) else f"This is {grammar.a(grammar.picture(kind))}.", None
        known = sorted({*(c.label for c in evidence.rad), *(label for o in evidence.moed for label in o.probabilities)})
        text, report = template.backed(text, kind, known, question), wants_report(question)
        placed, counted = template.wants_place(question), template.wants_number(question)
        if 1 < len(known) <= LIMITS.options and (report or not (placed or counted)):
            weighed = self._weighed(template.shuffled(known, self.question.studies[0].sha256), evidence)
        named = "" if report or template.tells_kind(text, kind) else kind
        told = template.sentence(weighed.label, weighed.confidence, weighed.evidence, named) if weighed else ""
        if report:
            return template.report(kind, self._measured(), told), weighed
        located = self._located()
        text = without_places(text, located) if self._lookers() else text
        text = corrected(self.generalist.boxes, text, located, size, template.shown_size(size))
        text = template.numbered(text, {name: len(boxes) for name, boxes in located.items()}, question)
        nowhere = placed and not located and "[" not in text
        parts = [self._nowhere() if nowhere else "", text, told or template.panel(evidence)]
        return " ".join(filter(None, [*parts, *(f"{words}." for words in self._measured())])), weighed

    def _located(self) -> dict[str, list[Box]]:
        """Return the boxes that specialists found, by their label in small letters."""
        frame, found = self.question.studies[0].key_frame, defaultdict[str, list[Box]](list)
        for finding in self._findings():
            if isinstance(finding, Boxes):
                drawn: Sequence[Box] = finding.boxes
            else:
                drawn = finding.shown(frame).boxes() if isinstance(finding, Masks | Volumes) else ()
            for box in drawn:
                found[box.label.lower()].append(box)
        return found

    def _nowhere(self) -> str:
        """Return why no place is told: nobody here looks for one, or who did found none; "" where there are some."""
        looked = self._lookers()
        if any(f.boxes if isinstance(f, Boxes) else f.boxes() for f in looked):
            return ""
        return template.not_found([f.specialist for f in looked]) if looked else template.NOWHERE

    def _lookers(self) -> list[Boxes | Masks | Instances | Volumes]:
        """Return what those said who look for places."""
        return [f for f in self._findings() if isinstance(f, Boxes | Masks | Instances | Volumes)]

    def _cannot_tell(self) -> Iterator[Step]:
        """Say that the generalist was not taught this kind of image, and what those say who were."""
        if self.question.collaboration != "none":
            yield from self._consult_all()
            yield from self._look_up()
        evidence = self._evidence()
        yield evidence
        seen = f"This looks like {self._kind}. " if self._kind and self._scoping.triaged.source == "triage" else ""
        told = " ".join(filter(None, [template.panel(evidence), *(f"{words}." for words in self._measured())]))
        reason = self._out_of_scope() or "the generalist was not taught this kind of image"
        words = f"I was not taught this kind of image{'. ' + told if told else ' and cannot tell more.'}"
        text = self._with_notes(f"{seen}{words}", reason if self._out_of_scope() else None)
        yield TextDelta(text)
        answer = Answer(text=text, label=None, confidence=None, refer=True, kind=self._scoping.triaged.kind,
                        refer_reason=reason)
        yield self._finished(answer, evidence, ())

    def _free(self) -> Iterator[Step]:
        """Write one text; a full collaboration puts its evidence before it."""
        def prompt() -> tuple[Sequence[Message], Sequence[Step]]:
            if self.question.collaboration == "none":
                return self._opening(None), ()
            steps = [*self._consult_all(), *self._look_up()]
            return self._opening(self._evidence()), steps

        yield from agent.run(self.generalist, (), agent.Collaboration(prompt, 1, self._seen))

    def _loop(self) -> Iterator[Step]:
        """Let the generalist call tools; when it cannot, ask everybody."""
        scope, study = self._scoping.triaged, self.question.studies[0]
        domain = None if SIMILAR_CASES in self.question.without else scope.domain
        offered = tools.langchain_tools(study, scope.in_scope, domain=domain, patient=self.question.patient)
        known = self._with_texts(Evidence()) if self.found is not None else None
        collaboration = agent.Collaboration(lambda: (self._opening(known), ()), LIMITS.model_calls, self._seen)
        collaboration.results = self._results
        try:
            yield from self._noted(agent.run(self.generalist, offered, collaboration))
            if self.generalist.taught_kinds and self._results:
                yield from self._rest_of_the_panel()
        except ToolsUnsupported as error:
            reason = f"{error} Every specialist in scope was asked instead."
            self._declined.append(Declined("generalist", reason))
            yield from self._consult_all()
            if self.question.options is None:
                prompt = self._opening(self._evidence())
                last = agent.Collaboration(lambda: (prompt, ()), 1, self._seen)
                yield from agent.run(self.generalist, (), last)

    def _rest_of_the_panel(self) -> Iterator[Step]:
        """Hear those in scope who were not asked yet."""
        asked = {r.finding.specialist for r in self._results.values() if r.finding is not None}
        for name in self._scoping.triaged.in_scope:
            if name not in asked:
                finding, seconds = moed.ask(name, self.question.studies[0])
                yield from self._observe(name, {}, Result(finding=finding, seconds=seconds))
        if not any(r.retrieved for r in self._results.values()):
            yield from self._similar()

    def _noted(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Keep what tools were asked and answered; part the texts of two rounds by an empty line."""
        asked: dict[str, ToolCall] = {}
        spoken, parted = False, False
        for step in steps:
            if isinstance(step, ToolCall):
                asked[step.id] = step
            elif isinstance(step, Observation):
                self._called(asked.get(step.call_id, ToolCall(step.call_id, step.name)), step)
                parted = spoken
            elif isinstance(step, TextDelta):
                if parted:
                    yield TextDelta("\n\n")
                spoken, parted = True, False
            yield step

    def _opening(self, evidence: Evidence | None) -> Sequence[Message]:
        return template.opening(self._words, self._urls, options=self._shown, evidence=evidence,
                                style=self.question.style, kind=self._kind,
                                history=[dict(message) for message in self.history])

    # 3) evidence

    def _consult_all(self) -> Iterator[Step]:
        """Ask every specialist in scope, and for similar cases."""
        scope, study = self._scoping.triaged, self.question.studies[0]
        for name in scope.in_scope:
            finding, seconds = moed.ask(name, study)
            yield from self._observe(name, {}, Result(finding=finding, seconds=seconds))
        yield from self._similar()

    def _similar(self) -> Iterator[Step]:
        """Look for similar cases."""
        domain, study = self._scoping.triaged.domain, self.question.studies[0]
        if domain is not None and SIMILAR_CASES not in self.question.without:
            retrieved = rad.similar(domain, study, LIMITS.neighbors, self.question.patient)
            result = Result(retrieved=retrieved, seconds=retrieved.seconds)
            yield from self._observe(SIMILAR_CASES, {"k": LIMITS.neighbors}, result)

    def _look_up(self) -> Iterator[Step]:
        """Look for similar texts; for a report also by what the specialists said so far."""
        if self.texts is None or SIMILAR_TEXTS in self.question.without:
            return
        labels = [f.label for f in self._findings() if isinstance(f, Classification)]
        apart = Apart.of(self.question.studies, self.question.patient)
        self.found = self.texts.look_up(self.question.text, LIMITS.texts, self._kind or "", apart, labels)
        asked = {"words": self.found.words, "kind": self.found.kind, "reports": self.found.reports}
        call = ToolCall("texts", SIMILAR_TEXTS, asked)
        said = template.texts(self.found.texts)
        observation = Observation(call.id, SIMILAR_TEXTS, said, seconds=self.found.seconds)
        self._called(call, observation)
        yield call
        yield observation

    def _with_texts(self, evidence: Evidence) -> Evidence:
        if self.found is None:
            return evidence
        return replace(evidence, texts=self.found.texts, no_similar_text=not self.found.texts)

    def _observe(self, name: str, arguments: Mapping[str, Any], result: Result) -> Iterator[Step]:
        call = ToolCall(f"all-{len(self._results) + 1}", name, arguments)
        self._results[call.id] = result
        observation = tools.observed(call.id, name, result, tools.say(result))
        self._called(call, observation)
        yield call
        yield observation

    def _findings(self) -> list[Finding]:
        """Return one finding a specialist, in the order in which the specialists stand in scope."""
        found = {r.finding.specialist: r.finding for r in self._results.values() if r.finding is not None}
        return [found[name] for name in self._scoping.triaged.in_scope if name in found]

    def _measured(self) -> list[str]:
        """Return in words what is no opinion: what was found where, counted, graded."""
        return [f.words() for f in self._findings() if not isinstance(f, Classification | Refusal)]

    def _evidence(self) -> Evidence:
        retrieved = [r.retrieved for r in self._results.values() if r.retrieved is not None]
        cases = retrieved[-1] if retrieved else Retrieved()
        return self._with_texts(assemble(moed.collect(self._findings()), cases, self._shown, self._declined))

    # 4) the end

    def _out_of_scope(self) -> str | None:
        scope = self._scoping.triaged
        if scope.source == "question" and scope.looks_like:
            return f"the question says {scope.kind}, the image looks like {scope.looks_like}"
        if self._scoping.made_for_it:
            return None
        if self._kind is None:
            told = self.question.studies[0].modality
            return "the kind of image is unknown" + (f" (the file says {told})" if told else "")
        return f"no specialist is made for this kind of image ({self._kind})"

    def _taken_for(self) -> str:
        """Return who told the kind of image, where that was not triage."""
        scope = self._scoping.triaged
        if scope.source == "adapter":
            return (f"Taken for {scope.kind}, the one kind that the adapter was taught beside those known; "
                    "nothing has checked that it is.")
        return f"Taken for {scope.kind}, as the question says." if scope.source == "question" else ""

    def _with_notes(self, text: str, reason: str | None) -> str:
        consulted = any(not isinstance(r.finding, Refusal) for r in self._results.values())
        several = consulted and len(self.question.studies) > 1
        notes = [text, self._taken_for(), FIRST_ONLY if several else "",
                 f"Refer to a human: {reason}." if reason else ""]
        return " ".join(note for note in notes if note)

    def _finished(self, answer: Answer, evidence: Evidence, boxes: Sequence[Box]) -> Answer:
        findings = tuple(f for f in self._findings() if not isinstance(f, Refusal))
        frame = self.question.studies[0].key_frame
        masks = tuple(f.shown(frame) for f in findings if isinstance(f, Masks | Instances | Volumes))
        detected = [box for f in findings if isinstance(f, Boxes) for box in f.boxes]
        apart = {f.specialist for f in findings if isinstance(f, Instances)}  # hundreds: boxes stay in the finding
        drawn = [box for mask in masks if mask.specialist not in apart for box in mask.boxes()]
        return replace(answer, findings=findings, boxes=(*boxes, *detected, *drawn), masks=masks,
                       evidence=evidence, seconds=time.perf_counter() - self._began)

    # 5) the trace

    def _seen(self, messages: list[dict[str, Any]]) -> None:
        self._record("call", messages)

    def _record(self, purpose: str, messages: Sequence[Message], **more: Any) -> None:
        named = without_images(messages, self._image_names)
        self.prompts.append({"purpose": purpose, "messages": named, **more})

    def _called(self, call: ToolCall, observation: Observation) -> None:
        finding = observation.finding.json() if observation.finding is not None else None
        self.calls.append({"name": call.name, "arguments": dict(call.arguments), "text": observation.text,
                           "finding": finding, "cases": [case.json() for case in observation.cases],
                           "error": observation.error, "seconds": observation.seconds})


def shown(question: Question, seed: int = 0) -> list[str]:
    """Return the options in the order shown, which depends on first image, options and seed alone."""
    options = question.options or ()
    return template.shuffled(options, "|".join([question.studies[0].sha256, *sorted(options), str(seed)]))
