"""An answer as it stands in a trace, made into the objects that faces draw; it judges nothing and runs no model.

What JSON does not hold stays unknown: the spacing of masks is the study's, and of a volume's masks the frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assistant.errors import RecordsError
from assistant.steps import (
    Answer,
    Case,
    Declined,
    Evidence,
    LabelSet,
    Observation,
    Opinion,
    Pool,
    SimilarText,
    Step,
)
from specialists.core import rle
from specialists.core.findings import (
    Box,
    Boxes,
    Classification,
    Enhanced,
    Finding,
    HeatMap,
    Instances,
    Masks,
    Score,
    Text,
    Volumes,
)
from specialists.core.study import Study

Spacing = tuple[float | None, float, float] | None
"""Of a study, in mm."""


def answer_of(trace: Mapping[str, Any], study: Study | None = None) -> Answer:
    """Return the answer of a trace, about `study` where its image is at hand; raises RecordsError for no answer."""
    try:
        return _answer(trace["answer"], trace["id"], study)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecordsError(f"Trace {trace.get('id')!r} holds no answer that can be shown again "
                           f"({type(error).__name__}); it was written by another version.") from error


def observations(trace: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return what the tools of a trace said, in order, with the seconds that each took."""
    return tuple(Observation(str(number), call["name"], call["text"], error=call.get("error"),
                             seconds=float(call.get("seconds") or 0.0))
                 for number, call in enumerate(trace.get("tools") or ()))


def _answer(said: Mapping[str, Any], trace_id: str, study: Study | None) -> Answer:
    spacing = study.spacing_mm if study else None
    frames = study.frames if study else 0
    size = (study.size[1], study.size[0]) if study else None
    findings = tuple(_finding(one, spacing, frames, size) for one in said["findings"])
    frame = study.key_frame if study else 0
    drawn = [f for f in findings if isinstance(f, Masks | Instances) or (isinstance(f, Volumes) and frames)]
    label_set = said.get("label_set")
    return Answer(
        text=said["text"], label=said["label"], confidence=said["confidence"], refer=said["refer"],
        refer_reason=said["refer_reason"], kind=said["kind"], options=said["options"],
        label_set=LabelSet(tuple(label_set["labels"]), label_set["level"]) if label_set else None,
        findings=findings, boxes=_boxes(said["boxes"]), masks=tuple(f.shown(frame) for f in drawn),
        evidence=_evidence(said["evidence"]), trace_id=trace_id, seconds=said["seconds"])


def _boxes(said: Sequence[Mapping[str, Any]]) -> tuple[Box, ...]:
    return tuple(Box(one["label"], tuple(one["xyxy"]), one.get("score")) for one in said)


def _evidence(said: Mapping[str, Any]) -> Evidence:
    pool = said["arbiter"]
    return Evidence(
        moed=tuple(Opinion(**one) for one in said["moed"]), rad=tuple(Case(**one) for one in said["rad"]),
        arbiter=Pool(**pool) if pool else None, refusals=tuple(Declined(**one) for one in said["refusals"]),
        conflict=said["conflict"], no_similar_case=said["no_similar_case"],
        texts=tuple(SimilarText(**one) for one in said.get("texts") or ()),
        no_similar_text=said.get("no_similar_text", False))


def _finding(said: Mapping[str, Any], spacing: Spacing, frames: int, size: tuple[int, int] | None) -> Finding:
    who, plane = said["specialist"], (spacing[1], spacing[2]) if spacing else None
    match said["type"]:
        case "classification":
            return Classification(who, dict(said["probabilities"]))
        case "masks":
            masks = {one["label"]: rle.decode(one["rle"]) for one in said["masks"]}
            return Masks(who, masks, plane, tuple(said["absent"]))
        case "instances":
            return Instances(who, said["label"], _things(said["instances"], size), plane)
        case "volumes":
            return Volumes(who, {one["label"]: _volume(one["rle"], frames) for one in said["volumes"]}, spacing,
                           tuple(said["absent"]))
        case "boxes":
            return Boxes(who, _boxes(said["boxes"]), tuple(said["counts"]))
        case "score":
            interval = said.get("interval")
            return Score(who, said["name"], said["value"], said["low"], said["high"],
                         tuple(interval) if interval else None, said.get("meaning", ""))
        case "text":
            return Text(who, said["text"])
        case "heat_map":
            return HeatMap.from_json(said)
        case "enhanced":
            return Enhanced.from_json(said)
    raise ValueError(said["type"])


def _things(said: Sequence[Mapping[str, Any]], size: tuple[int, int] | None) -> np.ndarray:
    """Return the numbers (H, W) of things; without the image's size the smallest that holds them all."""
    height, width = size or (max((int(one["xyxy"][side]) for one in said), default=1) for side in (3, 2))
    numbers = np.zeros((height, width), dtype=np.int32)
    for number, one in enumerate(said, start=1):
        left, top, right, bottom = (int(v) for v in one["xyxy"])
        numbers[top:bottom, left:right][rle.decode(one["rle"])] = number
    return numbers


def _volume(said: Mapping[str, Any], frames: int) -> np.ndarray:
    """Return a boolean mask (frames, H, W) of run lengths by frame."""
    shown = {int(frame): rle.decode(one) for frame, one in said.items()}
    height, width = next(iter(shown.values())).shape if shown else (1, 1)
    mask = np.zeros((max([frames, *(frame + 1 for frame in shown)]), height, width), dtype=bool)
    for frame, one in shown.items():
        mask[frame] = one
    return mask
