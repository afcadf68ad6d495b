"""From times to ids: rows are stored in the order of time, but for the moments at which the wall clock was set back.

Those moments are noted when rows are stored. Between two of them, a time is found by bisection: some dozen look-ups
by id, however long the history is.
"""

from __future__ import annotations

from datetime import datetime

from edge.history.database import Database
from edge.history.rows import timestamp

Span = tuple[int, int]  # the first and the last id


def spans(db: Database, last_id: int, start: datetime | None, end: datetime | None) -> list[Span]:
    """Return the spans of ids whose rows have a time from start to before end, oldest ids first.

    Call it inside errors() or transaction().
    """
    if start is None and end is None:
        return [(1, last_id)]
    steps = [row["id"] for row in db.execute("SELECT id FROM clock_steps ORDER BY id")]
    found = []
    for low, beyond in zip([1, *steps], [*steps, last_id + 1], strict=True):
        first = low if start is None else _first_from(db, low, beyond, timestamp(start))
        last = (beyond if end is None else _first_from(db, low, beyond, timestamp(end))) - 1
        found += [(first, last)] * (first <= last)
    return found


def _first_from(db: Database, low: int, beyond: int, at: str) -> int:
    """Return the first id from low to before beyond whose row is not older than `at`; beyond when there is none."""
    found = beyond
    while low < found:
        middle = (low + found) // 2
        row = db.execute("SELECT id, at FROM inspections WHERE id >= ? ORDER BY id LIMIT 1", (middle,)).fetchone()
        if row is None or row["id"] >= beyond or row["at"] >= at:
            found = middle
        else:
            low = row["id"] + 1
    return found
