"""What the measurements of a method's idea share: they write one JSON and count how often an arm won."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def won(one: Sequence[float], other: Sequence[float]) -> str:
    """Return in how many of the paired runs the first is larger, e.g. "4 of 5", equal ones named."""
    even = sum(a == b for a, b in zip(one, other, strict=True))
    count = sum(a > b for a, b in zip(one, other, strict=True))
    return f"{count} of {len(one)}" + (f", {even} equal" if even else "")


def write(out: Path, facts: dict[str, Any], started: float) -> None:
    """Write the result with the seconds since `started` (of `time.perf_counter`)."""
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {**facts, "seconds": round(time.perf_counter() - started)}
    out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
