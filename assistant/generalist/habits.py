"""What a checkpoint or an adapter says of itself in consilium.json; who runs it, here or on a server, keeps to it.

It loads no weights and measures nothing: `finetune` writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from assistant.errors import GeneralistError
from specialists.core.inputs import to_square

FILE = "consilium.json"
STATED = "stated"
"""The word of "arguments" for those that are taken from what was said."""


MATCHED = "matched"
"""The word of "tools" for those that are found by the question's words."""


@dataclass(frozen=True)
class Habits:
    """How images are shown to it, and what it was taught."""

    square: int = 0
    """Side in pixels of the square that every image is resized to; 0 leaves images as they are."""
    kinds: frozenset[str] = frozenset()
    """Kinds of image that it was taught; empty for a generalist of wide knowledge."""
    look: Mapping[str, float] = field(default_factory=dict)
    """Validated F1 (0..1) of the labels that it names in words."""
    skill: frozenset[str] = frozenset()
    """Those of the kinds that an adapter was taught."""
    stated: bool = False
    """Arguments of its calls are taken from what was said (`assistant/generalist/stated.py`)."""
    matched: bool = False
    """Its calls name the tool that the question's words ask for, where one does (`assistant/generalist/matched.py`)."""

    def with_skill(self, skill: Habits) -> Habits:
        """Return the habits with an adapter laid over: its record was measured with it, the base's was not."""
        return replace(self, kinds=self.kinds | skill.kinds, look=skill.look, skill=skill.kinds)

    def shown(self, image: Image.Image) -> Image.Image:
        """Return the image as it was taught to see it."""
        return Image.fromarray(to_square(image, self.square)) if self.square else image


def read_habits(place: str | Path) -> Habits:
    """Return the habits told by a folder, or by the file itself; none where there is no such file."""
    path = Path(place)
    file = path if path.name == FILE else path / FILE
    if not file.is_file():
        return Habits()
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return Habits(int(told.get("square", 0)), frozenset(told.get("kinds", ())), dict(told.get("look", {})),
                      stated=told.get("arguments") == STATED, matched=told.get("tools") == MATCHED)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise GeneralistError(f"{FILE} of {path.name!r} cannot be read ({error}); wanted an object with square, kinds, "
                              "look, arguments and tools, as consilium finetune writes it.") from error


def model_type(folder: Path) -> str | None:
    """Return the type of the checkpoint in a folder ("qwen3_vl"), by its config.json."""
    file = folder / "config.json"
    return str(json.loads(file.read_text(encoding="utf-8")).get("model_type", "")) if file.is_file() else None
