"""A folder a class, or a CSV of images and labels: FOLDER/LABEL/*.png, or a table with the columns image and label.

It reads as training a specialist does. Labels of several findings are parted at "|".
"""

from __future__ import annotations

from pathlib import Path

from instruct_data.items import Item
from instruct_data.sources.options import Found, Options, within
from specialists.core.errors import BadData
from specialists.own.sources import Source, read_source


def fits(data: Path) -> bool:
    """Tell whether labelled images are found in it."""
    try:
        return bool(_source(data, Options(name=data.name)).samples)
    except BadData:
        return False


def read(data: Path, options: Options) -> Found:
    """Return an item an image; raises BadData."""
    base = data if data.is_dir() else data.parent
    source = _source(data, options)
    given = {s.id: tuple(x.strip() for x in str(s.label).split("|") if x.strip()) for s in source.samples}
    names = tuple(sorted({x for labels in given.values() for x in labels}))
    labels = names if options.diagnoses and len(names) > 1 else ()
    several = any(len(x) > 1 for x in given.values())
    left_out = dict(source.left_out)
    items = []
    for sample in source.samples:
        try:
            image = within(base, sample.path)
        except BadData as error:
            left_out[sample.id] = str(error)
            continue
        items.append(Item(sample, image, str(sample.record.get("kind") or options.kind), labels,
                          present=given[sample.id] if labels else (), several=several,
                          radiological=options.radiological))
    return Found(tuple(items), base, left_out)


def _source(data: Path, options: Options) -> Source:
    return read_source(data, options.name, options.license, options.source)
