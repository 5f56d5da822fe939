"""Images of the sets that no generalist may be taught, known by their content, whatever they are called now.

The hashes are of whole files: an image that was written anew (another format, another size) is not known by them.
`python -m instruct_data.excluded DATA` reads DATA/NAME/images of each such set, all splits, and writes the hashes.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

from instruct_data.records import OUT_OF_DOMAIN
from specialists.core.errors import BadData

FILE = Path(__file__).with_name("out_of_domain.json")
DIGITS = 16
"""Hexadecimal digits of SHA-256 that are kept: among a billion images no two others are alike by chance."""


def digest(path: Path) -> str:
    """Return the first digits of the file's SHA-256."""
    return sha256(path.read_bytes()).hexdigest()[:DIGITS]


@cache
def known() -> dict[str, str]:
    """Return the set of each hash."""
    return {found: name for name, hashes in json.loads(FILE.read_text()).items() for found in hashes}


def refuse(images: Iterable[Path], allow: Collection[str] = ()) -> None:
    """Raise BadData when images are of sets that may not be taught, and not in `allow`; files that lack are passed."""
    paths = [path for path in dict.fromkeys(images) if path.is_file()]
    found = Counter(known().get(digest(path), "") for path in paths)
    told = [f"{count} of {name}" for name, count in sorted(found.items()) if name and name not in allow]
    if told:
        raise BadData(
            f"Of {len(paths)} images, {', '.join(told)}: such sets measure how a generalist copes with what it was not "
            "taught, and are known by their content, whatever their name. Build the data without them, or name the "
            "set with --allow; figures on it then say nothing of other places.")


def write(data: Path) -> dict[str, int]:
    """Write the hashes of the excluded sets under `data`; return how many of each. Raises BadData where one lacks."""
    hashes = {}
    for name in sorted(OUT_OF_DOMAIN):
        files = [path for path in (data / name / "images").rglob("*") if path.is_file()]
        if not files:
            raise BadData(f"No {name}/images in {data.name!r}; wanted the images of every excluded set.")
        hashes[name] = sorted({digest(path) for path in files})
    FILE.write_text(json.dumps(hashes, indent=0) + "\n")
    return {name: len(of_set) for name, of_set in hashes.items()}


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1]))}\n")
