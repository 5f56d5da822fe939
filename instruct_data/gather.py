"""From a folder or file of any known layout to a library of items; it opens no image and makes no conversation.

What is left out, and why, stands in `Library.left_out`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from assistant.steps import Case, Opinion
from instruct_data.items import Item, Library
from instruct_data.records import OUT_OF_DOMAIN
from instruct_data.sources import (
    coco,
    conversations,
    dicom,
    feedback,
    labelled,
    masks,
    medmnist,
    nifti,
    qa,
    records,
    reports,
)
from instruct_data.sources.options import Found, Options, made_name, settled
from specialists.core import registry
from specialists.core.errors import BadData
from specialists.datasets.kinds import HELD_OUT, KIND_OF

LAYOUTS: Mapping[str, ModuleType] = {
    "records": records, "feedback": feedback, "conversations": conversations, "coco": coco, "nifti": nifti,
    "medmnist": medmnist, "qa": qa, "reports": reports, "masks": masks, "dicom": dicom, "labelled": labelled}
"""In the order in which they are tried: `fits(data)` tells by content, `read(data, options)` reads."""
SHOWN = (".png", ".jpg", ".jpeg", ".webp")
VOLUMES = (".nii", ".nii.gz")
SPLITS = ("train", "val", "test", "all")
Evidence = Mapping[tuple[str, str], tuple[tuple[Opinion, ...], tuple[Case, ...]]]


def gather(data: Path, evidence: Path | None = None, *, split: str = "train",
           exclude: Iterable[str] = OUT_OF_DOMAIN, layout: str | None = None, restricted: bool = False,
           options: Options | None = None) -> Library:
    """Read all that `data` holds of a split ("all" for all), with the out-of-fold evidence under `evidence`.

    The layout is found by content unless named. Sets in `exclude` are left out by name; images whose licenses keep
    them out of what ships are taken only if `restricted`. Where a source names no splits, all is for training.
    `options` say what the source does not. Raises BadData.
    """
    if split not in SPLITS:
        raise BadData(f"Got the split {split!r}; wanted one of {', '.join(SPLITS)}.")
    found = _read(Path(data).expanduser().absolute(), layout, options or Options())
    excluded = set(exclude)
    known = _evidence(evidence)
    left_out = dict(found.left_out)
    items: list[Item] = []
    for item in found.items:
        standing = item.sample.split or "train"
        if item.sample.dataset in excluded:
            left_out[item.sample.dataset] = "excluded"
        elif split not in ("all", standing):
            continue
        elif not restricted and (held := held_out(item)):
            left_out[item.sample.dataset if item.sample.dataset in HELD_OUT else item.image] = held
        else:
            opinions, cases = known.get((item.sample.dataset, item.sample.id), ((), ()))
            items.append(replace(_named(item), sample=replace(item.sample, split=standing), opinions=opinions,
                                 cases=cases))
    if not items:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
        named = not found.items or split in ("train", "all") or any(item.sample.split for item in found.items)
        how = ("" if named else " It names no split, so all is for training: "
               "say it of each record or row, or put the folders of labels into folders named train, val and test.")
        raise BadData(f"Nothing of the split {split!r} may be taught from {data.name!r}"
                      f"{f' ({reasons})' if reasons else ''}. Ask for another split or set.{how}")
    return Library(items, found.base, left_out)


def layout_of(data: Path) -> str:
    """Return the name of the layout that `data` has by its content; raises BadData naming those that are read."""
    if not data.exists():
        raise BadData(f"There is no {data.name!r}; wanted a folder or file of images with what is known of them.")
    for name, source in LAYOUTS.items():
        if source.fits(data):
            return name
    told = "\n".join(f"  {name}: {_told(source)}" for name, source in LAYOUTS.items())
    raise BadData(f"No known layout in {data.name!r}; wanted one of\n{told}\nArrange it so, or name the layout.")


def held_out(item: Item) -> str | None:
    """Return why an image is kept out of what ships; None where it is not."""
    name, license = item.sample.dataset, item.sample.license
    if name in HELD_OUT or (item.sample.tier == "C" and name not in KIND_OF):
        return "its terms keep it out of what ships"
    if "-ND" in license.upper():
        return f"no derivatives are allowed ({license})"
    return None


def _named(item: Item) -> Item:
    """Return the item under the name that its image gets, where it is not of a format that all programs show."""
    plain = item.image.startswith("made/") or item.image.lower().endswith((*SHOWN, *VOLUMES))
    return item if plain else replace(item, image=made_name(item.sample.id))


def _read(data: Path, layout: str | None, options: Options) -> Found:
    name = layout or layout_of(data)
    if name not in LAYOUTS:
        raise BadData(f"Got the layout {name!r}; wanted one of {', '.join(LAYOUTS)}.")
    return LAYOUTS[name].read(data, options if name == "records" else settled(data, options))


def _told(source: ModuleType) -> str:
    return str(source.__doc__).partition("\n")[0]


def _evidence(folder: Path | None) -> Evidence:
    """Return the opinions and cases of each image, by set and id, from DOMAIN.jsonl files; none without a folder."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise BadData(f"There is no folder {folder.name!r} of evidence; `consilium specialists train` writes it.")
    cards = registry.cards()
    found: dict[tuple[str, str], tuple[tuple[Opinion, ...], tuple[Case, ...]]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if not line:
                continue
            try:
                row = json.loads(line)
                opinions = tuple(
                    Opinion(o["specialist"], o["label"], o["probabilities"],
                            cards[o["specialist"]].validated if o["specialist"] in cards else {})
                    for o in row["opinions"])
                cases = tuple(Case(c["id"], c["label"], c["similarity"], row["dataset"]) for c in row["cases"])
                found[row["dataset"], row["id"]] = (opinions, cases)
            except (KeyError, TypeError, ValueError) as error:
                raise BadData(f"{file.name} line {number} is no evidence ({type(error).__name__}); wanted id, "
                              "dataset, opinions and cases. Write it again.") from None
    return found
