"""A stand-in for the assistant that tells a fixed story as steps; it looks at no pixel.

`python -m tests.ui.double GATE [HOME]` serves the window over it, and keeps what is asked under HOME; a question with
the word "slowly" stops after a few words until the file GATE exists, one with "stuck" in the midst of a step, one with
"enhance" gets an enhanced image. While a file HOME/hold exists nobody's conversations are found.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from assistant.errors import BadQuestion
from assistant.records import Listed, Records, Turn, fresh_trace_id
from assistant.steps import (
    Answer,
    Case,
    Declined,
    Evidence,
    Observation,
    Opinion,
    Pool,
    Question,
    Step,
    TextDelta,
    ToolCall,
    Triaged,
)
from specialists.core.findings import Box, Classification, Enhanced, HeatMap, Masks
from specialists.core.study import Study, read_study
from ui import app

WORDS_AT_ONCE = 4
VALIDATED = {"benign": 0.86, "malignant": 0.81, "normal": 0.9, "macro": 0.85}
SAID = (
    "The image is a breast ultrasound. The specialists do not agree, and the outline is irregular: "
    "malignant is the most probable answer."
)


def opinion(name: str, label: str, probability: float) -> Opinion:
    """Return an opinion that gives `label` this probability and shares the rest."""
    rest = [other for other in ("benign", "malignant", "normal") if other != label]
    probabilities = {label: probability, rest[0]: (1 - probability) * 0.8, rest[1]: (1 - probability) * 0.2}
    return Opinion(name, label, probabilities, VALIDATED)


def evidence() -> Evidence:
    """Return evidence with a dissent, similar cases and a refusal."""
    cases = [
        Case(f"case-{i}", "malignant" if i % 3 else "benign", 0.93 - 0.02 * i, "BreastMNIST", "CC BY 4.0")
        for i in range(6)
    ]
    return Evidence(
        moed=(
            opinion("breast_ultrasound_small_cnn", "malignant", 0.74),
            opinion("breast_ultrasound_residual", "benign", 0.58),
            opinion("breast_ultrasound_hybrid", "malignant", 0.66),
        ),
        rad=tuple(cases),
        arbiter=Pool("malignant", {"malignant": 0.69, "benign": 0.28, "normal": 0.03}),
        refusals=(
            Declined("chest_child_xray_residual", "the image is a breast ultrasound, not a paediatric chest X-ray"),
        ),
        conflict=True,
    )


def answer(study: Study, **changes: Any) -> Answer:
    """Return a finished answer with a mask in the middle of the image."""
    width, height = study.size
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 3 : height // 2, width // 3 : 2 * width // 3] = True
    masks = Masks("breast_lesion_unet", {"lesion": mask}, None, ())
    fields: dict[str, Any] = {
        "text": SAID,
        "label": "malignant",
        "confidence": 0.64,
        "refer": True,
        "refer_reason": "The generalist and the arbiter disagree, and both are unsure.",
        "kind": "breast ultrasound",
        "options": {"malignant": 0.64, "benign": 0.33, "normal": 0.03},
        "findings": (masks,),
        "boxes": masks.boxes(),
        "masks": (masks,),
        "evidence": evidence(),
        "trace_id": "t-0123456789",
        "seconds": 1.27,
        **changes,
    }
    return Answer(**fields)


def enhanced(study: Study) -> Enhanced:
    """Return what a specialist of one's own could make of an image: its negative."""
    return Enhanced("own_denoiser", "denoised", 255 - study.rgb())


class HeldRecords(Records):
    """A store that can be slow."""

    def owned(self, owner: str, words: str = "") -> list[Listed]:
        """Return what the store does, when it is no longer held."""
        while (self.paths.home / "hold").exists():
            time.sleep(0.05)
        return super().owned(owner, words)


class Talk:
    """One conversation of the stand-in."""

    def __init__(self, identifier: str, gate: Path | None = None, records: Records | None = None) -> None:
        self.id, self._records = identifier, records
        self.asked: list[str] = []
        self._studies: list[Study] = []
        self._gate = gate

    def stream(self, question: str, images: Any = None, **options: Any) -> Iterator[Step]:
        """Tell the story about the first image."""
        if images:
            self._studies = [read_study(image) for image in images]
        if not self._studies:
            raise BadQuestion("Got no image; want at least one. Add an image and ask again.")
        self.asked.append(question)
        if question == "break":
            raise RuntimeError("an inner detail")
        study = self._studies[0]
        yield Question(question, tuple(self._studies), options.get("options"))
        yield Triaged("breast ultrasound", 0.981, "breast_ultrasound", tuple(o.specialist for o in evidence().moed))
        for call, told in enumerate(evidence().moed):
            yield ToolCall(str(call), told.specialist)
            finding = Classification(told.specialist, dict(told.probabilities))
            yield Observation(str(call), told.specialist, finding.words(), finding, seconds=0.03)
        yield evidence()
        for count, word in enumerate(re.findall(r"\S+\s*", SAID)):
            if count == WORDS_AT_ONCE and "slowly" in question:
                yield from self._held()
            if count == WORDS_AT_ONCE and "stuck" in question:
                self._stuck()
            yield TextDelta(word)
        more = (enhanced(study),) if "enhance" in question else ()
        told = answer(study)
        yield self._kept(question, replace(told, findings=(*told.findings, *more)), options.get("options"))

    def _kept(self, question: str, told: Answer, options: Any) -> Answer:
        """Keep the turn as the assistant does, where there is a store."""
        if self._records is None:
            return told
        told = replace(told, trace_id=fresh_trace_id())
        keys = [self._records.keep(study) for study in self._studies]
        images = [{"key": key, "sha256": study.sha256, "format": study.format}
                  for key, study in zip(keys, self._studies, strict=True)]
        calls = [{"name": o.specialist, "text": f"{o.specialist}: {o.label}", "error": None, "seconds": 0.03}
                 for o in told.evidence.moed]
        trace = {"time": datetime.now(UTC).isoformat(), "question": {"text": question, "options": options},
                 "images": images, "tools": calls, "answer": told.json()}
        self._records.append(trace, told.trace_id)
        self._records.add_turn(self.id, Turn(question, told.text, told.trace_id, tuple(keys)))
        return told

    def _held(self) -> Iterator[Step]:
        time.sleep(0.1)  # so that what was said is shown
        yield TextDelta("")
        while self._gate and not self._gate.exists():
            time.sleep(0.05)
            yield TextDelta("")


    def _stuck(self) -> None:
        while self._gate and not self._gate.exists():
            time.sleep(0.05)


class Assistant:
    """Opens conversations of the stand-in, and keeps them by their identifier."""

    def __init__(self, gate: Path | None = None, records: Records | None = None) -> None:
        self.talks: dict[str, Talk] = {}
        self._gate, self._records = gate, records
        self._numbers = itertools.count(1)

    def chat(self, conversation_id: str | None = None, owner: str = "") -> Talk:
        """Return a known conversation, or a new one."""
        if conversation_id in self.talks:
            return self.talks[conversation_id]
        fresh = self._records.open_conversation(owner) if self._records else f"conversation-{next(self._numbers)}"
        talk = Talk(conversation_id or fresh, self._gate, self._records)
        self.talks[talk.id] = talk
        return talk

    def again(self, trace_id: str, *, without: Sequence[str] = (), regions: Sequence[Box] | None = None
              ) -> Iterator[Step]:
        """Tell that the answer would be another, less sure one."""
        study = read_study(np.full((256, 256), 0.5, dtype=np.float32))
        yield Question("again", (study,), without=frozenset(without), regions=tuple(regions or ()))
        other = {"label": "benign", "confidence": 0.51, "options": {"malignant": 0.4, "benign": 0.51, "normal": 0.09}}
        yield answer(study, trace_id="t-again", **other)

    def heat_map(self, trace_id: str, specialist: str) -> HeatMap:
        """Tell that all hangs on the middle."""
        values = np.zeros((10, 10), dtype=np.float32)
        values[4:6, 4:6], values[5, 5] = 0.5, 1.0
        return HeatMap(specialist, "malignant", values, "covering the brightest place takes 31 points from malignant")


def main() -> None:
    """Serve the window over the stand-in on a free port and say where."""
    records = HeldRecords(Path(sys.argv[2])) if len(sys.argv) > 2 else None
    window = app.create_app(Assistant(Path(sys.argv[1]), records), status=lambda: "", records=records)
    sys.stdout.write(app.launch(window, port=None, block=False) + "\n")
    sys.stdout.flush()
    window.block_thread()


if __name__ == "__main__":
    main()
