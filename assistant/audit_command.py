"""The command `consilium audit`: is the chain of traces whole, and what does one of them say? It changes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.errors import TamperedRecords
from assistant.records import Records
from specialists.__main__ import parse


@dataclass(frozen=True)
class Audit:
    """Check that no trace was changed or taken away; exit status 1 where one was."""

    traces: tuple[str, ...]
    """Identifiers of traces, as printed below an answer: they are printed as JSON, and nothing is checked."""
    holds: str = ""
    """A hash that an earlier audit printed as the last: who rewrote the whole file could not keep it."""


def main(argv: Sequence[str]) -> int:
    """Check the chain and say how long it is, or print a trace."""
    flags, records = parse(Audit, list(argv), "consilium audit"), Records()
    for trace in flags.traces:
        sys.stdout.write(json.dumps(records.trace(trace), indent=1, ensure_ascii=False) + "\n")
    if flags.traces:
        return 0
    try:
        count = records.verify()
        if flags.holds and not records.holds(flags.holds):
            raise TamperedRecords(f"No trace has the hash {flags.holds}: they were written anew, or it is another's.")
    except TamperedRecords as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    told = f"{count} traces under {records.paths.home}, the chain is whole."
    sys.stdout.write(f"{told} The last hash: {records.head()}\n")
    return 0
