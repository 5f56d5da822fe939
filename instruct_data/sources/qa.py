"""Questions and answers about images as VQA-RAD, SLAKE and PathVQA have them: rows of a JSON, JSONL or Parquet file.

PathVQA's pickles are not read: unpickling runs whatever a file says. Export them as JSON lines. Of several languages
English is taken. An image stands in one split: that of its question furthest from training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import parquet

from instruct_data.items import Asked, Item
from instruct_data.rows import table
from instruct_data.sources.naming import kind_named
from instruct_data.sources.options import Found, Options, located, made_name, parsed, sample_of, split_of, within
from specialists.core.errors import BadData

IMAGE = ("image_name", "img_name", "image", "image_path", "img")
FOLDERS = ("", "images", "imgs", "VQA_RAD Image Folder", "images/train", "images/val", "images/test")
ORGANS = {"CHEST": "chest X-ray", "ABD": "abdominal CT", "HEAD": ""}
"""VQA-RAD's images by their organ; those of the head are of CT or MRI."""
LATER = ("", "train", "val", "test")
FILES = (".json", ".jsonl", ".parquet")


@dataclass
class Gathered:
    """What the rows say of one image."""

    kind: str
    split: str
    place: dict[str, Any] | None = None
    file: Path | None = None
    asked: list[Asked] = field(default_factory=list)


def fits(data: Path) -> bool:
    """Tell whether it is a file of questions, or a folder with some."""
    return any(_is_asked(first_row(file)) for file in _files(data))


def read(data: Path, options: Options) -> Found:
    """Return an item an image with its questions; raises BadData."""
    base = data if data.is_dir() else data.parent
    gathered: dict[str, Gathered] = {}
    left_out: dict[str, str] = {}
    for file in _files(data):
        if _is_asked(first_row(file)):
            split = next(filter(None, map(split_of, file.stem.replace("-", "_").split("_"))), "")
            for number, row in enumerate(rows(file)):
                _take(row, (file, number), split, (gathered, left_out))
    items = []
    for name, one in sorted(gathered.items()):
        found = _item(name, one, base, options)
        if found is None:
            left_out[name] = "the image is missing"
        elif one.asked:
            items.append(found)
    if not items:
        raise BadData(f"No image of {data.name!r} was found for {len(gathered)} named ones; wanted them beside the "
                      "file or in images/.")
    return Found(tuple(items), base, left_out)


def first_row(file: Path) -> Any:
    """Return the first row of a JSON list, of JSON lines or of a Parquet file; the object of any other JSON."""
    if file.suffix == ".parquet":
        return dict.fromkeys(parquet.read_schema(file).names, "")
    if file.suffix == ".jsonl":
        return next(rows(file), None)
    said = parsed(file)
    return said[0] if isinstance(said, list) and said else said


def rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a JSON list, of JSON lines or of a Parquet file; raises BadData."""
    if file.suffix == ".parquet":
        held = table(file)
        embedded = {n for n in held.column_names if "binary" in str(held.schema.field(n).type)}
        for batch in held.drop_columns(sorted(embedded)).to_batches():
            yield from ({**dict.fromkeys(embedded), **row} for row in batch.to_pylist())
        return
    if file.suffix == ".json":
        said = parsed(file)
        if not isinstance(said, list) or not all(isinstance(row, dict) for row in said):
            raise BadData(f"{file.name} is no list of objects; wanted a row each.")
        yield from said
        return
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError:
                    raise BadData(f"{file.name} line {number} is no JSON; wanted one object a line.") from None
                if not isinstance(row, dict):
                    raise BadData(f"{file.name} line {number} is no object; wanted one object a line.")
                yield row


def _files(data: Path) -> Sequence[Path]:
    found = [data] if data.is_file() else sorted([*data.glob("*"), *data.glob("data/*")])
    return [file for file in found if file.suffix in FILES]


def _is_asked(row: Any) -> bool:
    return isinstance(row, dict) and {"question", "answer"} <= set(row) and any(key in row for key in IMAGE)


def _take(row: Mapping[str, Any], place: tuple[Path, int], split: str,
          into: tuple[dict[str, Gathered], dict[str, str]]) -> None:
    """Add a row to what is known of its image, or to what is left out."""
    gathered, left_out = into
    file, number = place
    key = next((k for k in IMAGE if k in row), "")
    image, question, answer = row.get(key), _text(row.get("question")), _text(row.get("answer"))
    if str(row.get("q_lang") or "en") != "en":
        left_out[f"{file.name} row {number + 1}"] = "not in English"
        return
    cell = {"column": key, "number": number} if file.suffix == ".parquet" and not isinstance(image, str) else None
    name = image if isinstance(image, str) else f"{file.stem}-{number:06d}" if cell else ""
    if not name or not question or not answer:
        left_out[f"{file.name} row {number + 1}"] = "no image, no question or no answer"
        return
    standing = split or split_of(row.get("split")) or _official(row)
    one = gathered.setdefault(name, Gathered(_kind(row), standing, cell, file if cell else None))
    one.split = max(one.split, standing, key=LATER.index)
    closed = {"CLOSED": True, "OPEN": False}.get(_text(row.get("answer_type")).upper())
    kind = _text(row.get("question_type") or row.get("content_type"))
    one.asked.append(Asked(question, answer, kind, closed))


def _text(said: Any) -> str:
    return "" if said is None else str(said).strip()


def _official(row: Mapping[str, Any]) -> str:
    """Return VQA-RAD's split, which stands in how a question was phrased."""
    return "" if "phrase_type" not in row else "test" if _text(row["phrase_type"]).startswith("test") else "train"


def _kind(row: Mapping[str, Any]) -> str:
    organ = _text(row.get("image_organ")).upper()
    return ORGANS.get(organ, "") if organ else kind_named(_text(row.get("modality")), _text(row.get("location")))


def _item(name: str, one: Gathered, base: Path, options: Options) -> Item | None:
    known: dict[str, Any] = {}
    if one.place is not None and one.file is not None:
        key = f"{options.name}/{name}"
        image, known = within(base, one.file), {"id": key, "group": name, "record": {"row": one.place}}
        shown = made_name(key)
    else:
        path = located(name, [base / f for f in FOLDERS]) or located(f"{name}.jpg", [base / f for f in FOLDERS])
        if path is None:
            return None
        image = shown = within(base, path)
    sample = sample_of(base, image, options, one.split, **known)
    return Item(sample, shown, options.kind or one.kind, asked=tuple(one.asked), radiological=options.radiological)
