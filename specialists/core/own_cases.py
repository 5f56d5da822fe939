"""Cases that a user adds to a domain's index, or takes out of it: kept beside the index, which stays as it is.

`added/DOMAIN` is an index of its own; `removed/DOMAIN.json` lists ids. Neither holds an image.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from specialists.core.errors import BadData
from specialists.core.index import CaseIndex, IndexCard, Row

LOG = logging.getLogger(__name__)


def files(folder: Path, domain: str) -> tuple[Path, Path, Path]:
    """Return the files that say what is added (rows, features) and what is removed."""
    return folder / "added" / f"{domain}.json", folder / "added" / f"{domain}.safetensors", \
        folder / "removed" / f"{domain}.json"


def added(folder: Path, domain: str) -> CaseIndex | None:
    """Return the added cases of a domain, None where there are none; raises MissingWeights or BadData."""
    rows, _, _ = files(folder, domain)
    return CaseIndex.load(rows.parent, domain) if rows.is_file() else None


def removed(folder: Path, domain: str) -> frozenset[str]:
    """Return the ids of removed cases; raises BadData."""
    path = files(folder, domain)[2]
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(map(str, json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, TypeError) as error:
        raise BadData(f"{path} is no list of ids ({type(error).__name__}); wanted what `consilium index remove` "
                      "writes. Delete it to have all cases back.") from None


def merged(base: CaseIndex, folder: Path, weights: Mapping[str, str]) -> CaseIndex:
    """Return the index with the cases added and without those removed under `folder`.

    `weights` are the sha256 of the domain's specialists: cases added with other weights are left out with a warning,
    since their features mean nothing beside these. Where no case is left the index is empty: what was removed stays so.
    """
    more, gone = added(folder, base.card.domain), removed(folder, base.card.domain)
    if more is not None and more.card.figures.get("weights") != dict(weights):
        LOG.warning("%d cases added to %s are of specialists with other weights and are left out; add them again.",
                    len(more.rows), base.card.domain)
        more = None
    if more is None and not gone:
        return base
    kept = [place for place, row in enumerate(base.rows) if row.id not in gone]
    rows, features = [base.rows[place] for place in kept], [base.features[kept]]
    if more is not None:
        rows, features = [*rows, *more.rows], [*features, more.features]
    return CaseIndex(base.card, rows, np.concatenate(features))


def write_added(folder: Path, card: IndexCard, rows: Sequence[Row], features: np.ndarray,
                weights: Mapping[str, str]) -> None:
    """Write all added cases of a domain; no rows at all take the files away."""
    if not rows:
        for path in files(folder, card.domain)[:2]:
            path.unlink(missing_ok=True)
        return
    named = dataclasses.replace(card, figures={"weights": dict(weights)})
    CaseIndex.build(rows, features, named).save(folder / "added")


def write_removed(folder: Path, domain: str, ids: Collection[str]) -> None:
    """Write which cases are removed; none at all take the file away."""
    path = files(folder, domain)[2]
    if not ids:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sorted(ids), ensure_ascii=False) + "\n", encoding="utf-8")
