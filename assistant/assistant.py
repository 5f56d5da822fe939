"""Assistant: ask one question, stream its steps, or hold a conversation; every answer leaves a trace.

It checks what it is given, opens the generalist when first needed and stores what happened. How an answer
comes about stands in `consultation.py`.
"""

from __future__ import annotations

import copy
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Unpack, get_args

from assistant.collaboration import fitted as fitting
from assistant.collaboration import rad, texts
from assistant.collaboration.fitted import Fitted
from assistant.collaboration.rad import SIMILAR_CASES
from assistant.collaboration.texts import SIMILAR_TEXTS, TextIndex
from assistant.consultation import Consultation
from assistant.errors import BadQuestion, ReplayDiffers
from assistant.generalist.adapters import check_name
from assistant.generalist.generalist import Generalist
from assistant.generalist.open import open_generalist
from assistant.records import Records, Turn, fresh_trace_id
from assistant.settings import LIMITS, paths
from assistant.steps import Answer, Collaboration, How, Question, Step, Style
from specialists.core import registry
from specialists.core.findings import Box, HeatMap
from specialists.core.occlusion import heat_map
from specialists.core.study import Study, read_study

TOLERANCE = 1e-4
"""By how much a probability may differ in a replay."""

Message = Mapping[str, Any]


class Assistant:
    """The consilium: a generalist, its specialists and similar cases. Threads may share one."""

    def __init__(self, model: str | None = None, *, generalist: Generalist | None = None,
                 home: Path | None = None, seed: int = 0, api_key: str | None = None,
                 texts: Path | TextIndex | None = None, adapters: Mapping[str, str | Path] | None = None) -> None:
        """Take what `open_generalist` takes (None: the embedded default), or an open generalist.

        `texts` is an index of reports and answered questions for open questions, as `consilium data texts` makes it
        (none ships, and by default none is used); raises BadData where it is none. `adapters` are skills by name:
        folders (PEFT), or the names that a server has them under; see `skilled`. What `consilium calibrate`
        fitted is read from consilium.json of the home, else what ships is used; raises BadFitted where that is damaged;
        see `with_fit`.
        """
        self.model, self.seed = model, seed
        self.adapters = {check_name(name): str(adapter) for name, adapter in (adapters or {}).items()}
        self.skill: str | None = None
        self.texts = texts if texts is None or isinstance(texts, TextIndex) else TextIndex.load(texts)
        own = paths(home).fitted
        self.fitted = fitting.load(own) if own.exists() else None
        self.records = Records(home)
        self._generalist, self._api_key, self._opening = generalist, api_key, threading.Lock()

    @property
    def generalist(self) -> Generalist:
        """The generalist, opened at its first use."""
        with self._opening:
            if self._generalist is None:
                self._generalist = open_generalist(self.model, api_key=self._api_key, seed=self.seed)
            return self._generalist

    @property
    def used_fit(self) -> Fitted:
        """What was fitted, for its domains; what ships for all others; each where it belongs to the generalist."""
        return fitting.chosen(self.fitted, self.generalist.revision())

    def with_fit(self, fitted: Path | Fitted | None) -> Assistant:
        """Return this assistant with what `consilium calibrate` wrote to a file (None: as it is); raises BadFitted."""
        if fitted is None:
            return self
        other = copy.copy(self)
        other.fitted = fitted if isinstance(fitted, Fitted) else fitting.load(fitted)
        return other

    def skilled(self, name: str) -> Assistant:
        """Return this assistant with one of its adapters over the generalist; the base stays in memory once."""
        if name not in self.adapters:
            raise BadQuestion(f"No adapter named {name!r}. Known: {', '.join(self.adapters) or 'none'}.")
        other = copy.copy(self)
        other.skill, other._generalist = name, self.generalist.with_adapter(self.adapters[name])
        return other

    def ask(self, images: Any, question: str, *, history: Sequence[Message] = (), **how: Unpack[How]) -> Answer:
        """Return the answer to one question; takes what `stream` takes."""
        return last(self.stream(images, question, history=history, **how))

    def stream(self, images: Any, question: str, *, history: Sequence[Message] = (), **how: Unpack[How]
               ) -> Iterator[Step]:
        """Yield the steps of one question, the answer last; raises BadQuestion or BadStudy before the first.

        `images` is one source or a list of them, each a path, bytes, an array, a PIL image or a Study; `how` are
        options, collaboration, style, without, patient, regions and kind, see `How`. `history` holds turns that came
        first, the latest `LIMITS.history_turns` of which count; no conversation is stored of them.
        """
        return self._steps(posed(question, read_images(images), how), latest(history))

    def chat(self, conversation_id: str | None = None, *, history: Sequence[Message] = (), owner: str | None = None
             ) -> Conversation:
        """Return a stored conversation, or a new one; `history` holds turns from elsewhere that came first.

        With an `owner` a new one belongs to that user, and raises ConversationNotFound for those of others.
        """
        if conversation_id is None:
            conversation_id = self.records.open_conversation(owner or "")
        if owner is not None:
            self.records.check_owner(conversation_id, owner)
        self.records.turns(conversation_id)  # raises ConversationNotFound
        return Conversation(self, conversation_id, history)

    def replay(self, trace_id: str) -> Answer:
        """Answer a traced question again and return that answer; raises TraceNotFound, ReplayDiffers.

        A trace of another model is replayed with that model, unless this assistant was given one; one with similar
        texts needs the same index, this assistant's or the folder that the trace names; one of an adapter is replayed
        with that adapter, unless this assistant is skilled in one.
        """
        trace = self.records.trace(trace_id)
        index = texts.of_trace(trace.get("texts"), self.texts)
        consultation = Consultation(self._traced(trace, index), self._generalist_of(trace), fitting.of_trace(trace),
                                    trace["history"], trace["seed"], index)
        answer = last(consultation.steps())
        found = difference(trace["answer"], answer.json())
        if found:
            raise ReplayDiffers(f"Trace {trace_id!r}: {found}.{self._causes(trace, consultation)}")
        return answer

    def again(self, trace_id: str, *, without: Sequence[str] = (), regions: Sequence[Box] | None = None
              ) -> Iterator[Step]:
        """Yield the steps of a traced question asked again: what if these had not been consulted, or the boxes moved?

        It has a trace of its own, and no conversation knows of it. `without` is left out beside what was left out;
        regions None are those of the trace. Raises TraceNotFound and BadQuestion before the first step.
        """
        trace = self.records.trace(trace_id)
        asked = self._traced(trace, self.texts)
        changed = replace(asked, without=asked.without | _names(without),
                          regions=asked.regions if regions is None else tuple(regions))
        return self._steps(checked(changed), trace["history"], repeats=trace.get("repeats") or trace_id)

    def heat_map(self, trace_id: str, specialist: str) -> HeatMap:
        """Return where the opinion that a specialist gave in a traced answer hangs on its first image.

        Raises TraceNotFound, RecordsError where the image is no longer kept, and BadQuestion where this specialist gave
        no opinion of its own. It takes about a hundred looks of that specialist.
        """
        trace = self.records.trace(trace_id)
        said = {one["specialist"] for one in trace["answer"]["evidence"]["moed"]}
        if specialist not in said or specialist not in registry.cards():
            raise BadQuestion(f"{specialist!r} gave no opinion on this question; wanted one of "
                              f"{', '.join(sorted(said)) or 'nobody'}.")
        return heat_map(registry.load(specialist), self.records.study(trace["images"][0]["key"]))

    def _traced(self, trace: Mapping[str, Any], index: TextIndex | None) -> Question:
        asked = trace["question"]
        patient = asked["patient_sha256"]
        return Question(
            asked["text"], tuple(self.records.study(image["key"]) for image in trace["images"]),
            _options(asked["options"]), asked["collaboration"], asked["style"],
            frozenset(asked["without"]), None if patient is None else _patient(patient, index),
            tuple(Box(box["label"], tuple(box["xyxy"])) for box in asked.get("regions", ())), asked.get("kind"))

    def _generalist_of(self, trace: Mapping[str, Any]) -> Generalist:
        if self.model is None and self._generalist is None and trace["model"] is not None:
            base = open_generalist(trace["model"], api_key=self._api_key, seed=trace["seed"])
        else:
            base = self.generalist
        adapter = trace["generalist"].get("adapter")
        if adapter is None or self.skill is not None:
            return base
        return base.with_adapter(self.adapters.get(trace.get("adapter") or "", str(adapter)))

    def _causes(self, trace: Mapping[str, Any], consultation: Consultation) -> str:
        now = consultation.generalist.revision()
        said = [] if now == trace["generalist"] else [f"the generalist was {trace['generalist']}, is {now}"]
        weights = revisions(trace["specialists"])
        said += [f"the specialist {name} has other weights" for name, sha in trace["specialists"].items()
                 if weights.get(name) != sha]
        return f" Since then {'; '.join(said)}." if said else ""

    def _steps(self, question: Question, history: Sequence[Message] = (), conversation: str | None = None,
               repeats: str | None = None) -> Iterator[Step]:
        trace_id, when = fresh_trace_id(), datetime.now(UTC).isoformat()
        consultation = Consultation(question, self.generalist, self.used_fit, history, self.seed, self.texts)
        for step in consultation.steps():
            if not isinstance(step, Answer):
                yield step
                continue
            answer = replace(step, trace_id=trace_id)
            keys = [self.records.keep(study) for study in question.studies]
            trace = self._trace(consultation, answer, keys, when)
            self.records.append(trace | ({"repeats": repeats} if repeats else {}), trace_id)
            if conversation is not None:
                turn = Turn(question.text, answer.text, trace_id, tuple(keys))
                self.records.add_turn(conversation, turn)
            yield answer

    def _trace(self, consultation: Consultation, answer: Answer, keys: Sequence[str], when: str
               ) -> dict[str, Any]:
        question = consultation.question
        patient = None if question.patient is None else rad.hashed(question.patient)
        return {
            "version": 1, "time": when, "seed": consultation.seed, "model": self.model,
            "generalist": consultation.generalist.revision(), "adapter": self.skill,
            "fitted": consultation.fitted.part(consultation.domain).json(),
            "specialists": revisions([call["name"] for call in consultation.calls] + ["triage"]),
            "images": [{"key": key, "sha256": study.sha256, "format": study.format, "frames": study.frames,
                        "size": list(study.size)} for key, study in zip(keys, question.studies, strict=True)],
            "question": {"text": question.text, "options": question.options and list(question.options),
                         "collaboration": question.collaboration, "style": question.style,
                         "without": sorted(question.without), "patient_sha256": patient,
                         "regions": [box.json() for box in question.regions], "kind": question.kind},
            "history": [dict(message) for message in consultation.history],
            "texts": texts.in_trace(consultation.texts, consultation.found),
            "prompts": consultation.prompts, "tools": consultation.calls, "answer": answer.json(),
        }


class Conversation:
    """Several questions, each knowing the ones before it; images stay until others are given."""

    def __init__(self, assistant: Assistant, identifier: str, history: Sequence[Message] = ()) -> None:
        """Continue the stored conversation of this identifier."""
        self.assistant, self.id, self._before = assistant, identifier, list(history)

    def ask(self, question: str, images: Any = None, **how: Any) -> Answer:
        """Return the answer; takes what `stream` takes."""
        return last(self.stream(question, images, **how))

    def stream(self, question: str, images: Any = None, **how: Unpack[How]) -> Iterator[Step]:
        """Yield the steps of the next question; without images it is about those of the last turn."""
        turns = self.assistant.records.turns(self.id)
        studies = read_images(images) if images is not None else self._images(turns)
        history = self.history if images is not None else self._with_images(turns)
        return self.assistant._steps(posed(question, studies, how), history, self.id)

    @property
    def history(self) -> list[Message]:
        """The turns so far as messages of text, oldest first; only the latest `LIMITS.history_turns`."""
        turns = self.assistant.records.turns(self.id)
        said = [({"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer})
                for turn in turns]
        return latest([*self._before, *(message for pair in said for message in pair)])

    def _with_images(self, turns: Sequence[Turn]) -> list[Message]:
        """The history with an image part in the first turn about the images that the last turn was about."""
        history = self.history
        same = len(list(takewhile(lambda turn: turn.images == turns[-1].images, reversed(turns))))
        if not turns or not turns[-1].images:
            return history
        first = max(0, len(history) - 2 * same)
        parts = [{"type": "image"}, {"type": "text", "text": history[first]["content"]}]
        return [*history[:first], {**history[first], "content": parts}, *history[first + 1:]]

    def _images(self, turns: Sequence[Turn]) -> tuple[Study, ...]:
        return tuple(self.assistant.records.study(key) for key in turns[-1].images) if turns else ()


def latest(history: Sequence[Message]) -> list[Message]:
    """Return as many of the latest messages as the generalist is shown."""
    return list(history)[-2 * LIMITS.history_turns:]


def last(steps: Iterator[Step]) -> Answer:
    """Run the steps to their end and return the answer."""
    answer = None
    for step in steps:
        answer = step
    if not isinstance(answer, Answer):
        raise RuntimeError("The steps ended without an answer.")
    return answer


def read_images(images: Any) -> tuple[Study, ...]:
    """Return the studies of one source or a list of them; raises BadStudy."""
    if images is None:
        return ()
    sources = list(images) if isinstance(images, list | tuple) else [images]
    if len(sources) > LIMITS.images:
        raise BadQuestion(f"Got {len(sources)} images; wanted at most {LIMITS.images}. Ask about fewer.")
    return tuple(read_study(source) for source in sources)


def posed(text: str, studies: tuple[Study, ...], how: How) -> Question:
    """Return a question as it was asked; raises BadQuestion, and TypeError for what `How` does not know."""
    given: dict[str, Any] = {**how, "options": _options(how.get("options")), "without": _names(how.get("without", ())),
                             "regions": tuple(how.get("regions", ())), "patient": _stripped(how.get("patient"))}
    return checked(Question(text, studies, **given))


def checked(question: Question) -> Question:
    """Return the question; raises BadQuestion that says what was got and what is wanted."""
    if not isinstance(question.text, str) or not question.text.strip():
        raise BadQuestion("The question is empty; wanted some text.")
    if len(question.text) > LIMITS.question_characters:
        raise BadQuestion(f"The question has {len(question.text):,} characters; wanted at most "
                          f"{LIMITS.question_characters:,}.")
    if not question.studies:
        raise BadQuestion("Got no image; wanted at least one: PNG, JPEG, TIFF, WebP, DICOM, NIfTI or array.")
    if question.options is not None:
        _check_options(question.options)
    for name, value, known in (("collaboration", question.collaboration, get_args(Collaboration)),
                               ("style", question.style, get_args(Style))):
        if value not in known:
            raise BadQuestion(f"Unknown {name} {value!r}; known: {', '.join(known)}.")
    _check_regions(question)
    _check_stated(question)
    if question.without:
        named = sorted(card.name for card in registry.cards().values() if card.task != "triage")
        unknown = sorted(question.without - {*named, SIMILAR_CASES, SIMILAR_TEXTS})
        if unknown:
            raise BadQuestion(f"No specialist named {', '.join(map(repr, unknown))} to leave out; known: "
                              f"{', '.join([*named, SIMILAR_CASES, SIMILAR_TEXTS])}.")
    return question


def _check_stated(question: Question) -> None:
    """Raise BadQuestion for a patient or kind of image that is no text; of a patient nothing but the type is told."""
    for name, value, such in (("patient", question.patient, "an identifier as text, such as 'p12'"),
                              ("kind of image", question.kind, "a few words, such as 'brain MRI'")):
        if not isinstance(value, str | None):
            raise BadQuestion(f"The {name} is of type {type(value).__name__}; wanted {such}, or None.")
    if question.kind is not None and not 1 <= len(question.kind.strip()) <= LIMITS.kind_characters:
        raise BadQuestion(f"The kind of image {question.kind[:40]!r}: wanted a few words, such as 'brain MRI', of at "
                          f"most {LIMITS.kind_characters} characters.")


def _check_regions(question: Question) -> None:
    if len(question.regions) > LIMITS.regions:
        raise BadQuestion(f"Got {len(question.regions)} regions; wanted at most {LIMITS.regions}. Ask about fewer.")
    width, height = question.studies[0].size
    for number, box in enumerate(question.regions, 1):
        x1, y1, x2, y2 = box.xyxy
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise BadQuestion(f"Region {number} is {list(box.xyxy)}; wanted left < right and top < bottom within "
                              f"{width} x {height} pixels. Draw it again.")


def _check_options(options: Sequence[str]) -> None:
    if not all(isinstance(option, str) and option for option in options):
        raise BadQuestion(f"Options {list(options)}: wanted texts, none of them empty.")
    if not 2 <= len(options) <= LIMITS.options:
        many = "option" if len(options) == 1 else "options"
        raise BadQuestion(f"Got {len(options)} {many}; wanted 2 to {LIMITS.options}, or none for an open question.")
    plain = [unicodedata.normalize("NFC", option).casefold() for option in options]
    twice = sorted({option for option, said in zip(options, plain, strict=True) if plain.count(said) > 1})
    if twice:
        raise BadQuestion(f"Options given more than once: {', '.join(twice)}; wanted each once.")


def _options(options: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(options, str):
        raise BadQuestion(f"Options {options!r} are one text; wanted a list of texts.")
    if options is None:
        return None
    return tuple(option.strip() if isinstance(option, str) else option for option in options)


def _stripped(patient: Any) -> Any:
    """Return an identifier as indexes keep it: blanks around it are a slip, and alone name nobody."""
    return patient.strip() or None if isinstance(patient, str) else patient


def _names(without: Sequence[str]) -> frozenset[str]:
    return frozenset([without] if isinstance(without, str) else without)


def _patient(digest: str, index: TextIndex | None) -> str | None:
    return rad.patient_hashed(digest) or (index.patient_hashed(digest) if index is not None else None)


def revisions(names: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of the weights of each named specialist that there is."""
    cards = registry.cards()
    return {name: str(cards[name].weights.get("sha256", "")) for name in sorted(set(names)) if name in cards}


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the first way in which two answers differ in more than rounding, None when they do not."""
    for name in ("kind", "label", "refer", "text"):
        if before[name] != after[name]:
            return f"{name} was {before[name]!r}, is {after[name]!r}"
    if set(before["options"]) != set(after["options"]):
        return f"options were {list(before['options'])}, are {list(after['options'])}"
    pairs = [(f"probability of {option}", value, after["options"][option])
             for option, value in before["options"].items()]
    for name, old, now in [*pairs, ("confidence", before["confidence"], after["confidence"])]:
        if (old is None) != (now is None) or (old is not None and abs(old - now) > TOLERANCE):
            return f"{name} was {old}, is {now}"
    return None
