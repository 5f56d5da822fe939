"""Which kind of image is it, and how was it taken? In a sentence, or as a letter among other kinds."""

from __future__ import annotations

import random
from collections.abc import Iterator

from assistant import template
from assistant.wording import grammar
from instruct_data import dialogue
from instruct_data.items import Item, Library
from instruct_data.kinds import facts
from instruct_data.records import Record
from instruct_data.writers.templates import say
from specialists.datasets.kinds import KINDS

KIND = "image_kind"
LETTERED = 0.3
"""Share of questions for the kind that are answered by a letter."""

QUESTIONS = (
    "What kind of (medical |)image is this?",
    "(Which|What) modality and (organ|body part) (is|are) (shown|seen)( here|)?",
    "What am I looking at?", "(Describe|Name|Give|Tell me) the (kind|type) of (medical |)image.",
    "What (type|kind|sort) of (medical |)image is (it|this|shown)?",
    "(Which|What) examination (is this|does the image come from)?",
    "(Identify|Recognize) the (modality|kind of image).",
    "(What|Which) (device|machine|technique|method|apparatus) (made|took|produced) (this|the image|this picture)"
    "( and|,) (of what|of which organ|of which body part|what does it show)?",
    "(How|By what|With which (device|machine)) was (this|it|the picture|this image) (made|taken|recorded|acquired)"
    "(,| and) (what (does it|do we) (show|see)|what of|of which (organ|part|region))?",
    "(What|Which) (organ|part of the body|region|anatomy|structure) is (it|this|imaged|shown),? (and|) (how|by what)"
    " (was it|is it) (imaged|taken|seen)?",
    "(Is this|Is it) (a photograph|an X-ray|a scan|an ultrasound|a slide|MRI|CT) or (what|something else)?",
    "(Please |)(tell me|say|explain|write down|note) what (sort of|kind of|) (scan|picture|photo|image|file|study"
    "|thing) (this|it) is.",
    "(I do not know|I have no idea|Nobody knows|It is not written) what (this|it|the file) is(. Do you|; do you"
    "|. Can you tell|. Help me)?", "What (have I got|do I have|is in this file|did I upload|do you recognize)( here|)?",
    "(Sort|File|Classify|Label) this (image|file|picture) by (modality|what it is|device and organ"
    "|modality and organ).",
    "(Medical |)image of what( and how taken|)?", "What is (this|it)?", "(Image|Picture|Scan) type?",
    "(Which|What) (branch|specialty|department) would (this|such an image) (come from|belong to), and what is it?",
    "(Put|Give|Write) (a name|a title|a caption) to (this|the image)( by how it was taken|).",
    "(What|Which) (examination|study|investigation) (was done|has been done|is it)( and of which part|)?",
    "(Modality|Device)( and (organ|region|body part)|)?",
)
SAID = ("(This|It) is {a} {picture}.", "{A} {picture}.", "You are looking at {a} {picture}.",
        "What you see is {a} {picture}.",
        "(The image|It) is {a} {kind}.")
"""The last is for kinds that are called an image by themselves: "chest X-ray"."""
OF = {
    "view": (("(Which|What) (view|projection) is this( {picture}|)?",
              "Is this (X-ray |image |){first} or {second}?",
              "(In which projection was this taken|What is the projection of this image)?",
              "Name the (view|projection)."),
             ("(This|It) is {a} view.", "The (view|projection) is {value}.",
              "The image was taken in {value} projection.")),
    "position": (("In which position was the patient( imaged|)?", "Was the patient standing or lying?",
                  "What was the patient's position?"),
                 ("The patient was {value}.", "The image was taken with the patient {value}.")),
    "eye": (("Which eye is (this|shown|it)?", "Is (this|it) the left or the right eye?", "Left or right eye?",
             "(Tell me|Say) which eye (this is|is shown).", "From which eye is this {picture}?"),
            ("(This|It) is the {value} eye.", "The image shows the {value} eye.", "The {value} eye.",
             "This {picture} is of the {value} eye.")),
    "side": (("Which side of the body is (this|shown)?", "Is (this|it) the left or the right (side|one)?",
              "Left or right?",
              "(Tell me|Say) which side (this is|is shown).", "Which side does this {picture} show?"),
             ("(This|It) is the {value} side.", "The image shows the patient's {value} side.",
              "The {value} side.")),
    "plane": (("(Which|What) plane is this?", "In which plane (is|was) (this image|the slice|it) (taken|cut)?",
               "Name the (plane|orientation) of the slice."),
              ("(This|It) is {a} slice.", "The plane is {value}.", "The (image|slice) is {value}.")),
    "contrast": (("Was contrast (medium |)(given|used)?", "Is (this|it) with or without contrast?",
                  "(With or without|Contrast or no) contrast?",
                  "(Tell me|Say) whether contrast was (given|used)."),
                 ("(This|The image) was taken {value}.", "The {picture} was made {value}.")),
    "site": (("(Where on|From which part of) the body (is|was) this( taken|)?",
              "(Which|What) (body |)site is this( from|)?",
              "Name the (body |)site."),
             ("The site is the {value}.", "(This|The image) is from the {value}.", "The {value}.")),
    "microscopy": (("(Which|What) (kind|type) of microscopy is this?", "How was this (slide|sample) imaged?",
                    "Is (this|it) fluorescence or brightfield( microscopy|)?"),
                   ("(This|It) is {value} microscopy.", "The image was made by {value} microscopy.")),
    "body part": (("(Which|What) (part of the body|body part|region) is (this|shown|imaged)?",
                   "Name the body part( shown|).",
                   "(What part|Which region) of the body do you see?"),
                  ("(This|It) is the {value}.", "The image shows the {value}.", "The {value}.")),
}
"""Questions and answers by attribute."""
ANY = (("What is the {name}( of this image|)?", "(Name|Give|Tell me) the {name}."), ("The {name} is {value}.",))
PAIRS = {"PA": "AP", "AP": "PA", "AP SUPINE": "PA"}


def make(item: Item, library: Library, rng: random.Random) -> Iterator[Record]:
    """Yield the kind of image, and each attribute of its taking."""
    if item.kind:
        yield _lettered(item, library, rng) if rng.random() < LETTERED else _said(item, rng)
    for name, value in sorted(item.attributes.items()):
        slots = attribute_words(name, value, item, rng)
        asked, answered = OF.get(name, ANY)
        prompt = dialogue.opened(say(asked, rng, **slots), kind=dialogue.told(item, rng))
        yield dialogue.record(KIND, item, dialogue.turns(prompt, say(answered, rng, **slots)),
                              facts=[facts.attribute(name, value)])


def stated(name: str, value: str, item: Item, rng: random.Random) -> str:
    """Return the sentence on an attribute."""
    return say(OF.get(name, ANY)[1], rng, **attribute_words(name, value, item, rng))


def attribute_words(name: str, value: str, item: Item, rng: random.Random) -> dict[str, str]:
    """Return the slots of an attribute's patterns."""
    pair = [value, PAIRS.get(value, "lateral")]
    rng.shuffle(pair)
    return {"name": name, "value": value, "a": grammar.a(value), "picture": grammar.picture(item.kind),
            "first": pair[0], "second": pair[1]}


def sentence(item: Item, rng: random.Random) -> str:
    """Return the sentence that names the kind of image."""
    picture = grammar.picture(item.kind)
    a = grammar.a(picture).partition(" ")[0]
    return say(SAID if picture == item.kind else SAID[:-1], rng, a=a, A=a, kind=item.kind, picture=picture)


def _said(item: Item, rng: random.Random) -> Record:
    prompt = dialogue.opened(say(QUESTIONS, rng))
    return dialogue.record(KIND, item, dialogue.turns(prompt, sentence(item, rng)), facts=[facts.kind(item)])


def _lettered(item: Item, library: Library, rng: random.Random) -> Record:
    """Return a choice between two to eight kinds; kinds of which one is a part of another's name stay apart."""
    known = sorted({*KINDS, *library.kinds} - {item.kind})
    others = [k for k in known if k not in item.kind and item.kind not in k]
    options = [item.kind, *rng.sample(others, min(len(others), rng.randint(1, 7)))]
    rng.shuffle(options)
    letter = template.letters(len(options))[options.index(item.kind)]
    prompt = template.decision(say(QUESTIONS, rng), [dialogue.IMAGE], options, evidence=None)
    return dialogue.record(KIND, item, dialogue.turns(prompt, letter), facts=[facts.kind(item)])
