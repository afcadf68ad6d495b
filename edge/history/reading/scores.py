"""Narrow readings of the history for lists of parts: their numbers and scores, without the rest of their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.core.types import Verdict, distance
from edge.history.database import Database


@dataclass(frozen=True, slots=True)
class Scored:
    """A part that was judged by its score."""

    part: int
    verdict: Verdict
    score: float
    threshold: float
    typical: float | None
    bundle: str

    @property
    def distance(self) -> float | None:
        """The score in units of the good parts' spread: 1 is the limit."""
        return distance(self.score, self.threshold, self.typical)


class Scores:
    """Reads parts' scores from the history's file; close it."""

    def __init__(self, events_db: Path) -> None:
        """Open the file for reading; raises HistoryError."""
        self._db = Database(events_db, "history", read_only=True)

    def close(self) -> None:
        self._db.close()

    def rejected_after(self, part: int, limit: int) -> list[int]:
        """Return the newest rejected parts after one, newest first: NG and ERROR."""
        query = (
            "SELECT id FROM inspections INDEXED BY inspections_by_verdict WHERE verdict = ? AND id > ?"
            " ORDER BY id DESC LIMIT ?"
        )
        with self._db.errors():
            found = [
                int(row["id"])
                for verdict in (Verdict.NG, Verdict.ERROR)
                for row in self._db.execute(query, (verdict, part, limit)).fetchall()
            ]
        return sorted(found, reverse=True)[:limit]

    def last(self, rows: int, bundle: str) -> list[Scored]:
        """Return those of the last rows that one bundle judged by a score, oldest first."""
        query = (
            f"{_SELECT} FROM inspections NOT INDEXED WHERE inspections.id > (SELECT last_id FROM head) - ?"
            " AND bundle = ? AND reason = 'score' AND score IS NOT NULL AND threshold IS NOT NULL"
            " ORDER BY inspections.id"
        )
        with self._db.errors():
            return [_scored(row) for row in self._db.execute(query, (rows, bundle)).fetchall()]

    def of(self, parts: Iterable[int]) -> dict[int, tuple[str, Scored]]:
        """Return row hash and score of parts by number; those that were not judged by a score are left out."""
        with self._db.errors():
            rows = self._db.execute(OF, (json.dumps(list(parts)),)).fetchall()
        return {row["id"]: (row["hash"], _scored(row)) for row in rows}


_SELECT = "SELECT inspections.id, verdict, score, threshold, typical, bundle, hash"
OF = (  # CROSS: each part is looked up, and the history is not read from its beginning
    f"{_SELECT} FROM json_each(?) AS wanted CROSS JOIN inspections ON inspections.id = wanted.value"
    " WHERE reason = 'score' AND score IS NOT NULL AND threshold IS NOT NULL"
)
_VERDICTS = {one.value: one for one in Verdict}


def _scored(row: Any) -> Scored:
    return Scored(row["id"], _VERDICTS[row["verdict"]], row["score"], row["threshold"], row["typical"], row["bundle"])
