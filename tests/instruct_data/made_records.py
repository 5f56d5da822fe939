"""Made-up records that several tests of instruction data share; nothing of them is real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from instruct_data.records import Marked, Record

POLYP = Marked("polyp", (0.10, 0.20, 0.40, 0.60))
STENT = Marked("stent", (0.55, 0.50, 0.70, 0.90))


def conversation(*texts: str, images: int = 1) -> tuple[dict[str, Any], ...]:
    """Return user and assistant turns in alternation, the images in the first."""
    first = {"role": "user", "content": [*[{"type": "image"}] * images, {"type": "text", "text": texts[0]}]}
    rest = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)][1:]
    return ({"role": "system", "content": "You look at images."}, first, *rest)


def made(*texts: str, kind: str = "visual_grounding", image: str = "colon/images/1.png", name: str = "r1",
         facts: Sequence[str] = (), boxes: Sequence[Marked] = (POLYP, STENT), **more: Any) -> Record:
    """Return a record of a colonoscopy with these turns."""
    about = {"images": (image,), "sizes": ((800, 600),), "dataset": "colon", "modality": "colonoscopy",
             "group": "colon/patient-77", "license": "CC0", "tier": "A", **more}
    return Record(id=name, kind=kind, messages=conversation(*texts, images=len(about["images"])), facts=tuple(facts),
                  boxes=tuple(boxes), **about)
