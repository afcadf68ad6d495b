"""Which order was made when: beside the history, never in its chain. The page writes this file.

Nothing is ever changed or taken out. A part belongs to the order that was in force at its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.history.database import Database, HistoryError
from edge.history.rows import timestamp

ORDERS = "orders.db"
_VERSION = 1
_TABLE = """CREATE TABLE orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    name TEXT NOT NULL
) STRICT"""


class OrderConflictError(HistoryError):
    """Somebody else set another order meanwhile; nothing was stored."""

    def __init__(self, standing: str) -> None:
        said = f"the order {standing!r}" if standing else "no order"
        super().__init__(f"somebody set {said} meanwhile; look at it, and set yours again")
        self.standing = standing


@dataclass(frozen=True, slots=True)
class OrderSpan:
    """The time for which one order was in force."""

    name: str  # empty: no order
    start: datetime  # UTC
    end: datetime


class OrderStore:
    """The orders of one station in one SQLite file; any number of processes may write."""

    def __init__(self, state_dir: Path, first: str = "", read_only: bool = False) -> None:
        """Open orders.db, creating it when writing; raises HistoryError. A file that is not there yet reads as empty.

        first: the order until the first one was set.
        """
        self.path = state_dir / ORDERS
        self._first = first
        self._db = None if read_only and not self.path.exists() else Database(self.path, "file of orders", read_only)
        version = self._db.version if self._db else 0
        if version not in (0, _VERSION):
            raise HistoryError(f"{self.path}: schema {version}, this Linewatch reads {_VERSION}")
        if self._db and version == 0 and not read_only:
            with self._db.transaction():
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    self._db.execute(_TABLE)
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._ready = not read_only or version == _VERSION

    def close(self) -> None:
        if self._db:
            self._db.close()

    def set(self, name: str, who: str, before: str | None = None) -> None:
        """Put an order in force durably. before: the one that its author saw, None: any.

        Raises OrderConflictError when another one is in force by now, HistoryError when it cannot be stored.
        """
        if self._db is None:
            raise HistoryError(f"{self.path}: is open for reading only")
        with self._db.transaction():
            standing = self.current()
            if before is not None and before != standing:
                raise OrderConflictError(standing)
            values = (timestamp(datetime.now(UTC)), who, name)
            self._db.execute("INSERT INTO orders (at, who, name) VALUES (?, ?, ?)", values)

    def current(self) -> str:
        """Return the order in force; empty when there is none."""
        rows = self._rows("ORDER BY number DESC LIMIT 1")
        return str(rows[0]["name"]) if rows else self._first

    def between(self, start: datetime, end: datetime) -> list[OrderSpan]:
        """Return the orders from start to before end, in the order of time and without a gap."""
        changes = [(datetime.fromisoformat(row["at"]), str(row["name"])) for row in self._rows("ORDER BY number")]
        edges, names = [start], [self._first]
        for at, name in changes:
            at = min(max(at, edges[-1]), end)  # a clock that was set back takes no time from an order before
            edges.append(at)
            names.append(name)
        found = [OrderSpan(*one) for one in zip(names, edges, [*edges[1:], end], strict=True) if one[1] < one[2]]
        return _joined(found)

    def spans_of(self, name: str, end: datetime) -> list[OrderSpan]:
        """Return the times for which one order was in force up to an end."""
        return [span for span in self.between(datetime.fromtimestamp(0, UTC), end) if span.name == name]

    def recent(self, limit: int) -> list[str]:
        """Return the last orders, each one once, the last one first."""
        query = "WHERE name != '' GROUP BY name ORDER BY max(number) DESC LIMIT ?"
        found = [str(row["name"]) for row in self._rows(query, limit)]
        return [*found, *[self._first] * bool(self._first and self._first not in found)][:limit]

    def _rows(self, clauses: str, *values: object) -> list[Any]:
        if self._db is None or not self._ready:
            return []
        with self._db.errors():
            return self._db.execute(f"SELECT * FROM orders {clauses}", values).fetchall()


def _joined(spans: list[OrderSpan]) -> list[OrderSpan]:
    """Make one span of neighbours of the same order."""
    found: list[OrderSpan] = []
    for span in spans:
        if found and found[-1].name == span.name:
            span = OrderSpan(span.name, found.pop().start, span.end)
        found.append(span)
    return found
