"""Sums of parts by quarter of an hour, verdict, reason and type of defect, so that a million rows answer at once.

They are written in the transaction that stores the rows, by one query that counts the rows of the table itself. Rows
of a release that kept no sums are counted at the next start. A quarter of an hour divides the hours of every time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.core.types import Reason, Verdict
from edge.history.database import Database
from edge.history.reading.spans import spans

QUARTER_S = 900
_TABLES = (
    """CREATE TABLE IF NOT EXISTS sums (
    quarter INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    label TEXT NOT NULL,
    parts INTEGER NOT NULL,
    PRIMARY KEY (quarter, verdict, reason, label)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS summed (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    last_id INTEGER NOT NULL
) STRICT""",
    "INSERT OR IGNORE INTO summed VALUES (1, 0)",
)
# The label is that of the first region, which made the part NG.
_COUNTED = f"""
SELECT CAST(strftime('%s', at) AS INTEGER) / {QUARTER_S} AS quarter, verdict, reason,
    coalesce(json_extract(regions, '$[0].label'), '') AS label, count(*) AS parts
FROM inspections NOT INDEXED WHERE id BETWEEN :first AND :last GROUP BY 1, 2, 3, 4
"""
_Key = tuple[int, str, str, str]


@dataclass(frozen=True, slots=True)
class Sum:
    """The number of parts of one kind in a quarter of an hour, or in the piece of one that was asked for."""

    at: datetime  # UTC, the beginning of the quarter of an hour
    verdict: Verdict
    reason: Reason
    label: str  # type of defect of an NG part; empty where nothing is marked
    parts: int


def make_tables(db: Database) -> None:
    """Make the tables where they are not there yet; call it inside a transaction."""
    for statement in _TABLES:
        db.execute(statement)


def summed_to(db: Database) -> int:
    """Return the last id that the sums count; 0 where there are no sums. Call it inside errors() or transaction()."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'summed'").fetchone() is None:
        return 0
    row = db.execute("SELECT last_id FROM summed").fetchone()
    return 0 if row is None else int(row["last_id"])


def count_up_to(db: Database, last_id: int) -> None:
    """Count the rows that the sums lack, up to an id; call it inside the transaction that stored them."""
    query = (
        f"INSERT INTO sums (quarter, verdict, reason, label, parts) {_COUNTED}"
        " ON CONFLICT DO UPDATE SET parts = parts + excluded.parts"
    )
    db.execute(query, {"first": summed_to(db) + 1, "last": last_id})
    db.execute("UPDATE summed SET last_id = ?", (last_id,))


def totals(db: Database) -> dict[str, int]:
    """Return the number of parts of each verdict in all sums; call it inside errors() or transaction()."""
    found = db.execute("SELECT verdict, sum(parts) AS parts FROM sums GROUP BY verdict").fetchall()
    return {verdict.value: 0 for verdict in Verdict} | {row["verdict"]: row["parts"] for row in found}


def count_anew(db: Database, last_id: int) -> None:
    """Throw the sums away and count every row again; call it inside a transaction."""
    db.execute("DELETE FROM sums")
    db.execute("UPDATE summed SET last_id = 0")
    count_up_to(db, last_id)


def agree(db: Database) -> bool:
    """Count all rows that the sums count, and return whether the sums say the same."""
    last_id = summed_to(db)
    if not last_id:
        return True
    kept = db.execute("SELECT quarter, verdict, reason, label, parts FROM sums").fetchall()
    return _keyed(kept) == _keyed(db.execute(_COUNTED, {"first": 1, "last": last_id}).fetchall())


def _keyed(rows: list[Any]) -> dict[_Key, int]:
    return {tuple(row)[:4]: row["parts"] for row in rows}


class Sums:
    """Reads sums from the history's file; close it."""

    def __init__(self, events_db: Path) -> None:
        """Open the file for reading; raises HistoryError."""
        self._db = Database(events_db, "history", read_only=True)

    def close(self) -> None:
        self._db.close()

    def between(self, start: datetime, end: datetime) -> list[Sum]:
        """Return the parts whose time is from start to before end, exactly. Raises HistoryError.

        Whole quarters of an hour come from the sums. The pieces at both ends, and rows that the sums lack, are counted.
        Parts of one kind and quarter may come in several pieces.
        """
        first, beyond = -(-_second(start) // QUARTER_S), int(end.timestamp() // QUARTER_S)
        with self._db.transaction("DEFERRED"):  # one moment for all that is read
            last_id, counted = self._last_id(), summed_to(self._db)
            if first >= beyond or not counted:
                return self._rows(start, end, 1, last_id)
            opening, closing = _moment(first), _moment(beyond)
            found = self._db.execute(
                "SELECT * FROM sums WHERE quarter >= ? AND quarter < ?", (first, beyond)
            ).fetchall()
            return [
                *self._rows(start, opening, 1, last_id),
                *map(_sum, found),
                *self._rows(opening, closing, counted + 1, last_id),
                *self._rows(closing, end, 1, last_id),
            ]

    def _last_id(self) -> int:
        return int(self._db.execute("SELECT last_id FROM head").fetchone()["last_id"])

    def _rows(self, start: datetime, end: datetime, first_id: int, last_id: int) -> list[Sum]:
        """Count the rows of a time and of ids one by one."""
        if start >= end or first_id > last_id:
            return []
        found: list[Sum] = []
        for first, last in spans(self._db, last_id, start, end):
            values = {"first": max(first, first_id), "last": last}
            found += map(_sum, self._db.execute(_COUNTED, values).fetchall())
        return found


def _second(at: datetime) -> int:
    """Return the second from which on a time is a whole one."""
    return -int(-at.timestamp() // 1)


def _moment(quarter: int) -> datetime:
    return datetime.fromtimestamp(quarter * QUARTER_S, UTC)


def _sum(row: Any) -> Sum:
    return Sum(_moment(row["quarter"]), Verdict(row["verdict"]), Reason(row["reason"]), row["label"], row["parts"])
