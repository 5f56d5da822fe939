"""What every source is told, and what it gives back; it reads no image and decides nothing about layouts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from instruct_data.items import Item
from specialists.core.errors import BadData
from specialists.datasets.layout import Sample
from specialists.own.sources import NOT_STATED, SPLITS

STANDING = {**SPLITS, "validate": "val", "trainset": "train", "testset": "test"}
"""Split by the name of a file or folder, or by what a row says."""


@dataclass(frozen=True)
class Options:
    """What is said of images whose source does not say it; a folder's info.json may say the same by these names."""

    name: str = ""
    """Name of the set; the folder's when empty."""
    kind: str = ""
    """Kind of all images, e.g. "brain MRI"."""
    license: str = NOT_STATED
    source: str = ""
    tier: str = ""
    labels: tuple[str, ...] = ()
    """Names of the classes in order of their numbers, where a file has numbers alone (MedMNIST)."""
    marked: tuple[str, ...] = ()
    """Names that were marked wherever they are; what a layout itself tells when empty."""
    diagnoses: bool = True
    """The classes may be asked for as diagnoses."""
    radiological: bool = False
    """The patient's left is on the right of all images."""


@dataclass(frozen=True)
class Found:
    """What a source holds, read but for its pixels."""

    items: tuple[Item, ...]
    base: Path
    """Folder that the items' images are relative to."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Rows and files of which no item was made, with the reason."""


def settled(data: Path, options: Options) -> Options:
    """Return the options with what data/info.json says where they are silent; the folder's name if none is given."""
    folder = data if data.is_dir() else data.parent
    info = folder / "info.json"
    said = parsed(info) if info.is_file() else {}
    if not isinstance(said, dict):
        raise BadData(f"{info.name} holds no object; wanted e.g. {{\"kind\": \"colonoscopy\"}}.")
    if "licence" in said:
        said.setdefault("license", said["licence"])
    known = {f.name: f.default for f in fields(Options)}
    given = {k: tuple(v) if isinstance(known[k], tuple) and isinstance(v, list) else v
             for k, v in said.items() if k in known}
    fresh = {k: v for k, v in given.items() if getattr(options, k) == known[k] and isinstance(v, type(known[k]))}
    filled = replace(options, **fresh)
    return replace(filled, name=filled.name or (data.name if data.is_dir() else data.stem))


def parsed(file: Path) -> Any:
    """Return the content of a JSON file; raises BadData."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadData(f"{file.name} is no JSON ({type(error).__name__}); wanted one JSON document. "
                      "Export it again.") from None


def within(base: Path, path: Path) -> str:
    """Return a path relative to the base, with slashes; raises BadData where it lies elsewhere."""
    relative = os.path.relpath(path, base)
    if relative.startswith(".."):
        raise BadData(f"The image {path.name!r} lies outside the folder {base.name!r}; wanted one folder that holds "
                      "all. Name the folder above both.")
    return Path(relative).as_posix()


def located(name: str, folders: Iterable[Path]) -> Path | None:
    """Return the first file of a relative name below the folders; None where there is none."""
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return next((path for folder in folders if (path := folder / name).is_file()), None)


def made_name(id: str, part: str = "") -> str:
    """Return "made/....png" for an image that the build writes; the name tells nothing of the source's."""
    return f"made/{sha256(id.encode()).hexdigest()[:16]}{f'_{part}' if part else ''}.png"


def split_of(name: object) -> str:
    """Return "train", "val" or "test" for what a row or file calls it; "" where it names none."""
    return STANDING.get(str(name or "").strip().lower(), "")


def sample_of(base: Path, image: str, options: Options, split: str = "", **known: Any) -> Sample:
    """Return the sample of an image of a source that has no records; `known` are more fields of it."""
    group = known.pop("group", None) or known.get("patient") or image
    fixed: dict[str, Any] = {
        "id": f"{options.name}/{image}", "label": None, "patient": None, "source": options.source or options.name,
        "license": options.license, "tier": options.tier, "group": f"{options.name}/{group}"}
    return Sample(path=base / image, dataset=options.name, split=split, **{**fixed, **known})
