"""Conversations about images as LLaVA (a JSON list) and InternVL (JSON lines, or a JSON that names them) have them.

Each question with its answer is taken alone; turns that hold boxes in a family's own notation are left out, and so
are rows of several images or of none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instruct_data.items import Asked, Item
from instruct_data.sources.options import Found, Options, located, parsed, sample_of, split_of, within
from instruct_data.sources.qa import first_row, rows
from specialists.core.errors import BadData

BOXES = re.compile(r"<(?:box|ref|quad|\|box|\|object)")
MARK = re.compile(r"\s*<(?:image|ImageHere|img)>\s*")
ASKS, ANSWERS = frozenset({"human", "user"}), frozenset({"gpt", "assistant"})
FOLDERS = ("", "images", "image")


def fits(data: Path) -> bool:
    """Tell whether it is such a file, or a folder with some."""
    return any(_told(file) for file in _files(data))


def read(data: Path, options: Options) -> Found:
    """Return an item an image with its questions; raises BadData."""
    base = data if data.is_dir() else data.parent
    asked: dict[str, list[Asked]] = {}
    paths: dict[str, tuple[Path, str]] = {}
    left_out: dict[str, str] = {}
    for file in _files(data):
        for annotation, root in _told(file):
            split = next(filter(None, map(split_of, annotation.stem.replace("-", "_").split("_"))), "")
            folders = [root / f for f in FOLDERS] + [base / f for f in FOLDERS]
            for number, row in enumerate(rows(annotation), 1):
                path, why = _image(row, folders)
                pairs = list(_pairs(row.get("conversations") or ()))
                if path is None or not pairs:
                    left_out[f"{annotation.name} row {number}"] = why or "no question with an answer in plain words"
                    continue
                image = within(base, path)
                paths.setdefault(image, (path, split))
                asked.setdefault(image, []).extend(pairs)
    if not asked:
        reason = next(iter(left_out.values()), "no rows")
        raise BadData(f"No conversation about an image in {data.name!r} ({reason}); wanted rows of image and "
                      "conversations, and the images beside them.")
    items = [Item(sample_of(base, image, options, paths[image][1]), image, options.kind,
                  asked=tuple(dict.fromkeys(asked[image])), radiological=options.radiological)
             for image in sorted(asked)]
    return Found(tuple(items), base, left_out)


def _files(data: Path) -> list[Path]:
    found = [data] if data.is_file() else sorted(data.glob("*")) if data.is_dir() else []
    return [file for file in found if file.suffix in (".json", ".jsonl")]


def _told(file: Path) -> list[tuple[Path, Path]]:
    """Return the files of conversations that a file is or names, each with the folder its images start from."""
    first = first_row(file)
    if isinstance(first, Mapping) and isinstance(first.get("conversations"), list):
        return [(file, file.parent)]
    if file.suffix == ".json" and isinstance(first, Mapping) and first and all(
            isinstance(v, Mapping) and {"root", "annotation"} <= set(v) for v in first.values()):
        said: Mapping[str, Any] = parsed(file)
        return [(file.parent / str(v["annotation"]), file.parent / str(v["root"])) for v in said.values()]
    return []


def _image(row: Mapping[str, Any], folders: Sequence[Path]) -> tuple[Path | None, str]:
    image = row.get("image")
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if not isinstance(image, str) or not image:
        return None, "several images" if isinstance(image, list) and image else "no image"
    path = located(image, folders)
    return path, "" if path else "the image is missing"


def _pairs(turns: Sequence[Mapping[str, Any]]) -> Iterator[Asked]:
    for first, second in zip(turns, turns[1:], strict=False):
        if first.get("from") in ASKS and second.get("from") in ANSWERS:
            question, answer = (MARK.sub(" ", str(t.get("value") or "")).strip() for t in (first, second))
            if question and answer and not BOXES.search(question + answer):
                yield Asked(question, answer)
