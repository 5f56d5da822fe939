"""Reports and answered questions of images, as entries of an index of texts; it compares none and judges none.

The index itself, and what it may find, stands in `assistant.collaboration.texts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from assistant.collaboration.texts import Encoder, Entry, TextIndex
from instruct_data.gather import gather, layout_of
from instruct_data.items import Item
from instruct_data.kinds.vqa import tidy
from instruct_data.records import OUT_OF_DOMAIN
from instruct_data.rows import study_of
from instruct_data.sources import reports
from instruct_data.sources.options import Options, settled
from specialists.core.errors import BadData, BadStudy
from specialists.core.study import Study, read_study


def entries_of(item: Item, study: Study | None = None) -> Iterator[Entry]:
    """Yield the texts of an item: each answered question, and its report by findings and impression.

    With the image read as `study`, its own texts, and those of its near-duplicates, are not found for it.
    """
    sample = item.sample
    about = {"kind": item.kind, "patient": sample.patient or "", "group": sample.group, "source": sample.source,
             "license": sample.license, "image": study.sha256 if study else "",
             "dhash": study.dhash().hex() if study else ""}
    for number, asked in enumerate(item.asked):
        if asked.question.strip() and asked.answer.strip():
            yield Entry(f"{sample.id}#{number}", " ".join(asked.answer.split()), tidy(asked.question), **about)
    told = " ".join(filter(None, (item.report.findings, item.report.impression))) if item.report else ""
    if told:
        yield Entry(f"{sample.id}#report", told, **about)


def index_of(items: Iterable[Item], encoder: Encoder | None = None) -> TextIndex:
    """Return the index of all texts of the items, told apart by patient and group; raises BadData without any."""
    return TextIndex.build((entry for item in items for entry in entries_of(item)), encoder)


def make_index(data: Path, out: Path, *, layout: str | None = None, split: str = "train",
               exclude: Iterable[str] = OUT_OF_DOMAIN, encoder: Encoder | None = None) -> TextIndex:
    """Write the index of a data folder's texts, of one split, into `out` and return it; raises BadData.

    Its texts are shown as they stand, with source and license: terms that keep them out of weights do not keep them
    out of it. Of the layout `reports` the images need not be there.
    """
    entries = [entry for item in items_of(data, layout, split, exclude) for entry in entries_of(item, _read(item))]
    index = TextIndex.build(entries, encoder)
    index.save(out)
    return index


def items_of(data: Path, layout: str | None, split: str, exclude: Iterable[str]) -> list[Item]:
    """Return what is known of the images; of reports without any image, the reports."""
    data = Path(data).expanduser().absolute()
    try:
        return list(gather(data, split=split, exclude=exclude, layout=layout, restricted=True).items)
    except BadData:
        if (layout or layout_of(data)) != "reports" or split not in ("train", "all"):
            raise
        return reports.texts(data, settled(data, Options()))


def counted(index: TextIndex) -> Counter[tuple[str, str, str]]:
    """Return the number of texts by what they are, source and license."""
    return Counter(("question and answer" if e.question else "report", e.source, e.license or "not stated")
                   for e in index.entries)


def _read(item: Item) -> Study | None:
    """Return an item's image where it has texts and can be read."""
    if not item.image or not (item.asked or item.report):
        return None
    row = item.sample.record.get("row")
    try:
        return read_study(item.sample.path) if row is None else study_of(item.sample.path, row)
    except (BadStudy, BadData, OSError):
        return None
