"""The datasheet of a build, from its manifest: what is in it, of which images, under which terms, and what was lost.

Gebru et al., Datasheets for Datasets, 2021, https://arxiv.org/abs/1803.09010. It measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def datasheet(manifest: Mapping[str, Any]) -> str:
    """Return the datasheet in Markdown; its head is what `datasets.load_dataset` reads."""
    m = manifest
    head = ["---", "configs:", "- config_name: default", "  data_files:", "  - split: train",
            "    path: records-*.parquet", "---", ""]
    said = [
        "# Instruction data", "",
        f"{m['records']} conversations about {m['images']} images (split `{m['split']}`): {m['facts']} distinct pairs "
        f"of image and fact, each in at most {m['most_forms']} conversations. Built with seed {m['seed']}; the same "
        "command over the same data gives the same bytes.", "",
        "Research use only. The terms of each set go on: see below.", "",
        "## What it was made from", "",
        "Labels, boxes, masks, counts, grades and texts by people, as the sets give them. Absence is said only of what "
        "the annotators mark wherever it is. Opinions come from specialists that did not see the image, similar cases "
        "from other patients. No header value of a patient is in it.", "",
        f"Left out by name: {', '.join(m['excluded']) or 'no set'}.", "", *_kinds(m["kinds"]), *_sets(m["sets"]),
        "## Kinds of image", "", *_table(("kind", "conversations"), m["modalities"].items()),
        "## Who worded it", "", *_table(("writer", "conversations"), m["writers"].items()),
        "## What was lost", "", *_lost(m["lost"], m["left_out"])]
    return "\n".join([*head, *said]).rstrip("\n") + "\n"


def _kinds(kinds: Mapping[str, Any]) -> list[str]:
    rows = ((name, row["what"], row["records"], row["new_facts"]) for name, row in kinds.items())
    return ["## Kinds of conversation", "", *_table(("kind", "what", "conversations", "facts told first"), rows)]


def _sets(sets: Mapping[str, Any]) -> list[str]:
    rows = ((name, row["license"] or "not stated", row["tier"] or "-", row["records"]) for name, row in sets.items())
    return ["## Sets and their terms", "", *_table(("set", "license", "tier", "conversations"), rows)]


def _lost(lost: Mapping[str, int], left_out: Mapping[str, str]) -> list[str]:
    filters = _table(("filter", "conversations"), lost.items())
    images = _table(("set or image left out", "why"), left_out.items())
    return [*(filters if lost else ["No filter took anything away.", ""]),
            *(images if left_out else ["No set and no image was left out.", ""])]


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
    return [f"| {' | '.join(names)} |", "|" + " --- |" * len(names), *lines, ""]
