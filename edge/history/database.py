"""SQLite files that survive a power cut. No other module imports sqlite3."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from edge.core.files import NO_SPACE, make_folder, sync_folder
from edge.core.types import EdgeError

CHECKPOINT_PAGES = 256  # 1 MB of write-ahead log: a disk that fills up has that much more room for rows
BUSY_S = 30.0  # how long another process may hold the lock of the file before the wait is given up
SHARED_BYTES = 64 * 1024  # shared memory that SQLite makes beside a file, and some
STALLED_S = 2.0  # how long one thread waits for another one whose write the disk does not answer
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_Identity = tuple[int, int]  # device and inode of a file

log = logging.getLogger(__name__)


class HistoryError(EdgeError):
    """The history, or another file of its kind, cannot be opened, read or written."""

    disk_full = False  # may pass
    busy = False  # may pass: another process holds the lock, or the disk does not answer
    damaged = False  # the file does not hold what SQLite wrote into it


class Database:
    """One SQLite file of this process. What a transaction wrote survives a power cut when the transaction is over."""

    def __init__(self, path: Path, kind: str, read_only: bool = False) -> None:
        """Open the file, creating it when writing; raises HistoryError.

        kind: the word for the file in an error.
        """
        self.path = path
        self._kind = kind
        self._read_only = read_only
        self._free = threading.Lock()
        self._open(BUSY_S)

    def _open(self, busy_s: float) -> None:
        with self.errors("cannot be opened", "; see docs/how-to/troubleshoot.md"), ExitStack() as failed:
            if not self._read_only:
                make_folder(self.path.parent)
            uri = f"{self.path.resolve().as_uri()}?mode={self._mode()}"
            self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, timeout=busy_s)
            failed.callback(self._db.close)
            self._db.row_factory = sqlite3.Row
            if not self._read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            self.version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            self._files = self._found()
            failed.pop_all()

    def _mode(self) -> str:
        """Return how SQLite opens the file: a reader who can write nothing beside it takes what is there as it is.

        SQLite makes shared memory beside a file even to read it. A writer that is at work has made it already; without
        one nothing changes.
        """
        if not self._read_only:
            return "rwc"
        nothing = not os.access(self.path.parent, os.W_OK, effective_ids=True) or self._no_room()
        return "ro&immutable=1" if nothing and not self._beside("-wal").exists() else "ro"

    def _no_room(self) -> bool:
        """Return whether the disk is too full for the shared memory that SQLite makes beside a file."""
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < SHARED_BYTES

    def be_patient(self, busy_s: float) -> None:
        """Wait so long from now on, at most, when another process holds the lock."""
        self._db.execute(f"PRAGMA busy_timeout={round(busy_s * 1e3)}")

    def close(self) -> None:
        """Close the file; one whose write the disk does not answer is left to the end of the process."""
        if self._free.acquire(timeout=STALLED_S):
            self._db.close()
            self._free.release()

    def execute(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement; use it inside errors() or transaction()."""
        return self._db.execute(query, values)

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Do everything in the block, or nothing of it. Raises HistoryError."""
        if not self._free.acquire(timeout=STALLED_S):
            failure = HistoryError(f"{self.path}: the {self._kind} cannot be used (the disk does not answer)")
            failure.busy = True
            raise failure
        try:
            with self.errors():
                if not self._read_only and self._found() != self._files:
                    self._keep_file()
                self._db.execute(f"BEGIN {kind}")
                try:
                    yield
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
        finally:
            self._free.release()

    def _found(self) -> list[_Identity | None]:
        """Return which files lie now where the open ones were: the database, and its write-ahead log."""
        return [_identity(self.path), _identity(self._beside("-wal"))]

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}{ending}")

    def _keep_file(self) -> None:
        """Write the file again when somebody removed it, or its log, while it was open: what it held is still there.

        Raises HistoryError when another file lies in its place; what it held is then kept beside that one.
        """
        lies_there = _identity(self.path)
        if lies_there == self._files[0]:  # only the log is gone, and what is in it belongs into the file
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
        else:
            kept = self._beside(".kept" if lies_there else ".draft")
            kept.unlink(missing_ok=True)
            with closing(sqlite3.connect(kept)) as copy:
                self._db.backup(copy)
            if lies_there:
                raise HistoryError(
                    f"{self.path}: another file was put in its place while it was in use; what it held is in {kept}"
                )
            self._db.close()
            for ending in ("-wal", "-shm"):
                self._beside(ending).unlink(missing_ok=True)
            kept.replace(self.path)
            sync_folder(self.path.parent, inside=False)
        self._open(BUSY_S)
        log.error(
            "%s: somebody removed it or its log while it was in use; it is written again, nothing is lost", self.path
        )

    def reclaim(self) -> bool:
        """Give the space of the write-ahead log back to a full disk; False when there is none to give."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or log.stat().st_size == 0:
            return False
        try:
            held = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:  # also for want of space: the caller is told so, and raises what made it ask
            return False
        return not held

    @contextmanager
    def errors(self, what: str = "cannot be used", remedy: str = "") -> Iterator[None]:
        """Turn a failure of SQLite in the block into a HistoryError that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", None)
            full = (code or 0) & 0xFF == sqlite3.SQLITE_IOERR and self._no_room()
            reason = "the disk is full: free some space" if full else error
            failure = HistoryError(f"{self.path}: the {self._kind} {what} ({reason}){remedy}")
            failure.disk_full = full or code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in NO_SPACE
            failure.damaged, failure.busy = (code or 0) & 0xFF in _DAMAGE, (code or 0) & 0xFF in _BUSY
            raise failure from error


def _identity(path: Path) -> _Identity | None:
    """Return device and inode of what lies there; None when nothing does."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
