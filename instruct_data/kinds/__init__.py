"""One kind of conversation a file: each has make(library, rng) -> Record."""

from __future__ import annotations

NAMES = ("diagnosis", "evidence", "findings", "grounding", "image_kind", "imagined", "refusal", "tool_use", "weighing")
"""The kinds there are; `mix.KINDS` says how much of each. "weighing" is evidence without the image."""
