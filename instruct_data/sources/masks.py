"""A folder of pictures and a folder of masks with a label map: images/*, masks/* (or masks/NAME/*), labels.json.

A mask belongs to the picture of its name (NAME.png, or NAME_mask.png). In labels.json stands what the values mean,
{"1": "optic disc"}; masks in a folder NAME a structure need none. Pictures without a mask are told nothing of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instruct_data.items import Item
from instruct_data.sources.options import Found, Options, parsed, sample_of
from specialists.core.errors import BadData
from specialists.own.sources import ENDINGS

FOLDERS = ("masks", "mask", "labels", "annotations")
LABEL_MAPS = ("labels.json", "label_map.json", "classes.json")
TAILS = ("", "_mask", "_seg", "_segmentation", "_label", "_annotation")
BACKGROUND = frozenset({"background", "bg", ""})


def fits(data: Path) -> bool:
    """Tell whether it has images and masks side by side."""
    return (data / "images").is_dir() and _folder(data) is not None


def read(data: Path, options: Options) -> Found:
    """Return an item a picture; raises BadData where masks lie flat and no label map says what they show."""
    folder = _folder(data)
    if folder is None or not (data / "images").is_dir():
        raise BadData(f"{data.name!r} lacks images/ or masks/; wanted both, and labels.json.")
    structures = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    names = _label_map(data)
    if not structures and not names:
        raise BadData(f"{data.name!r} has masks and no labels.json; wanted what their values mean, e.g. "
                      "{\"1\": \"optic disc\"}, or {\"*\": \"polyp\"} for masks of one thing.")
    maps: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for where, meaning in [(p, {"*": p.name.replace("_", " ")}) for p in structures] or [(folder, names)]:
        for file in _pictures(where):
            maps[_stem(file)].append({"file": file.relative_to(data).as_posix(), "names": meaning})
    marked = options.marked or tuple(sorted({n for all_ in maps.values() for m in all_ for n in m["names"].values()}))
    items, used = [], set()
    for file in _pictures(data / "images"):
        drawn = next((maps[key] for key in _keys(file) if key in maps), [])
        used |= {one["file"] for one in drawn}
        sample = sample_of(data, file.relative_to(data).as_posix(), options, record={"maps": drawn})
        items.append(Item(sample, file.relative_to(data).as_posix(), options.kind, marked=marked if drawn else (),
                          radiological=options.radiological))
    left = {m["file"]: "no picture of that name" for all_ in maps.values() for m in all_ if m["file"] not in used}
    if not used:
        raise BadData(f"No mask of {data.name!r} has the name of a picture; wanted images/NAME.png, masks/NAME.png.")
    return Found(tuple(items), data, left)


def _folder(data: Path) -> Path | None:
    return next((data / name for name in FOLDERS
                 if (data / name).is_dir() and next(_pictures(data / name), None)), None) if data.is_dir() else None


def _pictures(folder: Path) -> Iterator[Path]:
    """Yield the picture files below a folder, sorted; no volumes."""
    for file in sorted(folder.rglob("*")):
        name = file.name.lower()
        if name.endswith(ENDINGS) and not name.endswith((".nii", ".nii.gz")) and not name.startswith("."):
            yield file


def _stem(file: Path) -> str:
    return file.name[:file.name.rfind(".")]


def _keys(file: Path) -> Iterator[str]:
    """Yield the names that the masks of a picture may have, without their endings."""
    return (_stem(file) + tail for tail in TAILS)


def _label_map(data: Path) -> dict[str, str]:
    file = next((data / name for name in LABEL_MAPS if (data / name).is_file()), None)
    return {} if file is None else meanings(parsed(file), file.name)


def meanings(said: object, where: str) -> dict[str, str]:
    """Return {value: name} of a label map written as {value: name} or {name: value}, without the background."""
    if not isinstance(said, Mapping) or not said:
        raise BadData(f"{where} holds no label map; wanted e.g. {{\"1\": \"optic disc\"}}.")
    pairs = [(str(k), v) for k, v in said.items()]
    if all(isinstance(v, int) for _, v in pairs):
        pairs = [(str(v), k) for k, v in pairs]
    for value, name in pairs:
        if not isinstance(name, str) or not all(v.strip().isdigit() for v in value.split(",") if value != "*"):
            raise BadData(f"{where} says {value!r}: {name!r}; wanted a value of the masks and its name.")
    return {value: name for value, name in pairs if name.strip().lower() not in BACKGROUND}
