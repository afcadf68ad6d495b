"""SQLite files that survive a power cut. No other module imports sqlite3."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edge.core.types import EdgeError

CHECKPOINT_PAGES = 256  # 1 MB of write-ahead log: a disk that fills up has that much more room for rows
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class HistoryError(EdgeError):
    """The history, or another file of its kind, cannot be opened, read or written."""

    disk_full = False  # the one cause that may pass
    damaged = False  # the file does not hold what SQLite wrote into it


class Database:
    """One SQLite file of this process. What a transaction wrote survives a power cut when the transaction is over."""

    def __init__(self, path: Path, kind: str, read_only: bool = False, shrinks: bool = False) -> None:
        """Open the file, creating it when writing; raises HistoryError.

        kind: the word for the file in an error. shrinks: a new file gives the space of deleted rows back.
        """
        self.path = path
        self._kind = kind
        with self.errors("cannot be opened", "; see docs/how-to/troubleshoot.md"), ExitStack() as failed:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            uri = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            failed.callback(self._db.close)
            self._db.row_factory = sqlite3.Row
            if not read_only:
                if shrinks:
                    self._db.execute("PRAGMA auto_vacuum=FULL")  # first: it holds for a new file only
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            self.version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            failed.pop_all()

    def close(self) -> None:
        self._db.close()

    def execute(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement; use it inside errors() or transaction()."""
        return self._db.execute(query, values)

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Do everything in the block, or nothing of it. Raises HistoryError."""
        with self.errors():
            self._db.execute(f"BEGIN {kind}")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def reclaim(self) -> bool:
        """Give the space of the write-ahead log back to a full disk; False when there is none to give."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or log.stat().st_size == 0:
            return False
        try:
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:  # also for want of space: the caller is told so, and raises what made it ask
            return False
        return not busy

    @contextmanager
    def errors(self, what: str = "cannot be used", remedy: str = "") -> Iterator[None]:
        """Turn a failure of SQLite in the block into a HistoryError that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            failure = HistoryError(f"{self.path}: the {self._kind} {what} ({error}){remedy}")
            code = getattr(error, "sqlite_errorcode", None)
            failure.disk_full, failure.damaged = code == sqlite3.SQLITE_FULL, (code or 0) & 0xFF in _DAMAGE
            raise failure from error
