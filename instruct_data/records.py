"""One conversation as plain data, in JSONL files; it makes and judges none.

Texts name boxes by placeholders, so that one record serves every model family: `{boxes:0,2}` stands for the record's
boxes 0 and 2 as a family writes found boxes with their labels, `{region:1}` for the bare place of box 1 in a question.
`rendered` writes both in the convention of a family.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assistant.generalist.boxes import BoxCodec
from specialists.core.errors import BadData
from specialists.core.findings import Box
from specialists.datasets.kinds import OUT_OF_DOMAIN as OUT_OF_DOMAIN

PLACEHOLDER = re.compile(r"\{(boxes|region):(\d+(?:,\d+)*)\}")


@dataclass(frozen=True)
class Marked:
    """A named box on one of the record's images."""

    name: str
    box: tuple[float, float, float, float]
    """Left, top, right, bottom as shares of width and height, 0..1."""
    image: int = 0
    """Number of the image among the record's images."""


@dataclass(frozen=True)
class Record:
    """Images, messages and where they come from; `messages` are in OpenAI's form with {"type": "image"} parts."""

    id: str
    kind: str
    """Name of the kind of conversation: its file under kinds/."""
    images: tuple[str, ...]
    """In the order of the image parts: relative to the data folder, or "made/..." relative to the built folder."""
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    facts: tuple[str, ...] = ()
    """What its answers say of its images, e.g. "diagnosis: glioma", worded alike whatever the kind."""
    boxes: tuple[Marked, ...] = ()
    """What the placeholders of its texts stand for."""
    sizes: tuple[tuple[int, int], ...] = ()
    """(width, height) of each image in pixels; () where it was not read."""
    dataset: str = ""
    modality: str = ""
    """Kind of the first image, e.g. "brain MRI"; "" where unknown."""
    split: str = "train"
    group: str = ""
    """Patient or near-duplicate group of the images."""
    source: str = ""
    license: str = ""
    tier: str = ""
    writer: str = "templates"
    """"templates", or the name of the language model that worded it."""
    language: str = "en"

    def text(self) -> str:
        """Return all words of its messages, a line each."""
        return "\n".join(filter(None, map(words, self.messages)))


def words(message: Mapping[str, Any]) -> str:
    """Return the text of a message without its image parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(p["text"] for p in content if p["type"] == "text")


def reworded(message: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """Return the message with `change(text)` in place of each of its texts."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": change(content)}
    if content is None:
        return dict(message)
    parts = [{**p, "text": change(p["text"])} if p["type"] == "text" else p for p in content]
    return {**message, "content": parts}


def rendered(record: Record, codec: BoxCodec) -> Record:
    """Return the record with its placeholders written as a model family writes boxes.

    Raises BadData where a placeholder names a box that the record lacks, or the image's size is needed and missing.
    """
    def write(match: re.Match[str]) -> str:
        numbers = [int(n) for n in match[2].split(",")]
        if max(numbers) >= len(record.boxes):
            raise BadData(f"{record.id}: {match[0]} for {len(record.boxes)} boxes; build the record again.")
        found = [record.boxes[n] for n in numbers]
        size = record.sizes[found[0].image] if record.sizes else (1000, 1000)
        boxes = [in_pixels(marked, size) for marked in found]
        return codec.encode(boxes, size) if match[1] == "boxes" else codec.region(boxes[0], size)

    messages = tuple(reworded(m, lambda text: PLACEHOLDER.sub(write, text)) for m in record.messages)
    return replace(record, messages=messages)


def in_pixels(marked: Marked, size: Sequence[int]) -> Box:
    """Return a box in pixels of an image of (width, height)."""
    x1, y1, x2, y2 = marked.box
    return Box(marked.name, (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]))


def line(record: Record) -> str:
    """Return the record as one JSON object, keys in a fixed order."""
    return json.dumps(asdict(record), ensure_ascii=False)


def write(records: Iterable[Record], path: Path) -> int:
    """Write one JSON object a line; return how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(line(record) + "\n")
            count += 1
    return count


def parsed(text: str, place: str) -> Record:
    """Return the record of a line; raises BadData naming the place when it is none."""
    try:
        raw = json.loads(text)
        _check_shape(raw)
        boxes = tuple(Marked(b["name"], tuple(b["box"]), b["image"]) for b in raw.get("boxes", ()))
        lists = {key: tuple(raw[key]) for key in ("images", "messages", "tools", "facts") if key in raw}
        sizes = tuple((int(w), int(h)) for w, h in raw.get("sizes", ()))
        return Record(**{**raw, **lists, "boxes": boxes, "sizes": sizes})
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BadData(f"{place} is no record ({error}); wanted what `consilium data build` writes: build it again. Of "
                      "conversations in other forms (LLaVA's JSON list, InternVL's JSON lines) it makes records by "
                      "`consilium data build --layout conversations --data FILE --out BUILT`.") from error


def _check_shape(raw: Any) -> None:
    """Raise TypeError where a line's JSON is not shaped as a record."""
    if not isinstance(raw, dict):
        raise TypeError(f"it holds a {type(raw).__name__}, not an object")
    for name, kind in (("images", str), ("messages", dict), ("tools", dict), ("facts", str)):
        if not isinstance(raw.get(name, []), list) or not all(isinstance(one, kind) for one in raw.get(name, [])):
            raise TypeError(f"its {name} are no list of {'texts' if kind is str else 'objects'}")


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file, or of all records*.jsonl of a folder; BadData names the line that is none."""
    files = sorted(path.glob("records*.jsonl")) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise BadData(f"No records*.jsonl in {path.name!r}; `consilium data build` writes them.")
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                yield parsed(text, f"{file.name} line {number}")


def image_path(name: str, data: Path, built: Path) -> Path:
    """Return the file of a record's image: "made/..." lies in the built folder, all others under the data folder."""
    return built / name if name.startswith("made/") else data / name
