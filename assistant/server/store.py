"""Uploaded files and stored responses of one server: an SQLite file and a folder, each row with its owner.

What is asked for under another owner is not found. All of it ends after some hours (`expire`); conversations and
traces are elsewhere (`records.py`) and stay.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.errors import NotFound, RecordsError
from assistant.server.asked import Unsupported

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,
    created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, body TEXT NOT NULL, messages TEXT NOT NULL, created REAL NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0);
"""


@dataclass(frozen=True)
class Uploaded:
    """An uploaded file."""

    id: str
    name: str
    purpose: str
    bytes: int
    created: float
    """Seconds since 1970."""


class Store:
    """Files and responses under one folder; every call opens a connection of its own, so threads may share it."""

    def __init__(self, folder: Path, *, most_bytes: int, hours: float) -> None:
        """Make the folder (only its owner may read it) and the tables; remove what is too old.

        `most_bytes` are of one owner: of files, and as many of responses.
        """
        self.folder, self.most_bytes, self.hours = folder, most_bytes, hours
        try:
            (folder / "files").mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
        except OSError as error:
            raise RecordsError(f"Cannot write to {folder} ({error.strerror}); set CONSILIUM_HOME to a folder that can "
                               "be written.") from error
        with self._connection() as connection:
            connection.execute("PRAGMA auto_vacuum=FULL")       # what is deleted is no longer on the disk
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)
            if "bytes" not in {row[1] for row in connection.execute("PRAGMA table_info(responses)")}:
                connection.execute("ALTER TABLE responses ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0")
        self.expire()
        self._sweep()

    # 1) files

    def add(self, owner: str, name: str, purpose: str, data: bytes) -> Uploaded:
        """Keep a file; raises Unsupported where the owner has no room left."""
        self.expire()
        kept = Uploaded(f"file-{uuid.uuid4().hex}", name[:200], purpose[:50], len(data), time.time())
        path = self._path(kept.id)
        path.touch(mode=0o600)
        path.write_bytes(data)
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            held = connection.execute("SELECT COALESCE(SUM(bytes), 0) FROM files WHERE owner = ?", (owner,)).fetchone()
            if full := held[0] + len(data) > self.most_bytes:
                path.unlink()
            else:
                connection.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)",
                                   (kept.id, owner, kept.name, kept.purpose, kept.bytes, kept.created))
        if full:
            raise Unsupported("file", f"{held[0]} bytes are uploaded and the file has {len(data)}; allowed are "
                                      f"{self.most_bytes} together. Delete some.")
        return kept

    def files(self, owner: str) -> list[Uploaded]:
        """Return the owner's files, newest first."""
        self.expire()
        with self._connection() as connection:
            rows = connection.execute("SELECT id, name, purpose, bytes, created FROM files WHERE owner = ? "
                                      "ORDER BY created DESC, rowid DESC", (owner,)).fetchall()
        return [Uploaded(*row) for row in rows]

    def file(self, owner: str, identifier: str) -> Uploaded:
        """Return what is known of a file; raises NotFound."""
        for kept in self.files(owner):
            if kept.id == identifier:
                return kept
        raise NotFound(f"No file {identifier[:80]!r}; upload it to /v1/files (files are kept {self.hours:g} hours).")

    def content(self, owner: str, identifier: str) -> bytes:
        """Return a file's bytes; raises NotFound."""
        self.file(owner, identifier)
        try:
            return self._path(identifier).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"The file {identifier[:80]!r} is gone; upload it again.") from None

    def remove(self, owner: str, identifier: str) -> None:
        """Delete a file; raises NotFound."""
        self.file(owner, identifier)
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM files WHERE id = ? AND owner = ?", (identifier, owner))
        self._path(identifier).unlink(missing_ok=True)

    # 2) responses

    def remember(self, owner: str, body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> None:
        """Keep a response with the conversation that led to it, its answer included; the owner's oldest make room."""
        self.expire()
        told, said = json.dumps(body), json.dumps(messages)     # ASCII: a character a byte
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?)",
                               (body["id"], owner, told, said, time.time(), len(told) + len(said)))
            connection.execute(
                "DELETE FROM responses WHERE id IN (SELECT id FROM (SELECT id, SUM(bytes) OVER (ORDER BY created DESC, "
                "rowid DESC) AS held FROM responses WHERE owner = ?) WHERE held > ?)", (owner, self.most_bytes))

    def response(self, owner: str, identifier: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return a response and its conversation; raises NotFound."""
        self.expire()
        with self._connection() as connection:
            row = connection.execute("SELECT body, messages FROM responses WHERE id = ? AND owner = ?",
                                     (identifier, owner)).fetchone()
        if row is None:
            raise NotFound(f"No response {identifier[:80]!r}; responses are kept {self.hours:g} hours, and up to "
                           f"{self.most_bytes} bytes with their images.")
        return json.loads(row[0]), json.loads(row[1])

    def forget(self, owner: str, identifier: str) -> None:
        """Delete a response; raises NotFound."""
        self.response(owner, identifier)
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM responses WHERE id = ? AND owner = ?", (identifier, owner))

    # 3) both

    def expire(self) -> None:
        """Delete what is older than allowed."""
        before = time.time() - self.hours * 3600
        with self._connection() as connection, connection:
            old = connection.execute("SELECT id FROM files WHERE created < ?", (before,)).fetchall()
            connection.execute("DELETE FROM files WHERE created < ?", (before,))
            connection.execute("DELETE FROM responses WHERE created < ?", (before,))
        for (identifier,) in old:
            self._path(identifier).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Delete old files that no row tells of: the server was stopped while it wrote them."""
        before = time.time() - self.hours * 3600
        with self._connection() as connection:
            known = {row[0] for row in connection.execute("SELECT id FROM files")}
        for path in (self.folder / "files").iterdir():
            if path.name not in known and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)

    def _path(self, identifier: str) -> Path:
        return self.folder / "files" / identifier

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.folder / "server.db", timeout=30.0)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise RecordsError(f"{self.folder / 'server.db'}: {error}.") from error


def object_of(kept: Uploaded) -> dict[str, Any]:
    """Return OpenAI's file object."""
    about = asdict(kept)
    return {"id": kept.id, "object": "file", "bytes": kept.bytes, "created_at": int(about["created"]),
            "filename": kept.name, "purpose": kept.purpose, "status": "processed"}
