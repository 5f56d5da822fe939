"""Conversations, traces and what readers said of answers in one SQLite file, and the images behind them beside it.

A trace is append-only (triggers forbid changing or deleting one) and hash-chained: its hash covers the hash
before it and its own canonical JSON. Images are kept by content, only so that a trace can be replayed; the header
of a DICOM file is never written. A conversation belongs to whoever opened it; deleting it takes its turns and the
images that nothing else needs, and leaves the traces. This module runs no model.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from assistant.errors import BadQuestion, ConversationNotFound, RecordsError, TamperedRecords, TraceNotFound
from assistant.settings import paths
from specialists.core.study import Study

START = "0" * 64
"""The hash before the first trace."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, created TEXT NOT NULL, owner TEXT NOT NULL DEFAULT '', title TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS turns (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT NOT NULL REFERENCES conversations (id),
    question TEXT NOT NULL, answer TEXT NOT NULL, trace TEXT NOT NULL, images TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS traces (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, trace TEXT NOT NULL, owner TEXT NOT NULL, time TEXT NOT NULL,
    verdict TEXT NOT NULL, reason TEXT NOT NULL, label TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten (trace TEXT PRIMARY KEY);
CREATE TRIGGER IF NOT EXISTS traces_stay BEFORE UPDATE ON traces
    BEGIN SELECT RAISE(ABORT, 'traces are append-only'); END;
CREATE TRIGGER IF NOT EXISTS traces_remain BEFORE DELETE ON traces
    BEGIN SELECT RAISE(ABORT, 'traces are append-only'); END;
"""
LIST = """
SELECT conversations.id AS id, owner,
    COALESCE(NULLIF(title, ''), MIN(CASE WHEN turns.seq = first THEN question END), '') AS title,
    COALESCE(MAX(json_extract(traces.body, '$.time')), created) AS changed, COUNT(turns.seq) AS turns,
    title || ' ' || COALESCE(GROUP_CONCAT(question || ' ' || answer, ' '), '') AS text
FROM conversations LEFT JOIN turns ON turns.conversation = conversations.id
LEFT JOIN traces ON traces.id = turns.trace
LEFT JOIN (SELECT conversation, MIN(seq) AS first FROM turns GROUP BY conversation) AS begun
    ON begun.conversation = conversations.id
WHERE conversations.{} = ? GROUP BY conversations.id"""
"""Conversations with what a list shows of them and all their words: those of an owner, or the one of an id."""
ADDED = ("owner", "title")
"""Columns of conversations that stores of earlier versions lack."""
TITLE_CHARACTERS = 80
REASON_CHARACTERS = 2000

UNKNOWN = "No conversation {!r}: it was deleted, or is not yours. Open another, or begin a new one."
"""Visitors read it: it names no place of the server."""

Verdict = Literal["agree", "disagree"]


@dataclass(frozen=True)
class Turn:
    """One question of a conversation and its answer, as text; images by their keys."""

    question: str
    answer: str
    trace_id: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Listed:
    """A conversation as a list shows it."""

    id: str
    title: str
    """As the owner named it, else the first question, else ""."""
    changed: str
    """Time of the latest turn, or of its opening, in ISO 8601 (UTC)."""
    turns: int


@dataclass(frozen=True)
class Feedback:
    """What a reader said of an answer; a later one about the same answer replaces an earlier one."""

    trace_id: str
    verdict: Verdict
    reason: str = ""
    label: str = ""
    """The label that is right, where the reader named one."""
    owner: str = ""
    time: str = ""
    """When it was said, in ISO 8601 (UTC); given by the store."""


class Records:
    """The store under one home; every call opens a connection of its own, so threads may share it."""

    def __init__(self, home: Path | None = None) -> None:
        """Make the folder (only its owner may read it) and the tables."""
        self.paths = paths(home)
        try:
            self.paths.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.paths.images.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise RecordsError(f"Cannot write to {self.paths.home} ({error.strerror}); set CONSILIUM_HOME "
                               "to a folder that can be written.") from error
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)
            known = {row[1] for row in connection.execute("PRAGMA table_info(conversations)")}
            for column in (name for name in ADDED if name not in known):
                connection.execute(f"ALTER TABLE conversations ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
        os.chmod(self.paths.records, 0o600)

    # 1) conversations

    def open_conversation(self, owner: str = "") -> str:
        """Store an empty conversation of an owner ("" for nobody in particular) and return its identifier."""
        identifier = uuid.uuid4().hex
        with self._connection() as connection, connection:
            connection.execute("INSERT INTO conversations (id, created, owner) VALUES (?, ?, ?)",
                               (identifier, _now(), owner))
        return identifier

    def conversations(self) -> list[str]:
        """Return the identifiers of all conversations, oldest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT id FROM conversations ORDER BY created, rowid")
            return [row[0] for row in rows]

    def owned(self, owner: str, words: str = "") -> list[Listed]:
        """Return an owner's conversations that hold all the words in title, questions or answers; newest first."""
        sought = "".join(" AND text LIKE ? ESCAPE '!'" for _ in words.split())
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT id, title, changed, turns FROM ({LIST.format('owner')}) WHERE TRUE{sought} "
                "ORDER BY changed DESC, id", (owner, *map(_like, words.split())))
            return [Listed(*row) for row in rows]

    def title(self, conversation: str) -> str:
        """Return the title of a conversation, else its first question; raises ConversationNotFound."""
        self._known(conversation)
        with self._connection() as connection:
            row = connection.execute(f"SELECT title FROM ({LIST.format('id')})", (conversation,)).fetchone()
        return str(row[0])

    def rename(self, conversation: str, owner: str, title: str) -> None:
        """Give an owner's conversation a title ("" for its first question again); raises ConversationNotFound."""
        self.check_owner(conversation, owner)
        kept = " ".join(title.split())[:TITLE_CHARACTERS]
        with self._connection() as connection, connection:
            connection.execute("UPDATE conversations SET title = ? WHERE id = ?", (kept, conversation))

    def delete(self, conversation: str, owner: str) -> None:
        """Remove an owner's conversation, its turns, and its images that no question is about which is still there.

        The traces stay: they are append-only. Raises ConversationNotFound.
        """
        self.check_owner(conversation, owner)
        turns = self.turns(conversation)
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM turns WHERE conversation = ?", (conversation,))
            connection.execute("DELETE FROM conversations WHERE id = ?", (conversation,))
            connection.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", [(turn.trace_id,) for turn in turns])
        for key in {key for turn in turns for key in turn.images}:
            if not self._asked_about(key):
                self._image(key).unlink(missing_ok=True)

    def check_owner(self, conversation: str, owner: str) -> None:
        """Raise ConversationNotFound where the conversation is another's, as where there is none."""
        with self._connection() as connection:
            if not connection.execute("SELECT 1 FROM conversations WHERE id = ? AND owner = ?",
                                      (conversation, owner)).fetchone():
                raise ConversationNotFound(UNKNOWN.format(conversation))

    def add_turn(self, conversation: str, turn: Turn) -> None:
        """Append a turn; raises ConversationNotFound."""
        self._known(conversation)
        with self._connection() as connection, connection:
            connection.execute(
                "INSERT INTO turns (conversation, question, answer, trace, images) VALUES (?, ?, ?, ?, ?)",
                (conversation, turn.question, turn.answer, turn.trace_id, json.dumps(turn.images)))

    def turns(self, conversation: str) -> list[Turn]:
        """Return the turns of a conversation, oldest first; raises ConversationNotFound."""
        self._known(conversation)
        with self._connection() as connection:
            rows = connection.execute("SELECT question, answer, trace, images FROM turns "
                                      "WHERE conversation = ? ORDER BY seq", (conversation,))
            return [Turn(question, answer, trace, tuple(json.loads(images)))
                    for question, answer, trace, images in rows]

    def _known(self, conversation: str) -> None:
        with self._connection() as connection:
            if not connection.execute("SELECT 1 FROM conversations WHERE id = ?", (conversation,)).fetchone():
                raise ConversationNotFound(UNKNOWN.format(conversation))

    # 2) traces

    def append(self, trace: Mapping[str, Any], identifier: str | None = None) -> str:
        """Append a trace (anything JSON can say) to the chain and return its identifier."""
        identifier = identifier or fresh_trace_id()
        body = canonical({**trace, "id": identifier})
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            last = connection.execute("SELECT hash FROM traces ORDER BY seq DESC LIMIT 1").fetchone()
            previous = last[0] if last else START
            connection.execute("INSERT INTO traces (id, body, previous, hash) VALUES (?, ?, ?, ?)",
                               (identifier, body, previous, chained(previous, body)))
            connection.commit()
        return identifier

    def trace(self, identifier: str) -> dict[str, Any]:
        """Return a trace; raises TraceNotFound, and TamperedRecords when it does not agree with its hash."""
        with self._connection() as connection:
            row = connection.execute("SELECT body, previous, hash FROM traces WHERE id = ?",
                                     (identifier,)).fetchone()
        if row is None:
            raise TraceNotFound(f"No trace {identifier!r} is kept here; wanted the identifier below an answer.")
        if chained(row[1], row[0]) != row[2]:
            raise TamperedRecords(f"Trace {identifier!r} was changed after it was written.")
        return json.loads(row[0])

    def head(self) -> str:
        """Return the hash of the last trace; of none, the one that the chain begins with."""
        with self._connection() as connection:
            last = connection.execute("SELECT hash FROM traces ORDER BY seq DESC LIMIT 1").fetchone()
        return last[0] if last else START

    def holds(self, stated: str) -> bool:
        """Tell whether some trace has this hash."""
        with self._connection() as connection:
            found = connection.execute("SELECT 1 FROM traces WHERE hash = ?", (stated,)).fetchone()
        return found is not None or stated == START

    def verify(self) -> int:
        """Check the whole chain and return its length; raises TamperedRecords naming the first bad trace."""
        previous, count = START, 0
        with self._connection() as connection:
            for seq, identifier, body, before, stated in connection.execute(
                    "SELECT seq, id, body, previous, hash FROM traces ORDER BY seq"):
                count += 1
                if seq != count or before != previous or chained(before, body) != stated:
                    raise TamperedRecords(f"The chain breaks at trace {identifier!r} (number {count}).")
                previous = stated
            written = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'traces'").fetchone()
        if written and written[0] != count:
            raise TamperedRecords(f"{written[0]} traces were written, {count} are left.")
        return count

    # 3) images

    def keep(self, study: Study) -> str:
        """Store the decoded pixels of a study and return their key; nothing of its header."""
        about = json.dumps([study.format, study.modality, study.spacing_mm, study.window])
        arrays: dict[str, Any] = {"pixels": _packed(study.pixels), "volume": np.array(study.volume),
                                  "about": np.array(about)}
        if study.values is not None:
            arrays["values"] = np.asarray(study.values)
        digest = hashlib.sha256(study.sha256.encode())
        for name in sorted(arrays):
            digest.update(name.encode() + arrays[name].dtype.str.encode() + arrays[name].tobytes())
        path = self._image(digest.hexdigest())
        if not path.exists():
            part = path.with_name(f"{uuid.uuid4().hex}.part")
            _save(part, {"sha256": np.array(study.sha256), **arrays})
            part.chmod(0o600)
            part.replace(path)
        return digest.hexdigest()

    def study(self, key: str) -> Study:
        """Return a stored study, with an empty header; raises RecordsError when its file is gone."""
        path = self._image(key)
        if not path.exists():
            raise RecordsError(f"The image {key} is no longer kept: its conversation was deleted. Give it again.")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        form, modality, spacing, window = json.loads(str(arrays["about"]))
        pixels = arrays["pixels"]
        if pixels.dtype == np.uint8:
            pixels = _unpacked(pixels)
        pixels.flags.writeable = False
        return Study(pixels=pixels, spacing_mm=tuple(spacing) if spacing else None, modality=modality,
                     format=form, volume=bool(arrays["volume"]), window=tuple(window) if window else None, header={},
                     sha256=str(arrays["sha256"]), values=arrays.get("values"))

    def _asked_about(self, key: str) -> bool:
        """Tell whether a question about an image is still there; one asked again goes with the one that it repeats."""
        with self._connection() as connection:
            return connection.execute(
                "SELECT 1 FROM traces, json_each(traces.body, '$.images') AS image "
                "WHERE json_extract(image.value, '$.key') = ? AND COALESCE(json_extract(traces.body, '$.repeats'), "
                "traces.id) NOT IN (SELECT trace FROM forgotten) LIMIT 1", (key,)).fetchone() is not None

    # 4) what readers said

    def say(self, said: Feedback) -> None:
        """Store what a reader said of an answer; raises TraceNotFound, and BadQuestion where the verdict is none."""
        if said.verdict not in get_args(Verdict):
            raise BadQuestion(f"Got the verdict {said.verdict!r}; wanted one of {', '.join(get_args(Verdict))}.")
        self.trace(said.trace_id)
        reason, label = said.reason.strip()[:REASON_CHARACTERS], " ".join(said.label.split())[:TITLE_CHARACTERS]
        with self._connection() as connection, connection:
            connection.execute("INSERT INTO feedback (trace, owner, time, verdict, reason, label) "
                               "VALUES (?, ?, ?, ?, ?, ?)",
                               (said.trace_id, said.owner, _now(), said.verdict, reason, label))

    def said(self, trace_id: str | None = None, owner: str | None = None) -> list[Feedback]:
        """Return the latest that each owner said of each answer, oldest first; of one trace or owner where given."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT trace, verdict, reason, label, owner, time FROM feedback WHERE seq IN "
                "(SELECT MAX(seq) FROM feedback GROUP BY trace, owner) ORDER BY seq")
            found = [Feedback(*row) for row in rows]
        return [one for one in found if trace_id in (None, one.trace_id) and owner in (None, one.owner)]

    def _image(self, key: str) -> Path:
        return self.paths.images / f"{key}.npz"

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.paths.records, timeout=30.0)) as connection:
                connection.execute("PRAGMA foreign_keys=ON")
                yield connection
        except sqlite3.Error as error:
            raise RecordsError(f"{self.paths.records}: {error}.") from error


def fresh_trace_id() -> str:
    """Return an identifier no trace has."""
    return uuid.uuid4().hex


def canonical(value: Mapping[str, Any]) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False,
                      default=_number)


def chained(previous: str, body: str) -> str:
    """Return the hash of a trace after the one before it."""
    return hashlib.sha256((previous + body).encode()).hexdigest()


def without_images(messages: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return messages with every image URL replaced by its name in `names`, or by the hash of the URL."""
    return [{**message, "content": _named(message.get("content"), names)} for message in messages]


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"A trace cannot hold a {type(value).__name__}.")


def _named(content: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(content, list):
        return content
    return [{"type": "image", "image": _image_name(part, names)}
            if isinstance(part, Mapping) and "image_url" in part else part for part in content]


def _image_name(part: Mapping[str, Any], names: Mapping[str, str]) -> str:
    held = part["image_url"]
    url = held["url"] if isinstance(held, Mapping) else held
    return names.get(url) or "image:" + hashlib.sha256(url.encode()).hexdigest()


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as `numpy.savez_compressed` does, but at zlib's fastest: somebody waits for the answer."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def _packed(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels as bytes where that loses nothing."""
    small = np.round(pixels * 255).astype(np.uint8)
    return small if np.array_equal(_unpacked(small), pixels) else np.asarray(pixels)


def _unpacked(small: np.ndarray) -> np.ndarray:
    return small.astype(np.float32) / np.float32(255)


def _like(word: str) -> str:
    """Return a pattern for SQL's LIKE that finds the word anywhere, its own signs taken as they are."""
    for sign in "!%_":
        word = word.replace(sign, f"!{sign}")
    return f"%{word}%"


def _now() -> str:
    return datetime.now(UTC).isoformat()
