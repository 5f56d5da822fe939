"""Call imagined tools, which no card describes: read what is on offer, copy name and arguments, or decline.

What a caller of the endpoint brings along is of this sort. Beside them stand specialists that do not help. Tools,
questions and results are drawn from a seed; nothing is said about any image.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.wording import grammar
from instruct_data import stand_ins
from instruct_data.dialogue import opened, record, told, turns
from instruct_data.items import Item, Library
from instruct_data.kinds.evidence import invented
from instruct_data.records import Record
from instruct_data.writers.templates import say

NONE_FITS = 0.2
"""Share of the questions that no tool on offer helps with."""
SEEN = 0.5
"""Share of the conversations that show an image."""
STRANGE = 0.4
"""Share of the names made of words that mean nothing."""
MOST = 3
"""Other imagined tools on offer, at most; and as many specialists."""

FIRST = ("renal", "cardiac", "ocular", "dental", "nasal", "spinal", "bone", "muscle", "blood", "fluid", "oxygen",
         "iron", "sodium", "sugar", "fat", "water", "heat", "light", "noise", "growth", "sleep", "pain", "stress",
         "fall", "bleeding", "infection", "radiation", "needle", "film", "tissue", "wound", "lens", "gait", "frailty")
SECOND = ("index", "score", "rate", "ratio", "risk", "loss", "need", "volume", "age", "reserve", "clearance", "gap",
          "surface", "level", "balance", "factor", "grade", "angle", "density", "pressure", "flow", "burden", "output")
INPUTS = {"age": "years", "heart rate": "bpm", "creatinine": "mg_dl", "length": "mm", "width": "mm", "depth": "mm",
          "temperature": "c", "pressure": "mmhg", "cell count": "per_ul", "hemoglobin": "g_dl", "glucose": "mg_dl",
          "tablets": "", "visits": "", "falls": "", "sodium": "mmol_l", "duration": "min", "distance": "cm",
          "thickness": "um", "slices": "", "cycles": "", "waist": "cm", "urine volume": "ml", "age at onset": "years"}
THINGS = ("blood test", "wheelchair", "bed", "ambulance", "second scan", "interpreter", "meal", "prescription", "ride",
          "printout", "follow-up call", "portable scanner", "swab", "culture", "biopsy kit", "pair of glasses")
PLACES = ("ward 3", "ward 7", "north wing", "south wing", "emergency room", "day clinic", "operating room", "archive",
          "heart center", "dental office", "front desk", "laboratory", "children's ward", "tumor board")
PHRASES = ("the lungs are clear", "no change since last year", "the wound heals well", "please drink more water",
           "the result is pending", "call me at noon", "take one tablet a day", "the scan was repeated",
           "mild swelling of the knee", "there is nothing to worry about", "the border is sharp", "keep the eye closed")
READERS = ("child", "surgeon", "nurse", "lawyer", "teacher", "pharmacist")

QUANTITY = (("What is the {thing}(,| if| when) {given}?", "{Given}. (Compute|Work out|Calculate) the {thing}.",
             "(Please |)(compute|calculate|estimate) the {thing} for {given}.", "The patient has {given}. {thing}?",
             "How (high|large|great) is the {thing} with {given}?", "I need the {thing}: {given}.",
             "{Given}: what (does that make|is) the {thing}?"),
            ("{Thing} from {names}.", "Computes the {thing} from {names}.", "{Thing}, by {names}.",
             "Gives the {thing} for {names}."))
ORDER = (("(Please |)(order|request|send) {a} (to|for) the {place} in {number} {unit}.",
          "The {place} needs {a} in {number} {unit}.", "(Can you|Could you) (get|arrange) {a} for the {place},"
          " {number} {unit} from now?"),
         ("Orders {a} for a place.", "Requests {a}.", "Sends {a} to a place of the hospital."))
TEXT = (('(Shorten|Rewrite|Simplify) "{text}" for a {reader}.', 'How would you say "{text}" to a {reader}?',
         '(Please |)(explain|put) "{text}" (in words for|for) a {reader}.'),
        ("Rewrites a text for a reader.", "Says a text in a reader's words.", "Simplifies a text."))
LOOKUP = (("(Look up|Find|Show) the {thing} of {code}.", "What is the {thing} of {code}?", "{code}: which {thing}?",
           "(I need|Get me) the {thing} (for|of) {code}( please|)."),
          ("{Thing} of a code.", "Looks up the {thing} of a patient code.", "Finds the {thing} by code."))
NO_TOOL = ("(No|None of the) (tool|tools) on offer can do that.", "(I have|There is) no tool for that( here|).",
           "That is not something that the tools on offer can do.")
SAID = ("The {thing} is {value}.", "{Thing}: {value}.", "(It|The tool) (gives|says) {value}.", "{value}.")


@dataclass(frozen=True)
class Imagined:
    """A tool, a question that it answers, and what it says."""

    schema: Mapping[str, Any]
    question: str
    arguments: Mapping[str, Any]
    result: str
    answer: str

    @property
    def name(self) -> str:
        """The name it is called by."""
        return str(self.schema["function"]["name"])


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield one question with imagined tools on offer."""
    drawn = {tool.name: tool for tool in (_drawn(rng) for _ in range(rng.randint(1, MOST) + 1))}
    asked, *others = drawn.values()
    helps = rng.random() >= NONE_FITS
    offered = [t.schema for t in ([asked, *others] if helps else others)]
    offered += [b.schema for b in stand_ins.distractors(item, rng.randint(0 if offered else 1, MOST), rng)]
    rng.shuffle(offered)
    seen = rng.random() < SEEN
    prompt = opened(asked.question, kind=told(item, rng, 0.85)) if seen else opened(asked.question, images=0)
    said = _called(prompt, asked) if helps else turns(prompt, say(NO_TOOL, rng))
    yield record("imagined_tools", item if seen else None, said, tools=offered)


def _called(prompt: Sequence[Mapping[str, Any]], asked: Imagined) -> list[dict[str, Any]]:
    call = {"id": "call_0", "type": "function", "function": {"name": asked.name, "arguments": dict(asked.arguments)}}
    return [*(dict(m) for m in prompt), {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": asked.name, "tool_call_id": "call_0", "content": asked.result},
            {"role": "assistant", "content": asked.answer}]


def _drawn(rng: random.Random) -> Imagined:
    return rng.choice((_quantity, _quantity, _order, _text, _lookup))(rng)


def _quantity(rng: random.Random) -> Imagined:
    thing = _thing(rng)
    names = rng.sample(sorted(INPUTS), rng.randint(1, 3))
    values = {n: rng.randint(1, 200) if rng.random() < 0.6 else rng.randint(10, 999) / 100 for n in names}
    given = grammar.listed([_given(n, values[n], rng) for n in names])
    keys = {n: "_".join(f"{n} {INPUTS[n]}".split()) for n in names}
    value = rng.randint(1, 999) if rng.random() < 0.5 else rng.randint(10, 999) / 10
    slots = {"thing": thing, "Thing": thing.capitalize(), "given": given, "Given": given[:1].upper() + given[1:],
             "names": grammar.listed(names), "value": value}
    schema = _schema(thing, say(QUANTITY[1], rng, **slots), rng, {keys[n]: {"type": "number"} for n in names})
    return Imagined(schema, say(QUANTITY[0], rng, **slots), {keys[n]: values[n] for n in names},
                    json.dumps({_key(thing): value}), say(SAID, rng, **slots))


def _order(rng: random.Random) -> Imagined:
    thing, places, number = rng.choice(THINGS), rng.sample(PLACES, rng.randint(2, 4)), rng.randint(2, 60)
    unit = rng.choice(("days", "hours", "minutes", "weeks"))
    slots = {"a": grammar.thing(thing), "place": places[0], "number": number, "unit": unit}
    question, description = say(ORDER[0], rng, **slots), say(ORDER[1], rng, **slots)
    arguments = {"place": places[0], unit: number}
    rng.shuffle(places)
    schema = _schema(f"{rng.choice(('order', 'request', 'send'))} {thing}", description, rng,
                     {"place": {"type": "string", "enum": places}, unit: {"type": "integer"}})
    return Imagined(schema, question, arguments, json.dumps({"done": True}),
                    say(("Done: {a} for the {place} in {number} {unit}.", "It is on its way."), rng, **slots))


def _text(rng: random.Random) -> Imagined:
    slots = {"text": rng.choice(PHRASES), "reader": rng.choice(READERS)}
    question, description = say(TEXT[0], rng, **slots), say(TEXT[1], rng, **slots)
    said = rng.choice(PHRASES)
    schema = _schema(rng.choice(("rewrite text", "simplify text", "explain to", "plain words")), description, rng,
                     {"text": {"type": "string"}, "reader": {"type": "string"}})
    return Imagined(schema, question, slots, said, say(("{said}", "For a {reader}: {said}"), rng, said=said, **slots))


def _lookup(rng: random.Random) -> Imagined:
    thing, code = _thing(rng), f"{rng.choice('ABCDKLMPX')}{rng.randint(10, 9999)}"
    value = rng.randint(1, 999)
    slots = {"thing": thing, "Thing": thing.capitalize(), "code": code, "value": value}
    schema = _schema(f"{rng.choice(('find', 'get', 'look up'))} {thing}", say(LOOKUP[1], rng, **slots), rng,
                     {"code": {"type": "string"}})
    return Imagined(schema, say(LOOKUP[0], rng, **slots), {"code": code}, json.dumps({_key(thing): value}),
                    say(SAID, rng, **slots))


def _given(name: str, value: float, rng: random.Random) -> str:
    unit = INPUTS[name].replace("_per_", "/").replace("per_", "/").replace("_", "/")
    return say(("{name} {value} {unit}", "{name} of {value} {unit}", "{value} {unit} of {name}", "{name}: {value}"),
               rng, name=name, value=value, unit=unit).lower()


def _thing(rng: random.Random) -> str:
    if rng.random() < STRANGE:
        return f"{invented(1, rng)[0]} {rng.choice(SECOND)}"
    return f"{rng.choice(FIRST)} {rng.choice(SECOND)}"


def _schema(words: str, description: str, rng: random.Random, properties: Mapping[str, Any]) -> dict[str, Any]:
    name = _key(words) if rng.random() >= STRANGE else f"{_key(words)}_{invented(1, rng)[0]}"
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {
        "type": "object", "properties": dict(properties), "required": list(properties)}}}


def _key(words: str) -> str:
    return "_".join(words.lower().replace("-", " ").replace("'", "").split())
