"""Similar labelled cases of one domain, found by the features of its specialists.

Knows no images: only features, labels and where the cases come from. It does not vote, and never
returns the query's own patient, its group or a near-duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from specialists.core.errors import BadData, MissingWeights
from specialists.core.packing import pack, unpack
from specialists.core.study import Study

NEAR_DUPLICATE_BITS = 14
"""Two images whose 256-bit difference hashes differ in at most so many bits are taken for the same."""


@dataclass(frozen=True)
class Row:
    """A labelled case of a training split; what is not known is empty."""

    id: str
    label: str
    patient: str = ""
    group: str = ""
    source: str = ""
    license: str = ""
    dhash: bytes = b""
    """As `Study.dhash` gives it."""


@dataclass(frozen=True)
class Neighbor:
    """A case like the query; similarity is the cosine of features, -1..1."""

    id: str
    label: str
    similarity: float
    source: str
    license: str


@dataclass(frozen=True)
class IndexCard:
    """What stands in DOMAIN.json beside the rows."""

    domain: str
    specialists: tuple[str, ...]
    """Whose features stand one after the other, in this order."""
    threshold: float = -1.0
    """Cases less similar than this are not called similar."""
    figures: dict = field(default_factory=dict)


class Embeds(Protocol):
    """Anything that turns a study into L2-normalized features (D,)."""

    def embed(self, study: Study) -> np.ndarray:
        """Return the features."""
        ...


def case_vector(specialists: Sequence[Embeds], study: Study) -> np.ndarray:
    """Return the vector (sum of D,) of a study: the specialists' features side by side, of length 1."""
    return joined([specialist.embed(study)[None] for specialist in specialists])[0]


def joined(features: Sequence[np.ndarray]) -> np.ndarray:
    """Return L2-normalized features (N, D) of several specialists side by side, again of length 1."""
    return np.concatenate(features, axis=1).astype(np.float32) / np.float32(np.sqrt(len(features)))


class CaseIndex:
    """Exact search by cosine over the labelled cases of a domain; nothing changes after it is built."""

    def __init__(self, card: IndexCard, rows: Sequence[Row], features: np.ndarray) -> None:
        """Take features (N, D), L2-normalized, one a row; of none, all cases were removed and nothing is found."""
        self.card = card
        self.rows = tuple(rows)
        self.features = np.ascontiguousarray(features, dtype=np.float32)
        if self.features.ndim != 2 or len(self.features) != len(self.rows):
            raise BadData(f"Got {len(self.rows)} cases and features of shape {self.features.shape}; "
                          "wanted one row of features for each case. Build the index again.")
        faiss.normalize_L2(self.features)
        self._index = faiss.IndexFlatIP(self.features.shape[1])
        self._index.add(self.features)  # type: ignore[call-arg]
        self._hashed = np.asarray([len(row.dhash) == 32 for row in self.rows], dtype=bool)
        hashes = b"".join(row.dhash if len(row.dhash) == 32 else bytes(32) for row in self.rows)
        self._hashes = np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 32)

    @classmethod
    def build(cls, rows: Sequence[Row], features: np.ndarray, card: IndexCard) -> CaseIndex:
        """Make an index as it will be after saving: features packed."""
        if not rows:
            raise BadData(f"Got no case for the index of {card.domain}; wanted at least one. Give labelled images.")
        return cls(card, rows, unpack(pack({"features": np.asarray(features, dtype=np.float32)}))["features"])

    @property
    def nbytes(self) -> int:
        """Return about how much memory the index holds: FAISS has a copy of the features."""
        return 2 * self.features.nbytes + self._hashes.nbytes

    def search(self, vector: np.ndarray, k: int = 10, *, exclude_patient: str | None = None,
               exclude_group: str | None = None, dhash: bytes | None = None) -> list[Neighbor]:
        """Return at most k cases, most similar first; none where nothing reaches the threshold.

        Left out: the given patient and group, and all that shares a group or a patient with a near-duplicate
        of the image whose difference hash is given.
        """
        query = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        if query.shape[1] != self.features.shape[1]:
            raise ValueError(f"Got a vector of {query.shape[1]} numbers; wanted {self.features.shape[1]}, "
                             f"the features of {', '.join(self.card.specialists)}. Make it with case_vector.")
        if not self.rows:
            return []
        query = query / max(float(np.linalg.norm(query)), 1e-12)
        out = self._left_out(exclude_patient, exclude_group, dhash)
        # as many more are fetched as could be left out, so that k remain
        fetched = min(len(self.rows), max(1, k) + int(out.sum()))
        similarities, places = self._index.search(query, fetched)  # type: ignore[call-arg]
        found = [(self.rows[p], min(1.0, float(s))) for p, s in zip(places[0], similarities[0], strict=True)
                 if not out[p] and s >= self.card.threshold]
        return [Neighbor(row.id, row.label, s, row.source, row.license) for row, s in found[:max(0, k)]]

    def _left_out(self, patient: str | None, group: str | None, dhash: bytes | None) -> np.ndarray:
        """Return which rows (N,) must not be shown."""
        patients, groups = ({patient} if patient else set()), ({group} if group else set())
        out = np.zeros(len(self.rows), dtype=bool)
        if dhash is not None and len(dhash) == 32:
            differing = self._hashes ^ np.frombuffer(dhash, dtype=np.uint8)  # (N, 32)
            bits = np.bitwise_count(differing).sum(axis=1, dtype=int)
            out = self._hashed & (bits <= NEAR_DUPLICATE_BITS)
            twins = [self.rows[p] for p in np.flatnonzero(out)]
            patients |= {row.patient for row in twins if row.patient}
            groups |= {row.group for row in twins if row.group}
        same = [row.patient in patients or row.group in groups for row in self.rows]
        return out | np.asarray(same)

    def save(self, folder: Path) -> None:
        """Write DOMAIN.safetensors (features packed, hashes) and DOMAIN.json (card and rows)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({**pack({"features": self.features}), "dhash": self._hashes,
                   "hashed": self._hashed.astype(np.uint8)}, folder / f"{self.card.domain}.safetensors")
        columns = [{k: v for k, v in asdict(row).items() if k != "dhash"} for row in self.rows]
        text = json.dumps({**asdict(self.card), "rows": [list(row.values()) for row in columns],
                           "columns": list(columns[0])}, ensure_ascii=False)
        (folder / f"{self.card.domain}.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, domain: str) -> CaseIndex:
        """Read what `save` wrote; raises MissingWeights or BadData."""
        path = folder / f"{domain}.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            tensors = load_file(folder / f"{domain}.safetensors")
        except (OSError, SafetensorError) as error:
            raise MissingWeights(f"The index of {domain} could not be read ({type(error).__name__}); wanted "
                                 f"{path} and its .safetensors. Build the index again.") from None
        except ValueError:
            raise BadData(f"{path} is no JSON; wanted what save wrote. Build the index again.") from None
        try:
            columns, hashes = raw.pop("columns"), tensors["dhash"]
            rows = [Row(**dict(zip(columns, row, strict=True)), dhash=hash_.tobytes() if hashed else b"")
                    for row, hash_, hashed in zip(raw.pop("rows"), hashes, tensors["hashed"], strict=True)]
            if not rows:
                raise ValueError("no rows")
            card = IndexCard(**{**raw, "specialists": tuple(raw["specialists"])})
            return cls(card, rows, unpack(tensors)["features"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, BadData):
                raise
            raise BadData(f"{path} does not have the parts of an index ({type(error).__name__}); wanted what "
                          "save wrote. Build the index again.") from None
