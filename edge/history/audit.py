"""The audit: one row for each command that a person or a program gave, chained like the history, never changed."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.history.database import Database, HistoryError
from edge.history.rows import GENESIS, timestamp

AUDIT = "audit.db"
LONGEST = 500  # characters of one text
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody did, or tried. Texts are one line."""

    who: str  # empty where nobody had to say who they are
    role: str  # viewer, operator, engineer; empty for a guest
    via: str  # page, token, console, open
    address: str  # where the request came from; empty for the console
    station: str
    what: str  # e.g. "recipe"
    before: str = ""  # what it was, e.g. "default"
    after: str = ""  # what it was to be, e.g. "washer"
    outcome: str = ""  # "asked" before it is carried out, then "done" or why not


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A deed with its number and its time."""

    id: int
    at: datetime  # UTC
    deed: Deed


_TEXTS = tuple(field.name for field in fields(Deed))
_COVERED = ("id", "at", *_TEXTS)
_COLUMNS = ", ".join(f"{name} TEXT NOT NULL" for name in _TEXTS)
_TABLES = (
    f"CREATE TABLE deeds (id INTEGER PRIMARY KEY, at TEXT NOT NULL, {_COLUMNS},"
    " previous_hash TEXT NOT NULL, hash TEXT NOT NULL) STRICT",
    "CREATE TABLE head (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), last_id INTEGER NOT NULL,"
    " last_hash TEXT NOT NULL) STRICT",
    f"INSERT INTO head VALUES (1, 0, '{GENESIS}')",
)


class AuditLog:
    """The audit of one page in one SQLite file; any number of processes may append to it."""

    def __init__(self, state_dir: Path, read_only: bool = False) -> None:
        """Open audit.db, creating it when writing; raises HistoryError."""
        self.path = state_dir / AUDIT
        self._db = Database(self.path, "audit", read_only)
        if self._db.version == 0 and not read_only:
            with self._db.transaction():
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _TABLES:
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
        elif self._db.version != _VERSION:
            raise HistoryError(f"{self.path}: audit schema {self._db.version}, this Linewatch reads {_VERSION}")

    def close(self) -> None:
        self._db.close()

    def append(self, deed: Deed) -> int:
        """Store one row durably and return its number: when this returns, it survives a power cut.

        Raises HistoryError.
        """
        texts = {name: _text(value) for name, value in asdict(deed).items()}
        with self._db.transaction():
            head = self._head()
            row: dict[str, Any] = {"id": head[0] + 1, "at": timestamp(datetime.now(UTC)), **texts}
            row |= {"previous_hash": head[1], "hash": _row_hash(head[1], row)}
            marks = ", ".join(f":{name}" for name in row)
            self._db.execute(f"INSERT INTO deeds ({', '.join(row)}) VALUES ({marks})", row)
            self._db.execute("UPDATE head SET last_id = :id, last_hash = :hash", row)
        return head[0] + 1

    def recent(self, limit: int, before: int | None = None) -> list[AuditRow]:
        """Return the last rows, newest first; before: only those with a smaller number."""
        query = "SELECT * FROM deeds WHERE id < ? ORDER BY id DESC LIMIT ?"
        with self._db.errors(), self._db.transaction("DEFERRED"):
            rows = self._db.execute(query, (2**62 if before is None else before, limit)).fetchall()
        return [
            AuditRow(row["id"], datetime.fromisoformat(row["at"]), Deed(**{name: row[name] for name in _TEXTS}))
            for row in rows
        ]

    def verify(self) -> tuple[int, str]:
        """Follow the whole chain; return the last number and hash. Raises HistoryError for the first wrong row."""
        with self._db.errors(), self._db.transaction("DEFERRED"):
            head, fault = self._head(), self._first_fault()
        if fault:
            raise HistoryError(f"{self.path}: {fault}; keep the file as it is, see docs/how-to/troubleshoot.md")
        return head

    def hash_of(self, number: int) -> str | None:
        """Return the hash of one row, to be compared with one that was noted earlier; None without such a row."""
        with self._db.errors(), self._db.transaction("DEFERRED"):
            row = self._db.execute("SELECT hash FROM deeds WHERE id = ?", (number,)).fetchone()
        return None if row is None else str(row["hash"])

    def _head(self) -> tuple[int, str]:
        row = self._db.execute("SELECT last_id, last_hash FROM head").fetchone()
        return int(row["last_id"]), str(row["last_hash"])

    def _first_fault(self) -> str | None:
        last_id, last_hash = 0, GENESIS
        with closing(self._db.execute("SELECT * FROM deeds ORDER BY id")) as cursor:
            for row in cursor:
                if row["id"] != last_id + 1:
                    return f"row {last_id + 1} of the audit is missing"
                if _row_hash(row["previous_hash"], {name: row[name] for name in _COVERED}) != row["hash"]:
                    return f"row {row['id']} of the audit was altered"
                if row["previous_hash"] != last_hash:
                    return f"row {row['id']} of the audit does not follow row {last_id}: one of them was exchanged"
                last_id, last_hash = row["id"], row["hash"]
        if (last_id, last_hash) != self._head():
            return f"row {last_id} of the audit is not the last one that its head record knows"
        return None


def _row_hash(previous: str, row: dict[str, Any]) -> str:
    """Return the sha256, 64 hex digits, over the previous row's hash and all columns in a canonical encoding."""
    covered = sorted((name, row[name]) for name in _COVERED)
    return hashlib.sha256(json.dumps([previous, covered], separators=(",", ":")).encode("ascii")).hexdigest()


def _text(value: str) -> str:
    """Return a text as one bounded line that SQLite gives back as it is."""
    line = " ".join(value.replace("\0", " ").split())[:LONGEST]
    return line.encode("utf-8", "replace").decode("utf-8")
