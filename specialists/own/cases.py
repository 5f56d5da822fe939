"""Adds labelled cases of one's own to the index of a domain, takes cases out of it, and lists what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from specialists.core import own_cases, registry
from specialists.core.errors import BadData, BadStudy
from specialists.core.findings import Refusal
from specialists.core.index import NEAR_DUPLICATE_BITS, Row, case_vector
from specialists.core.panel import Panel
from specialists.core.study import Study, read_study
from specialists.own.progress import say
from specialists.own.sources import grouped, read_source


def add(domain: str, data: Path, license: str = "", source: str = "", any_kind: bool = False,
        tell: Callable[[str], None] = say) -> int:
    """Add the labelled images of `data` to the domain's similar cases; return how many were added.

    Left out, each with its reason: images that cannot be read, of another kind, or (nearly) there already. Another
    image of an id that is there gets one of its own. Raises BadData where a label is none of the domain's, before
    anything is added.
    """
    index, panel = registry.load_index(domain), Panel(domain)
    read = read_source(data, domain, license, source)
    samples = read.samples
    labels = panel.cards[0].label_names
    strange = sorted({str(s.label) for s in samples} - set(labels))
    if strange:
        raise BadData(f"Got the labels {', '.join(strange)}; wanted those of {domain}: {', '.join(labels)}. Rename "
                      "them, or train a domain of your own.")
    there = {row.id for row in index.rows} | own_cases.removed(registry.home() / "cases", domain)
    hashes = [row.dhash for row in index.rows if row.dhash]
    for place, why in read.left_out.items():
        tell(f"{place} left out: {why}")
    rows: list[Row] = []
    vectors: list[np.ndarray] = []
    members = [registry.load(name) for name in index.card.specialists]
    for sample in samples:
        try:
            study = read_study(sample.path)
        except BadStudy as error:
            tell(f"{sample.id} left out: {error}")
            continue
        dhash = study.dhash()
        why = _why_not(dhash, hashes) or (None if any_kind else _refused(panel, study))
        if why:
            tell(f"{sample.id} left out: {why}")
            continue
        name = _own_id(sample.id, Path(data), there)
        if name != sample.id:
            tell(f"{sample.id} is added as {name}: another image has this id, or had it")
        there.add(name)
        hashes.append(dhash)
        vectors.append(case_vector(members, study))
        group = sample.group if grouped(sample) else f"{domain}/{name}"
        rows.append(Row(name, str(sample.label), sample.patient or "", group, sample.source, sample.license, dhash))
    if rows:
        _write(domain, rows, np.stack(vectors))
    tell(f"{len(rows)} of {len(samples)} cases added to {domain}; {len(registry.load_index(domain).rows)} in all")
    return len(rows)


def _own_id(name: str, data: Path, there: Collection[str]) -> str:
    """Return the id of a new case: files of several folders may have the same names."""
    folder = data.absolute().name if data.is_dir() else data.absolute().parent.name
    names = (name, f"{folder}/{name}", *(f"{folder} {number}/{name}" for number in range(2, len(there) + 3)))
    return next(one for one in names if one not in there)


def _why_not(dhash: bytes, hashes: Sequence[bytes]) -> str | None:
    known = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
    bits = np.bitwise_count(known ^ np.frombuffer(dhash, dtype=np.uint8)).sum(axis=1, dtype=int)
    return "it is a near-duplicate of a case that is there" if (bits <= NEAR_DUPLICATE_BITS).any() else None


def _refused(panel: Panel, study: Study) -> str | None:
    finding = panel.predict(study)
    return finding.reason if isinstance(finding, Refusal) else None


def _weights(specialists: Sequence[str]) -> dict[str, str]:
    cards = registry.cards()
    return {name: str(cards[name].weights.get("sha256", "")) for name in specialists}


def _write(domain: str, rows: Sequence[Row], vectors: np.ndarray) -> None:
    """Write new cases with those added before, unless these are of other weights."""
    card, folder = registry.load_index(domain).card, registry.home() / "cases"
    before, weights = own_cases.added(folder, domain), _weights(card.specialists)
    if before is not None and before.card.figures.get("weights") == weights:
        rows, vectors = [*before.rows, *rows], np.concatenate([before.features, vectors])
    own_cases.write_added(folder, card, rows, vectors, weights)


def remove(domain: str, ids: Sequence[str], tell: Callable[[str], None] = say) -> int:
    """Take cases out of the domain's index by id, shipped ones too; return how many. Raises BadData for unknown ids."""
    index, folder = registry.load_index(domain), registry.home() / "cases"
    absent = sorted(set(ids) - {row.id for row in index.rows})
    if absent:
        raise BadData(f"No case {', '.join(absent)} in {domain}; wanted ids as `consilium index list {domain} --ids` "
                      "shows them.")
    if len(set(ids)) == len(index.rows):
        raise BadData(f"These are all cases of {domain}; wanted at least one to stay.")
    added = own_cases.added(folder, domain)
    own = {row.id for row in added.rows} if added is not None else set()
    if added is not None and own & set(ids):
        kept = [place for place, row in enumerate(added.rows) if row.id not in ids]
        own_cases.write_added(folder, index.card, [added.rows[place] for place in kept], added.features[kept],
                              added.card.figures.get("weights", {}))
    own_cases.write_removed(folder, domain, own_cases.removed(folder, domain) | (set(ids) - own))
    tell(f"{len(set(ids))} cases removed from {domain}; {len(registry.load_index(domain).rows)} left")
    return len(set(ids))


def counts(domain: str) -> list[tuple[str, str, int]]:
    """Return (label, source, cases) of a domain, in order of labels, the largest source first."""
    found = Counter((row.label, row.source or "not stated") for row in registry.load_index(domain).rows)
    return sorted(((*key, count) for key, count in found.items()), key=lambda row: (row[0], -row[2], row[1]))


def ids(domain: str) -> list[tuple[str, str]]:
    """Return (id, label) of the cases of a domain."""
    return [(row.id, row.label) for row in registry.load_index(domain).rows]
