"""A folder of pictures and a folder of masks with a label map: images/*, masks/* (or masks/NAME/*), labels.json.

A mask belongs to the picture of its place and name (NAME.png, or NAME_mask.png), or else to the only one of its name:
folders may be patients that all have a 001.png. In labels.json stands what the values mean, {"1": "optic disc"}; masks
in a folder NAME a structure need none. Pictures without a mask are told nothing of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
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
    structures = _structures(folder, data / "images")
    names = _label_map(data)
    if not structures and not names:
        raise BadData(f"{data.name!r} has masks and no labels.json; wanted what their values mean, e.g. "
                      "{\"1\": \"optic disc\"}, or {\"*\": \"polyp\"} for masks of one thing.")
    maps: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for where, meaning in [(p, {"*": p.name.replace("_", " ")}) for p in structures] or [(folder, names)]:
        for file in _pictures(where):
            maps[_place(file, where)].append({"file": file.relative_to(data).as_posix(), "names": meaning})
    marked = options.marked or tuple(sorted({n for all_ in maps.values() for m in all_ for n in m["names"].values()}))
    items, used = [], set()
    pictures = {file: _place(file, data / "images") for file in _pictures(data / "images")}
    alone = _once(maps), _once(pictures.values())
    for file, place in pictures.items():
        drawn = next((maps[key] for key in _keys(place, *alone) if key in maps), [])
        used |= {one["file"] for one in drawn}
        sample = sample_of(data, file.relative_to(data).as_posix(), options, record={"maps": drawn})
        items.append(Item(sample, file.relative_to(data).as_posix(), options.kind, marked=marked if drawn else (),
                          radiological=options.radiological))
    left = {one["file"]: _unused(place, pictures.values()) for place, drawn in maps.items() for one in drawn
            if one["file"] not in used}
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


def _structures(folder: Path, images: Path) -> list[Path]:
    """Return the folders named like structures; those that stand beside the pictures, too, are patients or splits."""
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [] if all((images / p.name).is_dir() for p in found) else found


def _place(file: Path, base: Path) -> str:
    """Return where a file lies below a folder, without its ending."""
    relative = file.relative_to(base).as_posix()
    return relative[:relative.rfind(".")]


def _name(place: str) -> str:
    return place.rpartition("/")[2]


def _once(places: Iterable[str]) -> dict[str, str]:
    """Return the place of each name that only one of them has."""
    named: dict[str, list[str]] = defaultdict(list)
    for place in places:
        named[_name(place)].append(place)
    return {name: found[0] for name, found in named.items() if len(found) == 1}


def _keys(place: str, masks: Mapping[str, str], pictures: Mapping[str, str]) -> Iterator[str]:
    """Yield where the masks of a picture may lie: beside it, then anywhere if no other has the name."""
    yield from (place + tail for tail in TAILS)
    if _name(place) in pictures:
        yield from (masks[_name(place) + tail] for tail in TAILS if _name(place) + tail in masks)


def _unused(place: str, pictures: Collection[str]) -> str:
    """Return why a mask belongs to no picture."""
    mine = {place.removesuffix(tail) for tail in TAILS}
    if mine & set(pictures):
        return "another mask of its picture counts"
    if {_name(one) for one in mine} & set(map(_name, pictures)):
        return "pictures of that name in other folders: which it belongs to cannot be told"
    return "no picture of that name"


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
