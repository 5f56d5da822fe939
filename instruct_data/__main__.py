"""`consilium data build`: instruction data from a data folder, as JSONL."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instruct_data.records import KINDS, OUT_OF_DOMAIN, Record, write


@dataclass(frozen=True)
class Build:
    """Build instruction data from the record layout."""

    data: Path
    """Data folder: one folder a set, each with records.jsonl."""
    out: Path
    """Folder for records.jsonl and manifest.json."""
    evidence: Path | None = None
    """Folder of out-of-fold opinions and cases, DOMAIN.jsonl."""
    count: int = 60000
    """Number of conversations."""
    seed: int = 0
    split: str = "train"
    exclude: tuple[str, ...] = ()
    """Sets to leave out, besides those that are out of domain for the generalist."""
    kinds: tuple[str, ...] = ()
    """Kinds of conversation; all when none is named."""


def run(config: Build) -> None:
    """Build, write and say what was built."""
    from instruct_data.items import gather
    from instruct_data.mix import build

    library = gather(config.data, config.evidence, split=config.split, exclude=OUT_OF_DOMAIN | set(config.exclude))
    counts: Counter[str] = Counter()
    sets: dict[str, str] = {}

    def counted() -> object:
        for record in build(library, config.count, config.seed, config.kinds or None):
            counts[record.kind] += 1
            sets[record.dataset] = record.license
            yield record

    records: list[Record] = list(counted())  # type: ignore[call-overload]
    written = write(records, config.out / "records.jsonl")
    manifest = {"records": written, "seed": config.seed, "split": config.split, "kinds": dict(sorted(counts.items())),
                "sets": dict(sorted(sets.items())), "excluded": sorted(OUT_OF_DOMAIN | set(config.exclude))}
    (config.out / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(json.dumps(manifest["kinds"]) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `consilium data VERB`."""
    import tyro

    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] != "build":
        known = "usage: consilium data build --data DIR --out DIR [--evidence DIR] [--count N] [--seed N]\n"
        sys.stdout.write(known + f"kinds of conversation: {', '.join(KINDS)}\n")
        return 0 if arguments[:1] in ([], ["--help"], ["-h"]) else 2
    run(tyro.cli(Build, args=arguments[1:], prog="consilium data build"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
