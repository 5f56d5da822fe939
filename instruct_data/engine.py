"""Makes conversations part by part: the same plan gives the same bytes wherever a part is made.

A part is some hundred images: read, looked over, turned into records, written as a whole. It can be killed at any
time; what is done stays, and the next run goes on. `on_ray` makes the parts elsewhere; `build` hands out the files.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from assistant.collaboration.texts import TextIndex
from instruct_data.examine import examine, plain_size
from instruct_data.faults import MOST_FORMS
from instruct_data.gather import gather
from instruct_data.items import Item, Library
from instruct_data.mix import KINDS, chosen
from instruct_data.records import OUT_OF_DOMAIN, Record, image_path, line
from instruct_data.retrieval import index_of
from instruct_data.writers.language_model import Writer, WriterConfig, open_writer
from specialists.core.errors import BadData, BadStudy

PARTS = ".parts"


@dataclass(frozen=True)
class Plan:
    """What is built; equal plans over equal data give equal bytes."""

    data: Path
    """Folder (or file) of images with what is known of them."""
    out: Path
    evidence: Path | None = None
    """Folder of out-of-fold opinions and cases, DOMAIN.jsonl."""
    layout: str | None = None
    """Layout of `data`; found by its content when not named."""
    seed: int = 0
    split: str = "train"
    exclude: tuple[str, ...] = tuple(sorted(OUT_OF_DOMAIN))
    """Sets that are left out."""
    restricted: bool = False
    """Take in images whose terms keep them out of weights that ship."""
    kinds: tuple[str, ...] = ()
    """Kinds of conversation; all when none is named."""
    forms: int = 1
    """Wordings of each fact by each kind."""
    part: int = 200
    """Images of a part."""
    texts: bool = False
    """Put texts of other cases, found among those of the data, into prompts of open questions and reports."""
    writer: WriterConfig | None = None
    """A language model that rewords; templates alone without."""

    def __post_init__(self) -> None:
        """Refuse numbers that build nothing."""
        if not 1 <= self.forms <= MOST_FORMS:
            raise BadData(f"{self.forms} forms of a fact; wanted 1 to {MOST_FORMS}.")
        if self.part < 1:
            raise BadData(f"{self.part} images a part; wanted at least 1.")



@dataclass
class Part:
    """What came of a part."""

    records: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Image -> why no conversation was made of it."""
    lost: Counter[str] = field(default_factory=Counter)
    """Filter -> records that it took away."""
    images: dict[str, str] = field(default_factory=dict)
    """Image -> sha256 of its file."""


@lru_cache(maxsize=2)
def library_of(plan: Plan) -> Library:
    """Return all items of a plan in a fixed order; a process gathers them once."""
    found = gather(plan.data, plan.evidence, layout=plan.layout, split=plan.split, exclude=plan.exclude,
                   restricted=plan.restricted)
    return found.with_items(sorted(found.items, key=lambda i: (i.sample.dataset, i.image)))


@lru_cache(maxsize=2)
def name_of(plan: Plan) -> str:
    """Return a hash of all that decides the bytes: the plan, what is known of the images, not where they lie."""
    writer = plan.writer and replace(plan.writer, cache=None, threads=1)
    said = {k: str(v) for k, v in asdict(replace(plan, writer=writer)).items() if k not in ("out", "data", "evidence")}
    digest = sha256(json.dumps(said, sort_keys=True).encode())
    for item in library_of(plan).items:
        digest.update(repr(replace(item, sample=replace(item.sample, path=Path(item.image)))).encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=2)
def texts_of(plan: Plan) -> TextIndex | None:
    """Return the index of the plan's texts, None unless the plan has them; made once, then read by every process.

    Raises BadData where the data have none or the encoder is not installed.
    """
    if not plan.texts:
        return None
    folder = plan.out / PARTS / name_of(plan) / "texts"
    if (folder / "texts.json").is_file():
        return TextIndex.load(folder)
    index = index_of(library_of(plan).items)
    index.save(folder)
    return index


def parts(plan: Plan) -> int:
    """Return how many parts a plan has."""
    return -(-len(library_of(plan).items) // plan.part)


def part_file(plan: Plan, number: int) -> Path:
    """Return the file of a part; beside it stands what came of it, as .json."""
    return plan.out / PARTS / name_of(plan) / f"{number:05d}.jsonl"


def make_part(plan: Plan, number: int) -> Path:
    """Make a part unless it is there; whole or not at all. Returns its file."""
    file = part_file(plan, number)
    about = file.with_suffix(".json")
    if about.is_file():
        return file
    library = replace(library_of(plan), texts=texts_of(plan))
    came, records = Part(), []
    for item in library.items[number * plan.part:(number + 1) * plan.part]:
        for seen in _examined(item, library, plan, came):
            records += [r for r in of_item(seen, library, plan, came.lost) if _others_open(r, library, plan, came)]
    with open_writer(plan.writer, library, (number, parts(plan)), plan.out) as writer:
        written = _worded(records, writer, came)
    came.records = len(written)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "".join(line(r) + "\n" for r in written))
    write_whole(about, json.dumps(vars(came), ensure_ascii=False))
    return file


def came_of(file: Path) -> Part:
    """Return what came of a made part."""
    raw = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return Part(**{**raw, "lost": Counter(raw["lost"])})


def of_item(item: Item, library: Library, plan: Plan, lost: Counter[str]) -> list[Record]:
    """Return all conversations about one examined image, each fact in at most `MOST_FORMS` of them."""
    told: Counter[str] = Counter()
    texts: set[tuple[str, ...]] = set()
    kept = []
    names = chosen(plan.kinds, library)
    # Each image begins with another kind, so that the bound on a fact's forms falls on no kind alone.
    random.Random(f"{plan.seed}/{item.image}").shuffle(names)
    for name in names:
        for form in range(plan.forms):
            rng = random.Random(f"{plan.seed}/{name}/{item.sample.dataset}/{item.image}/{form}")
            for record in KINDS[name].make(item, library, rng):
                text = (*record.images, record.text())
                if text in texts:
                    lost["the same words twice"] += 1
                elif any(told[fact] >= MOST_FORMS for fact in record.facts):
                    lost[f"a fact in more than {MOST_FORMS} forms"] += 1
                else:
                    texts.add(text)
                    told.update(record.facts)
                    kept.append(record)
    return sorted(kept, key=lambda r: (r.kind, r.id))


def _examined(item: Item, library: Library, plan: Plan, came: Part) -> list[Item]:
    """Return the item looked at, or several for the slices of a volume; none, with the reason, if it cannot be read."""
    try:
        found = examine(item, library, plan.out / "made")
    except (BadStudy, BadData, OSError) as error:
        came.left_out[item.image] = _reason(error)
        return []
    for seen in found:
        file = image_path(seen.image, library.data, plan.out)
        came.images[seen.image] = sha256(file.read_bytes()).hexdigest()
    return found


def _others_open(record: Record, library: Library, plan: Plan, came: Part) -> bool:
    """Tell whether the images beside the item's own can be read; their hashes are kept, too."""
    for name in record.images[1:]:
        if name in came.images:
            continue
        file = image_path(name, library.data, plan.out)
        try:
            size = plain_size(file)
        except BadStudy:
            size = None
        if size is None:
            came.lost["another image that cannot be read"] += 1
            return False
        came.images[name] = sha256(file.read_bytes()).hexdigest()
    return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, BadStudy | BadData) else "it cannot be read"


def _worded(records: list[Record], writer: Writer, came: Part) -> list[Record]:
    written = writer.write_many(records)
    came.lost.update({f"writer: {reason}": n for reason, n in writer.rejected.items()})
    return written


def write_whole(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    waiting = file.with_name(file.name + f".{os.getpid()}")
    waiting.write_text(text, encoding="utf-8")
    os.replace(waiting, file)


def examined(library: Library, made: Path | None, left_out: dict[str, str] | None = None) -> Library:
    """Return the library with every image looked at; what cannot be read is left out, the reason in `left_out`."""
    seen: list[Item] = []
    for item in library.items:
        try:
            seen += examine(item, library, made)
        except (BadStudy, BadData, OSError) as error:
            if left_out is not None:
                left_out[item.image] = _reason(error)
    return library.with_items(seen)


def local(plan: Plan, done: Callable[[int], object]) -> None:
    """Make all parts in this process; `done(number)` is called as each is made."""
    for number in range(parts(plan)):
        make_part(plan, number)
        done(number)
