"""What is exported of a conversation: its questions, answers, images and what readers said, out of the store.

It writes no format. Header values of files are never in the store, so that none can be in a dossier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from assistant.errors import RecordsError
from assistant.records import Feedback, Records
from assistant.remembered import answer_of
from assistant.steps import Answer
from specialists.core.findings import Box, draw_boxes
from specialists.core.study import Study

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Entry:
    """One question with its answer."""

    question: str
    answer: Answer
    options: tuple[str, ...] = ()
    time: str = ""
    """When it was asked, in ISO 8601 (UTC)."""
    model: str = ""
    """The generalist that answered."""
    images: tuple[Mapping[str, Any], ...] = ()
    """sha256, format, size and frames of each image."""
    study: Study | None = None
    """The first image, where it is still kept: findings are about it."""
    said: tuple[Feedback, ...] = ()
    regions: tuple[Box, ...] = ()
    """What the reader drew on the first image to ask about; the first is "region 1"."""

    def picture(self) -> Image.Image | None:
        """Return the judged frame with what was found drawn on it, None without the image."""
        if self.study is None:
            return None
        drawn = self.study.image()
        for masks in self.answer.masks:
            if all(mask.shape == drawn.size[::-1] for mask in masks.masks.values()):
                drawn = masks.overlay(drawn)
        drawn = draw_boxes(drawn, self.answer.boxes)
        return outlined(drawn, self.regions)


@dataclass(frozen=True)
class Dossier:
    """A conversation, oldest question first."""

    id: str
    title: str
    entries: tuple[Entry, ...]


def gather(records: Records, conversation: str, owner: str | None = None) -> Dossier:
    """Return what is stored of a conversation, of this owner where one is named.

    Raises ConversationNotFound, also where it is another's, and RecordsError where nothing was asked in it yet.
    """
    if owner is not None:
        records.check_owner(conversation, owner)
    turns = records.turns(conversation)
    if not turns:
        raise RecordsError("Nothing was asked in this conversation yet; ask a question first, then export.")
    title = records.title(conversation)
    return Dossier(conversation, title, tuple(entry_of(records, turn.trace_id, owner) for turn in turns))


def entry_of(records: Records, trace_id: str, owner: str | None = None) -> Entry:
    """Return a traced question with its answer, and what this owner (None: anybody) said of it."""
    trace = records.trace(trace_id)
    study = first_study(records, trace)
    asked = trace["question"]
    return Entry(
        question=asked["text"], answer=answer_of(trace, study), options=tuple(asked.get("options") or ()),
        time=trace.get("time", ""), model=_model(trace), images=tuple(trace.get("images") or ()), study=study,
        said=tuple(records.said(trace_id, owner)), regions=asked_about(trace))


def asked_about(trace: Mapping[str, Any]) -> tuple[Box, ...]:
    """Return the regions that a traced question was about."""
    return tuple(Box(one["label"], tuple(one["xyxy"])) for one in trace["question"].get("regions") or ())


def region_words(number: int, box: Box, study: Study | None) -> str:
    """Return a region in words: its size, in mm where the spacing is known, and its place in pixels."""
    x1, y1, x2, y2 = box.xyxy
    if box.label == "point":
        return f"Region {number}: around the point {(x1 + x2) / 2:.0f}, {(y1 + y2) / 2:.0f}"
    size = f"{x2 - x1:.0f} × {y2 - y1:.0f} pixels"
    if study is not None and study.spacing_mm:
        across, down = (x2 - x1) * study.spacing_mm[2], (y2 - y1) * study.spacing_mm[1]
        size = f"{across:.3g} × {down:.3g} mm"
    return f"Region {number}: {size} at {x1:.0f}, {y1:.0f}"


def outlined(picture: Image.Image, regions: Sequence[Box]) -> Image.Image:
    """Return the picture with the reader's regions in white on black, each with its number."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    thin = max(1, round(min(drawn.size) / 250))
    for number, box in enumerate(regions, 1):
        left, top, right, bottom = box.xyxy
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=BLACK, width=3 * thin)
        inner = (left + thin, top + thin, right - 1 - thin, bottom - 1 - thin)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            pen.rectangle(inner, outline=WHITE, width=thin)
        pen.text((left + 4 * thin, top + 3 * thin), str(number), fill=WHITE, stroke_width=thin, stroke_fill=BLACK)
    return drawn


def first_study(records: Records, trace: Mapping[str, Any]) -> Study | None:
    """Return the first image that a trace is about, None where it is no longer kept."""
    images = trace.get("images") or ()
    try:
        return records.study(images[0]["key"]) if images else None
    except RecordsError:
        return None


def fitted(picture: Image.Image, most: int) -> Image.Image:
    """Return a picture no longer than `most` pixels on a side."""
    scale = min(1.0, most / max(picture.size))
    size = tuple(np.maximum(1, np.round(np.multiply(picture.size, scale))).astype(int).tolist())
    return picture.resize(size) if scale < 1 else picture


def _model(trace: Mapping[str, Any]) -> str:
    return str(trace.get("model") or trace.get("generalist", {}).get("model") or "embedded")
