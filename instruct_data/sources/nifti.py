"""NIfTI volumes with label volumes and a label map: nnU-Net's and the Decathlon's dataset.json, or images/ and labels/.

Of several channels of a volume the first is shown. Which slices are shown is decided when a volume is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from instruct_data.items import Item
from instruct_data.sources.masks import BACKGROUND, LABEL_MAPS, meanings
from instruct_data.sources.options import Found, Options, parsed, sample_of, within
from specialists.core.errors import BadData
from specialists.own.sources import NOT_STATED

ENDINGS = (".nii", ".nii.gz")
LABELS = ("labels", "masks", "segmentations", "labelsTr")
NAMED = ("", "_seg", "_mask", "_label", "_labels")


def fits(data: Path) -> bool:
    """Tell whether it has dataset.json beside imagesTr/, or volumes in images/ or in itself."""
    if not data.is_dir():
        return False
    decathlon = (data / "dataset.json").is_file() and (data / "imagesTr").is_dir()
    return decathlon or any(next(_volumes(folder), None) for folder in (data / "images", data))


def read(data: Path, options: Options) -> Found:
    """Return an item a volume; raises BadData."""
    file = data / "dataset.json"
    said = parsed(file) if file.is_file() else {}
    if said:
        license = str(said.get("licence") or said.get("license") or options.license)
        options = replace(options, license=options.license if options.license != NOT_STATED else license)
        names = _names(said.get("labels"))
    else:
        label_map = next((data / n for n in LABEL_MAPS if (data / n).is_file()), None)
        found = {} if label_map is None else meanings(parsed(label_map), label_map.name)
        names = [{value: name} for value, name in found.items()]
    labels = next((data / n for n in LABELS if (data / n).is_dir()), None)
    if labels is not None and not names:
        raise BadData(f"{data.name!r} has label volumes and no label map; wanted labels.json, e.g. "
                      "{\"1\": \"liver\"}, or nnU-Net's dataset.json.")
    marked = options.marked or tuple(sorted({n for one in names for n in one.values()}))
    items = []
    for image, label, split in _pairs(data, said, labels):
        maps = [{"file": within(data, label), "names": one} for one in names] if label else []
        sample = sample_of(data, within(data, image), options, split, record={"maps": maps})
        items.append(Item(sample, within(data, image), options.kind, marked=marked if maps else (),
                          radiological=options.radiological))
    if not items:
        raise BadData(f"No volume in {data.name!r}; wanted images/*.nii.gz or imagesTr/*.nii.gz.")
    return Found(tuple(items), data)


def _names(said: Any) -> list[dict[str, str]]:
    """Return {value: name} of each label; one of several values (nnU-Net's regions) has them all."""
    if not isinstance(said, Mapping):
        raise BadData("dataset.json names no labels; wanted {\"background\": 0, \"liver\": 1}.")
    listed = {k: v for k, v in said.items() if isinstance(v, list)}
    plain = {k: v for k, v in said.items() if k not in listed}
    found = [{value: name} for value, name in (meanings(plain, "dataset.json") if plain else {}).items()]
    return found + [{str(v): str(k) for v in values} for k, values in listed.items()
                    if str(k).lower() not in BACKGROUND]


def _pairs(data: Path, said: Mapping[str, Any], labels: Path | None) -> Iterator[tuple[Path, Path | None, str]]:
    """Yield each volume with its labels and its split."""
    if (data / "imagesTr").is_dir():
        yield from ((i, label, "train") for i, label in _beside(data / "imagesTr", data / "labelsTr"))
        tested = data / "labelsTs"
        yield from ((i, label, "test") for i, label in _beside(data / "imagesTs", tested))
        return
    folder = data / "images" if (data / "images").is_dir() else data
    yield from ((i, label, "") for i, label in _beside(folder, labels))


def _beside(images: Path, labels: Path | None) -> Iterator[tuple[Path, Path | None]]:
    known = {_stem(p): p for p in _volumes(labels)} if labels is not None else {}
    for image in _volumes(images):
        stem, channel = _stem(image), ""
        if stem[-5:-4] == "_" and stem[-4:].isdigit():
            stem, channel = stem[:-5], stem[-4:]
        if channel in ("", "0000"):
            yield image, next((known[stem + tail] for tail in NAMED if stem + tail in known), None)


def _volumes(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (p for p in sorted(folder.iterdir())
                    if p.name.lower().endswith(ENDINGS) and not p.name.startswith("."))


def _stem(file: Path) -> str:
    return file.name[:file.name.lower().rfind(".nii")]
