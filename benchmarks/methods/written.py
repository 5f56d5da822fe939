"""What the measurements of a method's idea share: they write one JSON and count how often an arm won."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENOUGH = 0.8
"""Part of the runs that must agree."""


def won(one: Sequence[float], other: Sequence[float]) -> str:
    """Return in how many of the paired runs the first is larger, and what that says: "4 of 5: held".

    A claim holds where at least four of five runs agree; it is reversed where as many disagree.
    """
    even = sum(a == b for a, b in zip(one, other, strict=True))
    count = sum(a > b for a, b in zip(one, other, strict=True))
    verdict = "held" if count >= ENOUGH * len(one) else "not decided"
    if len(one) - count - even >= ENOUGH * len(one):
        verdict = "the reverse held"
    return f"{count} of {len(one)}" + (f", {even} equal" if even else "") + f": {verdict}"


def write(out: Path, facts: dict[str, Any], started: float) -> None:
    """Write the result with the seconds since `started` (of `time.perf_counter`); claims stand at the top level."""
    out.parent.mkdir(parents=True, exist_ok=True)
    held = facts.pop("held", {})
    facts = {**facts, **held, "seconds": round(time.perf_counter() - started)}
    out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
