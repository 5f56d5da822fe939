"""A sample of built conversations as one HTML file to be looked at: boxes drawn, faults tallied by hand.

The file needs no server and loads nothing: images stand in it as small JPEGs. All that comes from the data is written
as text, never as markup. It judges nothing itself and changes no record.
"""

from __future__ import annotations

import base64
import io
import json
import random
import sys
import webbrowser
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from instruct_data.records import Record, image_path, read, words
from specialists.core.errors import BadStudy
from specialists.core.study import read_study

SIDE = 640
"""Longer side of an embedded image in pixels, at most."""
QUALITY = 78
FIELDS = ("id", "kind", "dataset", "modality", "facts", "license", "tier", "source", "split", "writer", "language")
"""Of a record, shown as they are; its group is not."""


@dataclass(frozen=True)
class Show:
    """Open a sample of conversations in the browser, boxes drawn."""

    folder: Path
    """Folder that `consilium data build` wrote."""
    data: Path | None = None
    """Data folder that it was built from; without it only images made by the build are shown."""
    out: Path | None = None
    """HTML file; sample.html in the folder when not named."""
    count: int = 200
    """Conversations, spread evenly over kinds and sets."""
    seed: int = 0
    kinds: tuple[str, ...] = ()
    """Kinds of conversation; all when none is named."""
    open: bool = True
    """Open it in the browser."""


def run_show(config: Show) -> int:
    """Write the page, open it, say where it is; return 0."""
    out = config.out or config.folder / "sample.html"
    number = show(config.folder, config.data, out, config.count, config.seed, config.kinds)
    sys.stdout.write(f"{number} conversations in {out}\n")
    if config.open:
        webbrowser.open(out.resolve().as_uri())
    return 0


def show(folder: Path, data: Path | None, out_html: Path, count: int = 200, seed: int = 0, kinds: Sequence[str] = ()
         ) -> int:
    """Write a page of so many records, spread over kinds and sets, in a seeded order; return how many there are.

    Raises BadData where the folder holds no records.
    """
    total, chosen = sample(folder, count, seed, kinds)
    name = sample_name(chosen, folder)
    rows = [_row(record, data or Path(), folder) for record in chosen]
    text = json.dumps({"name": name, "total": total, "records": rows}, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":  # no text of the data can end the script that holds it
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    page = resources.files("instruct_data").joinpath("show.html").read_text(encoding="utf-8")
    out_html.parent.mkdir(parents=True, exist_ok=True)
    out_html.write_text(page.replace("__DATA__", text), encoding="utf-8")
    return len(chosen)


def sample(folder: Path, count: int, seed: int, kinds: Sequence[str] = ()) -> tuple[int, list[Record]]:
    """Return how many records there are, and `count` of them: kinds and, in each, sets take turns."""
    kept: dict[tuple[str, str], list[Record]] = defaultdict(list)
    seen: dict[tuple[str, str], int] = defaultdict(int)
    total = 0
    for record in read(folder):
        total += 1
        if kinds and record.kind not in kinds:
            continue
        key = record.kind, record.dataset
        seen[key] += 1
        place = random.Random(f"{seed}/{record.id}/{seen[key]}").randrange(seen[key])
        if len(kept[key]) < count:
            kept[key].append(record)
        elif place < count:
            kept[key][place] = record
    rng = random.Random(seed)
    queues: dict[str, list[list[Record]]] = defaultdict(list)
    for key in sorted(kept):
        rng.shuffle(kept[key])
        queues[key[0]].append(kept[key])
    chosen: list[Record] = []
    while len(chosen) < count and any(queues.values()):
        for kind in sorted(queues):
            if queues[kind] and len(chosen) < count:
                own = queues[kind].pop(0)
                chosen.append(own.pop())
                queues[kind] += [own] if own else []
    return total, sorted(chosen, key=lambda r: (r.kind, r.dataset, r.id))


def sample_name(records: Sequence[Record], folder: Path) -> str:
    """Return a name under which judgments of this sample are kept."""
    return f"{folder.resolve().name}-{random.Random(repr([r.id for r in records])).getrandbits(32):08x}"


def _row(record: Record, data: Path, folder: Path) -> dict[str, Any]:
    whole = asdict(record)
    sizes = record.sizes or ((0, 0),) * len(record.images)
    return {**{name: whole[name] for name in FIELDS}, "boxes": whole["boxes"],
            "turns": [_turn(m) for m in record.messages],
            "tools": [json.dumps(t, ensure_ascii=False) for t in record.tools],
            "images": [_image(n, s, image_path(n, data, folder)) for n, s in zip(record.images, sizes, strict=False)]}


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [f"{c['function']['name']}({json.dumps(c['function']['arguments'], ensure_ascii=False)})"
             for c in message.get("tool_calls") or ()]
    return {"role": message["role"], "text": words(message), "calls": calls}


def _image(name: str, size: tuple[int, int], path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "url": "", "why": "", "width": 1, "height": 1,
                           "size": f"{size[0]} × {size[1]}" if size[0] else ""}
    if not path.is_file():
        return {**row, "why": "there is no such file; name the data folder with --data."}
    try:
        picture = read_study(path).image()
    except BadStudy as error:
        return {**row, "why": str(error)}
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return {**row, "url": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(),
            "width": picture.width, "height": picture.height}
