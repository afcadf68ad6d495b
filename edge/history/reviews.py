"""What people said of inspected parts, and which rejects somebody looked at: beside the history, never in its chain.

The page writes this file. Nothing is ever changed or taken out: an answer that is taken back or replaced stays, and
the last answer on a part counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge.history.database import Database, HistoryError
from edge.history.rows import timestamp

REVIEWS = "reviews.db"
LONGEST_NAME = 80  # characters of a person's name
LONGEST_MASK = 12_000  # characters of the strokes of one mask
_ABOVE_ALL = 2**63 - 1  # no answer has a number as high
_VERSION = 1
_TABLES = (
    """CREATE TABLE reviews (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    part INTEGER NOT NULL,
    row_hash TEXT NOT NULL,
    opinion TEXT NOT NULL CHECK (opinion IN ('bad', 'good', 'unsure', 'none')),
    origin TEXT NOT NULL CHECK (origin IN ('limit', 'sample', 'chosen')),
    label TEXT NOT NULL,
    mask TEXT NOT NULL,
    who TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT""",
    "CREATE INDEX reviews_by_part ON reviews (part, number)",
    "CREATE TABLE seen (part INTEGER PRIMARY KEY, who TEXT NOT NULL, at TEXT NOT NULL) STRICT",
    "CREATE TABLE seen_all (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), up_to INTEGER NOT NULL) STRICT",
    "INSERT INTO seen_all VALUES (1, 0)",
)


class Opinion(StrEnum):
    """The answer of a person on a part."""

    BAD = "bad"
    GOOD = "good"
    UNSURE = "unsure"
    NONE = "none"  # the answer before it was taken back


class Origin(StrEnum):
    """How a part came to be reviewed. Only the random sample speaks for all parts."""

    LIMIT = "limit"  # of those nearest to the limit
    SAMPLE = "sample"  # of the random sample
    CHOSEN = "chosen"  # somebody picked it


@dataclass(frozen=True, slots=True)
class Review:
    """One answer of a person on a part."""

    number: int  # counts up over all parts
    part: int
    row_hash: str  # of the part's row in the history: the answer is on that row and no other one
    opinion: Opinion
    origin: Origin
    who: str
    at: datetime  # UTC
    label: str = ""  # the type of defect, as a folder of a data set is called
    mask: str = ""  # JSON: where the defect is, see edge/web/review/masks.py
    sampled: bool = False  # this or an earlier answer on the part was asked for by the random sample


class ReviewConflictError(HistoryError):
    """Somebody else answered on the same part meanwhile; nothing was stored."""

    def __init__(self, standing: Review | None) -> None:
        said = "the answer was taken back"
        if standing is not None:
            at = f"{standing.at:%Y-%m-%d %H:%M:%S} UTC"
            said = f"{standing.who} answered {standing.opinion}, {at}"
        super().__init__(f"meanwhile {said}; look at it and answer again")
        self.standing = standing


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer that is to be stored."""

    part: int
    row_hash: str
    opinion: Opinion
    origin: Origin
    who: str
    label: str = ""
    mask: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """The rejects that somebody looked at: all up to one part, and some after it."""

    up_to: int = 0
    parts: frozenset[int] = frozenset()

    def __contains__(self, part: int) -> bool:
        return part <= self.up_to or part in self.parts


class ReviewStore:
    """The answers and the seen rejects of one station in one SQLite file; any number of processes may write."""

    def __init__(self, state_dir: Path, read_only: bool = False) -> None:
        """Open reviews.db, creating it when writing; raises HistoryError.

        A file that is just being made is not `ready`: it holds nothing to read.
        """
        self.path = state_dir / REVIEWS
        self._db = Database(self.path, "file of reviews", read_only)
        self.ready = self._db.version == _VERSION or not read_only
        if self._db.version == 0 and not read_only:
            with self._db.transaction():
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _TABLES:
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
        elif self._db.version not in (0, _VERSION):
            raise HistoryError(f"{self.path}: schema {self._db.version}, this Linewatch reads {_VERSION}")

    def close(self) -> None:
        self._db.close()

    def add(self, draft: Draft, after: int | None) -> Review:
        """Store an answer durably. after: the number of the answer that its author saw, 0 for none, None: any.

        Raises ReviewConflictError when the part has another answer by now, HistoryError when it cannot be stored.
        """
        with self._db.transaction():
            standing = self._last(draft.part)
            if after is not None and after != (standing.number if standing else 0):
                raise ReviewConflictError(standing)
            return self._insert(draft, timestamp(datetime.now(UTC)))

    def put_back(self, draft: Draft, taken: int) -> Review:
        """Let the answer count again that the one numbered `taken` replaced, with its mask, its author and its time.

        draft: what is stored where nothing was replaced, an opinion of none. Raises as add does.
        """
        with self._db.transaction():
            standing = self._last(draft.part)
            if standing is None or standing.number != taken:
                raise ReviewConflictError(standing)
            row = self._newest(draft.part, below=taken)
            if row is None or row["opinion"] == Opinion.NONE:
                return self._insert(draft, timestamp(datetime.now(UTC)))
            kept = ("row_hash", "opinion", "origin", "who", "label", "mask")
            return self._insert(Draft(draft.part, **{name: row[name] for name in kept}), row["at"])

    def _insert(self, draft: Draft, at: str) -> Review:
        values = (draft.part, draft.row_hash, draft.opinion, draft.origin, draft.label, draft.mask, draft.who, at)
        query = (
            "INSERT INTO reviews (part, row_hash, opinion, origin, label, mask, who, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._db.execute(query, values)
        self._see([draft.part], draft.who, at)
        return _as_review(self._newest(draft.part))

    def last(self, part: int) -> Review | None:
        """Return the last answer on a part, which may be that there is none any more."""
        with self._db.errors():
            return self._last(part)

    def _last(self, part: int) -> Review | None:
        row = self._newest(part)
        return None if row is None else _as_review(row)

    def _newest(self, part: int, below: int = _ABOVE_ALL) -> Any:
        """Return the row of the last answer on a part whose number is below another one, None where there is none."""
        query = f"{_SELECT} WHERE part = ? AND number < ? ORDER BY number DESC LIMIT 1"
        return self._db.execute(query, (part, below)).fetchone()

    def standing(self) -> list[Review]:
        """Return the answer that counts on each part that has one, in the order in which they were given."""
        query = (
            f"{_SELECT} WHERE number IN (SELECT max(number) FROM reviews GROUP BY part)"
            " AND opinion != 'none' ORDER BY number"
        )
        with self._db.errors():
            return [_as_review(row) for row in self._db.execute(query).fetchall()]

    def see(self, parts: Sequence[int], who: str, up_to: int = 0) -> None:
        """Note durably that somebody looked at these rejects, and at all up to one of them. Raises HistoryError."""
        with self._db.transaction():
            self._see(parts, who, timestamp(datetime.now(UTC)))
            if up_to:
                self._db.execute("UPDATE seen_all SET up_to = max(up_to, ?)", (up_to,))
                self._db.execute("DELETE FROM seen WHERE part <= ?", (up_to,))

    def _see(self, parts: Iterable[int], who: str, at: str) -> None:
        for part in parts:
            self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (part, who, at))

    def seen(self) -> Seen:
        """Return which rejects somebody looked at."""
        with self._db.errors():
            up_to = int(self._db.execute("SELECT up_to FROM seen_all").fetchone()[0])
            parts = self._db.execute("SELECT part FROM seen WHERE part > ?", (up_to,)).fetchall()
        return Seen(up_to, frozenset(row["part"] for row in parts))


_SELECT = (
    "SELECT *, EXISTS (SELECT 1 FROM reviews AS other WHERE other.part = reviews.part AND other.origin = 'sample')"
    " AS sampled FROM reviews"
)


def _as_review(row: Any) -> Review:
    return Review(
        number=row["number"],
        part=row["part"],
        row_hash=row["row_hash"],
        opinion=Opinion(row["opinion"]),
        origin=Origin(row["origin"]),
        who=row["who"],
        at=datetime.fromisoformat(row["at"]),
        label=row["label"],
        mask=row["mask"],
        sampled=bool(row["sampled"]),
    )
