"""MedMNIST's .npz files: train_images (N, H, W[, 3]) and train_labels (N, 1), the same for val and test.

The files hold numbers and no names: the names of the classes are told by the options or by info.json beside the file.
Labels of several columns are findings of which several may hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from instruct_data.items import Item
from instruct_data.rows import arrays
from instruct_data.sources.options import Found, Options, made_name, sample_of
from specialists.core.errors import BadData

SPLITS = ("train", "val", "test")


def fits(data: Path) -> bool:
    """Tell whether it is such a file, or a folder with one."""
    return _file(data) is not None


def read(data: Path, options: Options) -> Found:
    """Return an item a row; raises BadData where the names of the classes are not told."""
    file = _file(data)
    if file is None:
        raise BadData(f"No .npz with train_images in {data.name!r}; wanted a file of MedMNIST.")
    return Found(tuple(_items(file, options)), file.parent)


def _file(data: Path) -> Path | None:
    for file in [data] if data.is_file() else sorted(data.glob("*.npz")):
        if file.suffix == ".npz":
            try:
                with ZipFile(file) as opened:
                    if {"train_images.npy", "train_labels.npy"} <= set(opened.namelist()):
                        return file
            except (BadZipFile, OSError):
                continue
    return None


def _items(file: Path, options: Options) -> Iterator[Item]:
    held = arrays(file)
    if not options.labels:
        raise BadData(f"{file.name} holds numbers for classes; wanted their names in order, as \"labels\" in "
                      "info.json beside it or in the options.")
    for split in SPLITS:
        images, labels = held.get(f"{split}_images"), held.get(f"{split}_labels")
        if images is None or labels is None:
            continue
        if len(images) != len(labels) or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
            raise BadData(f"{file.name} has {split}_images of shape {images.shape} and {len(labels)} labels; wanted "
                          "(N, H, W) or (N, H, W, 3), and N labels. Volumes are not read from it.")
        several = labels.ndim == 2 and labels.shape[1] > 1
        most = labels.shape[1] if several else int(labels.max(initial=0)) + 1
        if most > len(options.labels):
            raise BadData(f"{file.name} has {most} classes and {len(options.labels)} names; wanted a name each.")
        for number, row in enumerate(labels.reshape(len(labels), -1)):
            numbers = np.flatnonzero(row) if several else [int(row[0])]
            present = tuple(options.labels[int(n)] for n in numbers)
            key = f"{options.name}/{split}-{number:06d}"
            sample = sample_of(file.parent, file.name, options, split, id=key, group=f"{split}-{number:06d}",
                               label=present[0] if present else None,
                               record={"row": {"array": f"{split}_images", "number": number}})
            yield Item(sample, made_name(key), options.kind, options.labels if options.diagnoses else (),
                       present=present if options.diagnoses else (), several=several)
