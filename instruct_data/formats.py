"""Instruction data as other trainers read it: TRL, LLaMA-Factory, ms-swift, LLaVA, InternVL.

A record that a format has no place for (tools, several images) is left out and counted, never bent. It copies no image
and trains nothing. Boxes are written in the convention of the model that is to be trained.

Fields are those of these pages: https://huggingface.co/docs/trl/dataset_formats,
https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md,
https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html,
https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md,
https://internvl.readthedocs.io/en/latest/get_started/chat_data_format.html
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from assistant.generalist.boxes import BoxCodec, JsonPixels, JsonThousandths, codec_for
from instruct_data.records import PLACEHOLDER, Marked, Record, image_path, in_pixels, read, rendered, reworded
from specialists.core.errors import BadData

Target = Literal["trl", "llamafactory", "swift", "llava", "internvl"]
MARKS = re.compile(r"<(image|video|audio|bbox|ref-object)>")
"""What the formats read as a place in the text; words of a record that look so are broken up."""
NAME = "consilium"


@dataclass(frozen=True)
class Convert:
    """Write instruction data in the form that another trainer reads."""

    data: Path
    """Folder that `consilium data build` wrote."""
    images: Path
    """Data folder that the records' image paths are relative to."""
    out: Path
    to: Target = "trl"
    model: str = "Qwen/Qwen3-VL-8B-Instruct"
    """Name or folder of the model to be trained: boxes are written in its family's convention."""


@dataclass(frozen=True)
class Converted:
    """What became of the records."""

    file: Path
    written: int
    left_out: Mapping[str, int]
    """Reason -> number of records."""


class Unfit(Exception):
    """The format has no place for what the record holds; the text says what that is."""


Row = dict[str, Any]
Writer = Callable[[Record, Sequence[str], BoxCodec], Row]
"""From a record with the sizes of its images, the paths of its images, and the box codec to the format's row."""


def convert(folder: Path, out: Path, *, to: Target, model: str, images: Path) -> Converted:
    """Write the records of a built folder as OUT/consilium.jsonl (LLaVA: .json), with the format's entry beside it.

    Image paths are written absolute, the form that all five trainers take. Raises BadData for an unknown format, or
    naming the record whose image is missing.
    """
    if to not in WRITERS:
        raise BadData(f"No format named {to!r}. Known: {', '.join(WRITERS)}.")
    codec, left_out = codec_for(family(model)), Counter[str]()
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{NAME}.json{'' if to == 'llava' else 'l'}"
    rows = _rows(read(folder), WRITERS[to], codec, folder, images, left_out)
    written = _write_list(rows, file) if to == "llava" else _write_lines(rows, file)
    beside = {"llamafactory": ("dataset_info.json", {NAME: LLAMAFACTORY}),
              "internvl": ("meta.json", {NAME: {"root": "", "annotation": str(file.resolve()), "data_augment": False,
                                                "repeat_time": 1, "length": written}})}
    if to in beside:
        name, entry = beside[to]
        (out / name).write_text(json.dumps(entry, indent=1) + "\n")
    return Converted(file, written, dict(sorted(left_out.items())))


def family(model: str) -> str:
    """Return the model type that a local checkpoint's config.json states, else the name itself."""
    config = Path(model) / "config.json"
    return str(json.loads(config.read_text()).get("model_type", model)) if config.is_file() else model


def to_trl(record: Record, images: Sequence[str], codec: BoxCodec) -> Row:
    """Return TRL's conversational row: messages of parts, images by path.

    Tools are no part of it: trl's collator for images offers none to the chat template.
    """
    _no_tools(record)
    messages = [{"role": m["role"], "content": _parts(m)} for m in rendered(record, codec).messages]
    return {"id": record.id, "messages": messages, "images": list(images)}


def to_llamafactory(record: Record, images: Sequence[str], codec: BoxCodec) -> Row:
    """Return LLaMA-Factory's sharegpt row; what several tools answered at once is one observation, a line each."""
    told = list(rendered(record, codec).messages)
    system = _text(told.pop(0), "") if told[0]["role"] == "system" else ""
    turns: list[dict[str, str]] = []
    for tool, group in groupby(told, key=lambda m: m["role"] == "tool"):
        if tool:
            turns.append({"from": "observation", "value": "\n".join(_text(m, "") for m in group)})
        else:
            turns += [_said(m, "<image>") for m in group]
    _alternating(turns)
    return {"conversations": turns, "system": system, "tools": _tools(record), "images": list(images)}


def to_swift(record: Record, images: Sequence[str], codec: BoxCodec) -> Row:
    """Return ms-swift's standard row: boxes in pixels under `objects`, which it writes as the model wants them.

    For Qwen2.5-VL and Qwen3-VL the text round a box is the JSON of their cookbook: train with QWENVL_BBOX_FORMAT=new.
    """
    marked, objects = _with_objects(record, isinstance(codec, JsonThousandths | JsonPixels))
    messages: list[dict[str, str]] = []
    for message in marked:
        text = _text(message, "<image>")
        if message["role"] == "tool":
            messages.append({"role": "tool_response", "content": json.dumps(text, ensure_ascii=False)})
            continue
        calls = [{"role": "tool_call", "content": json.dumps(c, ensure_ascii=False)} for c in _calls(message)]
        messages += ([{"role": message["role"], "content": text}] if text or not calls else []) + calls
    row: Row = {"messages": messages, "images": list(images)}
    return row | ({"tools": _tools(record)} if record.tools else {}) | ({"objects": objects} if objects else {})


def to_llava(record: Record, images: Sequence[str], codec: BoxCodec) -> Row:
    """Return LLaVA's row; it knows one image and no system turn, so the system's words open the first question."""
    _no_tools(record)
    if len(images) > 1:
        raise Unfit("several images")
    told = list(rendered(record, codec).messages)
    system = _text(told.pop(0), "") + "\n" if told[0]["role"] == "system" else ""
    turns = [_said(m, "<image>\n") for m in told]
    mark = "<image>\n" if turns[0]["value"].startswith("<image>\n") else ""
    turns[0]["value"] = mark + system + turns[0]["value"].removeprefix(mark)
    _alternating(turns)
    return {"id": record.id, **({"image": images[0]} if images else {}), "conversations": turns}


def to_internvl(record: Record, images: Sequence[str], codec: BoxCodec) -> Row:
    """Return InternVL's row: one image with width and height, or several with lists of them."""
    _no_tools(record)
    turns = [_said(m, "<image>\n") for m in rendered(record, codec).messages]
    _alternating(turns[1:] if turns[0]["from"] == "system" else turns)
    row: Row = {"id": record.id, "conversations": turns}
    if len(images) == 1:
        row |= {"image": images[0], "width": record.sizes[0][0], "height": record.sizes[0][1]}
    elif images:
        row |= {"image": list(images), "width_list": [s[0] for s in record.sizes],
                "height_list": [s[1] for s in record.sizes]}
    return row


WRITERS: dict[str, Writer] = {"trl": to_trl, "llamafactory": to_llamafactory, "swift": to_swift, "llava": to_llava,
                              "internvl": to_internvl}

LLAMAFACTORY = {
    "file_name": f"{NAME}.jsonl", "formatting": "sharegpt",
    "columns": {"messages": "conversations", "system": "system", "tools": "tools", "images": "images"},
    "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
             "observation_tag": "observation", "function_tag": "function_call"}}
"""Entry of dataset_info.json."""


def _rows(records: Iterable[Record], write: Writer, codec: BoxCodec, built: Path, data: Path, left_out: Counter[str]
          ) -> Iterator[Row]:
    for record in records:
        paths = [image_path(name, data, built).resolve() for name in record.images]
        try:
            yield write(_plain(_sized(record, paths)), [str(p) for p in paths], codec)
        except Unfit as reason:
            left_out[str(reason)] += 1


def _sized(record: Record, paths: Sequence[Path]) -> Record:
    """Return the record with the sizes of its images, read from their files where it has none."""
    if record.sizes:
        return record
    try:
        sizes = []
        for path in paths:
            with Image.open(path) as image:
                sizes.append(image.size)
    except OSError as error:
        raise BadData(f"{record.id}: an image of {', '.join(record.images)} cannot be read; name the data folder "
                      "that the records were built from.") from error
    return replace(record, sizes=tuple(sizes))


def _plain(record: Record) -> Record:
    """Return the record with every mark in its own words broken up: only we say where an image or a box stands."""
    return replace(record, messages=tuple(reworded(m, lambda t: MARKS.sub(r"< \1>", t)) for m in record.messages))


def _write_lines(rows: Iterable[Row], file: Path) -> int:
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_list(rows: Iterable[Row], file: Path) -> int:
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(("[\n" if not count else ",\n") + json.dumps(row, ensure_ascii=False))
            count += 1
        lines.write("\n]\n" if count else "[]\n")
    return count


def _no_tools(record: Record) -> None:
    if record.tools or any(m["role"] == "tool" or m.get("tool_calls") for m in record.messages):
        raise Unfit("tools")


def _alternating(turns: Sequence[Mapping[str, str]]) -> None:
    """Raise Unfit unless questions and answers take turns, as these trainers demand."""
    asked = [turn["from"] in ("human", "observation") for turn in turns]
    if len(asked) % 2 or any(a == (i % 2 == 1) for i, a in enumerate(asked)):
        raise Unfit("turns that do not alternate")


def _parts(message: Mapping[str, Any]) -> list[dict[str, str]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else [dict(part) for part in content]


def _text(message: Mapping[str, Any], image: str) -> str:
    """Return the words of a message with `image` in the place of each image."""
    parts = _parts({**message, "content": message.get("content") or ""})
    return "".join(image if p["type"] == "image" else p["text"] for p in parts)


def _said(message: Mapping[str, Any], image: str) -> dict[str, str]:
    """Return a turn as sharegpt writes it."""
    text, calls = _text(message, image), _calls(message)
    if calls and text.strip():
        raise Unfit("words beside a tool call")
    if calls:
        said = calls[0] if len(calls) == 1 else calls
        return {"from": "function_call", "value": json.dumps(said, ensure_ascii=False)}
    role = str(message["role"])
    return {"from": {"user": "human", "assistant": "gpt"}.get(role, role), "value": text}


def _calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for call in message.get("tool_calls") or ():
        given = call["function"]["arguments"]
        found.append({"name": call["function"]["name"],
                      "arguments": json.loads(given or "{}") if isinstance(given, str) else given})
    return found


def _tools(record: Record) -> str:
    """Return the offered tools as a JSON string; "" where none is."""
    offered = [{"type": "function", "function": t["function"]} for t in record.tools]
    return json.dumps(offered, ensure_ascii=False) if offered else ""


def _with_objects(record: Record, as_json: bool) -> tuple[list[dict[str, Any]], Row]:
    """Return the messages with ms-swift's marks for boxes, and the objects that the marks stand for, in their order."""
    refs: list[str] = []
    found: list[Marked] = []

    def write(match: re.Match[str]) -> str:
        named = [record.boxes[int(n)] for n in match[2].split(",")]
        if match[1] == "region":
            found.append(named[0])
            return "<bbox>"
        found.extend(named)
        refs.extend(m.name for m in named)
        if as_json:
            return "[" + ", ".join('{"bbox_2d": <bbox>, "label": "<ref-object>"}' for _ in named) + "]"
        return "".join("<ref-object><bbox>" for _ in named)

    messages = [reworded(m, lambda text: PLACEHOLDER.sub(write, text)) for m in record.messages]
    boxes = [[round(v, 1) for v in in_pixels(m, record.sizes[m.image]).xyxy] for m in found]
    objects = {"ref": refs, "bbox": boxes, "bbox_type": "real", "image_id": [m.image for m in found]}
    return messages, objects if found else {}
