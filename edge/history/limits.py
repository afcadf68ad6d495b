"""The limits that people set for bundles: one row for each change, chained like the history, never changed.

The last row of a bundle's digest says by which threshold it judges. A bundle without a row, or whose last row took the
change back, judges by its own. No weight and no file of a bundle is ever touched.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.history.database import Database, HistoryError
from edge.history.rows import GENESIS, timestamp

LIMITS = "limits.db"
_VERSION = 1
_COVERED = ("number", "at", "who", "reason", "bundle_digest", "before", "after", "last_id", "last_hash")
_TABLE = """CREATE TABLE limits (
    number INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    bundle_digest TEXT NOT NULL,
    before REAL NOT NULL,
    after REAL,
    last_id INTEGER NOT NULL,
    last_hash TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT"""


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One change of the threshold of a bundle, in units of its score."""

    number: int
    at: datetime  # UTC
    who: str
    reason: str
    bundle_digest: str
    before: float
    after: float | None  # None: back to the bundle's own
    last_id: int  # of the history when it was changed: the parts after it may be judged by the new limit
    last_hash: str


class LimitLog:
    """The changes of one station in one SQLite file; the engine writes it."""

    def __init__(self, state_dir: Path, read_only: bool = False) -> None:
        """Open limits.db, creating it when writing; raises HistoryError."""
        self.path = state_dir / LIMITS
        self._db = Database(self.path, "file of limits", read_only)
        if self._db.version == 0 and not read_only:
            with self._db.transaction():
                self._db.execute(_TABLE)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
        elif self._db.version != _VERSION:
            raise HistoryError(f"{self.path}: schema {self._db.version}, this Linewatch reads {_VERSION}")

    def close(self) -> None:
        self._db.close()

    def append(
        self, who: str, reason: str, bundle_digest: str, values: tuple[float, float | None], end: tuple[int, str]
    ) -> None:
        """Store a change durably; raises HistoryError.

        values: before and after; end: the last id and hash of the history.
        """
        with self._db.transaction():
            last = self._rows("ORDER BY number DESC LIMIT 1")
            number, previous = (last[0]["number"], last[0]["hash"]) if last else (0, GENESIS)
            row: dict[str, Any] = {
                "number": number + 1,
                "at": timestamp(datetime.now(UTC)),
                "who": who,
                "reason": reason,
                "bundle_digest": bundle_digest,
                "before": float(values[0]),
                "after": None if values[1] is None else float(values[1]),
                "last_id": end[0],
                "last_hash": end[1],
            }
            row |= {"previous_hash": previous, "hash": _row_hash(previous, row)}
            marks = ", ".join(f":{name}" for name in row)
            self._db.execute(f"INSERT INTO limits ({', '.join(row)}) VALUES ({marks})", row)

    def in_force(self, bundle_digest: str) -> LimitChange | None:
        """Return the last change for a bundle; None where it judges by its own threshold. Raises HistoryError.

        The whole chain is followed first: a limit that somebody wrote into the file by hand judges nothing.
        """
        self.verify()
        with self._db.errors():
            rows = self._rows("WHERE bundle_digest = ? ORDER BY number DESC LIMIT 1", bundle_digest)
        return _as_change(rows[0]) if rows and rows[0]["after"] is not None else None

    def recent(self, limit: int) -> list[LimitChange]:
        """Return the last changes, newest first."""
        with self._db.errors():
            return [_as_change(row) for row in self._rows("ORDER BY number DESC LIMIT ?", limit)]

    def verify(self) -> int:
        """Follow the chain and return the number of rows; raises HistoryError for the first row that is wrong."""
        number, last_hash = 0, GENESIS
        with self._db.errors(), closing(self._db.execute("SELECT * FROM limits ORDER BY number")) as cursor:
            for row in cursor:
                expected = _row_hash(last_hash, {name: row[name] for name in _COVERED})
                if (row["number"], row["previous_hash"], row["hash"]) != (number + 1, last_hash, expected):
                    raise HistoryError(
                        f"{self.path}: change {row['number']} was altered, put in or follows one that is missing; keep "
                        "the file, and move it away to judge by the bundles' own limits"
                    )
                number, last_hash = row["number"], row["hash"]
        return number

    def _rows(self, which: str, *values: object) -> list[Any]:
        return self._db.execute(f"SELECT * FROM limits {which}", values).fetchall()


def limit_in_force(state_dir: Path, bundle_digest: str) -> LimitChange | None:
    """Return what somebody set for a bundle; None where nobody did. Raises HistoryError: then no part may be judged."""
    if not (state_dir / LIMITS).exists():
        return None
    with closing(LimitLog(state_dir)) as limits:
        return limits.in_force(bundle_digest)


def _as_change(row: Any) -> LimitChange:
    facts = {name: row[name] for name in _COVERED}
    return LimitChange(**facts | {"at": datetime.fromisoformat(row["at"])})


def _row_hash(previous: str, row: dict[str, Any]) -> str:
    """Return the sha256, 64 hex digits, over the previous row's hash and all columns in a canonical encoding."""
    covered = [[name, row[name]] for name in _COVERED]
    return hashlib.sha256(json.dumps([previous, covered], separators=(",", ":")).encode("ascii")).hexdigest()
