"""The kinds of conversation, and how much of each a training mixture holds: shares chosen on validation images."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from instruct_data import manners
from instruct_data.dialogue import pick
from instruct_data.items import Item, Library
from instruct_data.kinds import (
    attributes,
    bootstrapping,
    comparison,
    counting,
    diagnosis,
    earlier_answer,
    evidence,
    findings,
    grading,
    image_analysis,
    image_kind,
    imagined,
    imagined_tools,
    looking,
    multi_label,
    presence,
    referring_captioning,
    referring_classification,
    refusal,
    report,
    tool_use,
    visual_grounding,
    vqa,
    weighing,
)
from instruct_data.records import Record
from specialists.core.errors import BadData

Make = Callable[[Item, Library, random.Random], Iterator[Record]]


@dataclass(frozen=True)
class Kind:
    """A kind of conversation in a mixture."""

    make: Make
    share: float
    """Part of a training mixture."""
    what: str
    """What it teaches, in a line."""
    needs_evidence: bool = False
    """Made of out-of-fold opinions and cases alone."""


KINDS: dict[str, Kind] = {
    "visual_grounding": Kind(visual_grounding.make, 0.05, "where is it? boxes, or that it is not there"),
    "referring_classification": Kind(referring_classification.make, 0.03, "what is in this box?"),
    "referring_captioning": Kind(referring_captioning.make, 0.02, "describe this box"),
    "image_analysis": Kind(image_analysis.make, 0.03, "several turns, from the kind of image to a conclusion"),
    "image_kind": Kind(image_kind.make, 0.05, "kind of image, view, side"),
    "diagnosis": Kind(diagnosis.make, 0.13, "which option? from the image alone"),
    "multi_label": Kind(multi_label.make, 0.01, "which of these apply?"),
    "grading": Kind(grading.make, 0.02, "how severe, on an ordered scale?"),
    "counting": Kind(counting.make, 0.01, "how many?"),
    "presence": Kind(presence.make, 0.03, "is it there? yes or no, with what it rests on"),
    "attributes": Kind(attributes.make, 0.02, "size, place and side of a finding"),
    "comparison": Kind(comparison.make, 0.02, "two images: the same? which one, which more?"),
    "report": Kind(report.make, 0.02, "findings and impression from what is known"),
    "bootstrapping": Kind(bootstrapping.make, 0.01, "report-like text steered by the label, and filtered by it"),
    "vqa": Kind(vqa.make, 0.03, "questions and answers by people"),
    "findings": Kind(findings.make, 0.05, "an open question answered in sentences"),
    "looking": Kind(looking.make, 0.03, "the generalist's own look, in words"),
    "evidence": Kind(evidence.make, 0.22, "weigh opinions and cases against the image", True),
    "weighing": Kind(weighing.make, 0.06, "weigh opinions and cases without the image", True),
    "imagined": Kind(imagined.make, 0.04, "weigh imagined evidence about imagined diseases"),
    "imagined_tools": Kind(imagined_tools.make, 0.02, "call imagined tools, with arguments from the question"),
    "tool_use": Kind(tool_use.make, 0.05, "call tools, read their answers"),
    "refusal": Kind(refusal.make, 0.03, "say what cannot be answered, and who can"),
    "earlier_answer": Kind(earlier_answer.make, 0.02, "talk about an earlier answer", True),
}
"""Every kind of conversation by its name."""

WEIGHING = {"weighing": 0.6, "imagined": 0.4}
"""Shares of the small generalist's stage without images."""

TOGETHER = {
    "looking": 0.22, "evidence": 0.20, "diagnosis": 0.07, "tool_use": 0.06, "visual_grounding": 0.05, "findings": 0.05,
    "image_kind": 0.04, "weighing": 0.03, "presence": 0.03, "refusal": 0.03, "vqa": 0.03, "imagined": 0.02,
    "comparison": 0.02, "report": 0.02, "earlier_answer": 0.02, "grading": 0.02, "image_analysis": 0.02,
    "referring_classification": 0.02, "attributes": 0.01, "multi_label": 0.01, "counting": 0.01,
    "referring_captioning": 0.01, "bootstrapping": 0.01}
"""Shares of the small generalist's first stage with images: all kinds, looking and evidence before the others."""

LOOKING = {
    "looking": 0.42, "evidence": 0.17, "visual_grounding": 0.06, "tool_use": 0.05, "findings": 0.04, "diagnosis": 0.03,
    "image_kind": 0.03, "presence": 0.03, "vqa": 0.03, "report": 0.02, "refusal": 0.02, "comparison": 0.02,
    "referring_classification": 0.02, "image_analysis": 0.02, "weighing": 0.01, "imagined": 0.01,
    "earlier_answer": 0.01, "grading": 0.01, "attributes": 0.005, "multi_label": 0.005, "counting": 0.005,
    "referring_captioning": 0.005, "bootstrapping": 0.005}
"""Shares of the next stages: nearly half is looking, which the stage before hardly teaches (docs/log.md)."""

SPEAKING = {
    "visual_grounding": 0.17, "image_kind": 0.11, "imagined_tools": 0.11, "tool_use": 0.08, "looking": 0.09,
    "evidence": 0.09, "findings": 0.05, "report": 0.04, "vqa": 0.04, "image_analysis": 0.04, "presence": 0.03,
    "referring_classification": 0.03, "comparison": 0.02, "multi_label": 0.02, "grading": 0.02,
    "referring_captioning": 0.01, "diagnosis": 0.01, "refusal": 0.01, "earlier_answer": 0.01, "attributes": 0.005,
    "counting": 0.005, "weighing": 0.005, "imagined": 0.005}
"""Shares of the stage after it, which teaches what is said and done beyond naming a label."""

PLACING = {
    "visual_grounding": 0.36, "looking": 0.12, "evidence": 0.12, "tool_use": 0.05, "image_kind": 0.04, "findings": 0.04,
    "presence": 0.04, "referring_classification": 0.04, "image_analysis": 0.03, "report": 0.03, "vqa": 0.03,
    "multi_label": 0.02, "grading": 0.02, "comparison": 0.02, "imagined_tools": 0.01, "referring_captioning": 0.01,
    "diagnosis": 0.005, "refusal": 0.005, "earlier_answer": 0.005, "attributes": 0.005, "counting": 0.005}
"""Shares of the stage after it: boxes before the others."""

ANSWERING = {
    "visual_grounding": 0.19, "looking": 0.14, "findings": 0.13, "evidence": 0.11, "image_analysis": 0.08,
    "tool_use": 0.07, "report": 0.05, "vqa": 0.04, "image_kind": 0.03, "presence": 0.03,
    "referring_classification": 0.03, "comparison": 0.02, "referring_captioning": 0.01, "imagined_tools": 0.01,
    "multi_label": 0.01, "grading": 0.01, "diagnosis": 0.01, "refusal": 0.01, "earlier_answer": 0.01,
    "counting": 0.005, "attributes": 0.005}
"""Shares of its last stage: open questions as many people ask them, and some of all else."""

TRIES = 400
"""Items asked for a record of a kind before the kind is said to have none."""


def chosen(names: Iterable[str] | None, library: Library) -> list[str]:
    """Return the kinds to build, sorted; raises BadData for an unknown one, or where nothing is left."""
    wanted = sorted(names or KINDS)
    unknown = [n for n in wanted if n not in KINDS]
    if unknown:
        raise BadData(f"No kind of conversation named {', '.join(unknown)}. Known: {', '.join(sorted(KINDS))}.")
    possible = [n for n in wanted if library.with_evidence or not KINDS[n].needs_evidence]
    if not possible:
        raise BadData("These kinds need out-of-fold evidence: name its folder with --evidence.")
    return possible


def build(library: Library, count: int, seed: int, kinds: Iterable[str] | None = None,
          shares: Mapping[str, float] | None = None) -> Iterator[Record]:
    """Yield a training mixture of `count` records; the same examined library, seed and shares give the same ones.

    Kinds that these images tell nothing of are left out, unless they were named: then BadData is raised.
    """
    able = {name: _able(name, library) for name in chosen(shares if kinds is None and shares else kinds, library)}
    mute = [name for name, sets in able.items() if not sets]
    if mute and (kinds or len(mute) == len(able)):
        raise BadData(f"No image of these data tells anything of the kind {', '.join(mute)}; leave it out.")
    names = [name for name in able if able[name]]
    weights = [(shares or {}).get(n, 0.0 if shares else KINDS[n].share) for n in names]
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        name = rng.choices(names, weights)[0]
        yield manners.unbriefed(manners.around(_drawn(name, able[name], library, rng), rng))


def _able(name: str, library: Library) -> dict[str, Sequence[Item]]:
    """Return the sets that can tell something of a kind, by a sample of their images."""
    groups = library.with_evidence if KINDS[name].needs_evidence else library.by_set
    return {n: items for n, items in groups.items() if _has(name, items, library)}


def _drawn(name: str, groups: Mapping[str, Sequence[Item]], library: Library, rng: random.Random) -> Record:
    for _ in range(TRIES):
        found = list(KINDS[name].make(pick(groups, rng), library, rng))
        if found:
            return rng.choice(found)
    raise BadData(f"{TRIES} images in a row tell nothing of the kind {name!r}; leave it out.")


def _has(name: str, items: Sequence[Item], library: Library) -> bool:
    step = max(1, len(items) // 40)
    return any(True for i in items[::step] for _ in KINDS[name].make(i, library, random.Random(0)))
