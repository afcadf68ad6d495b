"""The history: one row for each inspection, appended once, never changed."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.core.types import Inspection, Reason, Verdict
from edge.history.database import Database, HistoryError
from edge.history.marks import MAX_ID, Mark, noted_id
from edge.history.reading import sums
from edge.history.reading.spans import Span, spans
from edge.history.rows import (
    CLOCK_STEPS,
    COLUMNS,
    FIELDS,
    FROM_VERSION_3,
    GENESIS,
    SCHEMA,
    SCHEMA_VERSION,
    Point,
    Selection,
    as_inspection,
    as_row,
    from_version_1,
    row_hash,
    rows_lost,
    timestamp,
)

_INSERT = f"INSERT INTO inspections ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
log = logging.getLogger(__name__)

EVERYTHING = Selection()
POINT = "at, verdict, score, threshold, json_extract(timings, '$.total_ms') AS total_ms, typical"
# Each stride-th id is looked up: no index is followed over the ids between.
SOME = f"""
WITH RECURSIVE wanted(number) AS (
    SELECT (:first + :stride - 1) / :stride * :stride UNION ALL
    SELECT number + :stride FROM wanted WHERE number + :stride <= :last
)
SELECT {POINT} FROM wanted CROSS JOIN inspections ON id = number WHERE number <= :last
"""
BATCH = 1000  # rows
OK_WINDOW = 20_000  # rows
RUNNING_BUSY_S = 2.0  # how long a row waits at a time for another process that holds the lock
_COUNTERS = {Verdict.OK: "ok", Verdict.NG: "ng", Verdict.ERROR: "error"}


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of rows of each verdict in the history."""

    ok: int
    ng: int
    error: int

    @property
    def total(self) -> int:
        """The number of all rows."""
        return self.ok + self.ng + self.error


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain; each transaction that appends rows moves it on."""

    history: str  # random name of this history, so that nothing of another one is taken for its own
    last_id: int
    last_hash: str
    counts: Counts
    reserved_to: int  # the highest id that may be given out before the next row is stored


@dataclass(frozen=True, slots=True)
class Marked:
    """What the mark beside the file says: of which history, and how far its ids went."""

    history: str = ""
    stored: int = 0  # the highest id whose row was stored, or was about to be
    reserved_to: int = 0


class EventLog:
    """The history in one SQLite file. One process writes; any number read (read_only=True).

    The writer notes in a mark beside the file how far the ids went, so that they go on when the file is lost.
    """

    def __init__(
        self, path: Path, read_only: bool = False, before_migration: Callable[[], None] = lambda: None
    ) -> None:
        """Open the file, creating or migrating it when writing; raises HistoryError when it is damaged or newer.

        before_migration: called before rows of an older schema are brought up, which can take minutes.
        """
        self.path = path
        self._ahead = 0
        self._db = Database(path, "history", read_only)
        self._check_schema(read_only, before_migration)
        head = self.head()
        self._name, self.reserved_to = head.history, head.reserved_to
        if not read_only:
            self._keep_sums(before_migration)
        self._mark = None if read_only else self._open_mark()
        self.marked = Marked() if self._mark is None else _marked(self._mark.read())

    def _open_mark(self) -> Mark:
        with self._db.errors("cannot be marked"):
            return Mark(self.path.with_suffix(".ids"))

    def _for_older_releases(self) -> bool:
        """Return True when the later release that made this schema lets releases of ours read and write on.

        It then notes the oldest such schema, and has only added columns that may be empty.
        """
        with self._db.errors():
            return 0 < int(self._db.execute("PRAGMA application_id").fetchone()[0]) <= SCHEMA_VERSION

    def _check_schema(self, read_only: bool, before_migration: Callable[[], None]) -> None:
        version = self._db.version
        if version == SCHEMA_VERSION or (version > SCHEMA_VERSION and self._for_older_releases()):
            return
        if version not in (0, 1, 2, 3) or (version == 0 and read_only):
            raise HistoryError(f"{self.path}: history schema {version}, this Linewatch reads {SCHEMA_VERSION}")
        if read_only:
            raise HistoryError(f"{self.path}: history schema {version}; start the engine once, which brings it up")
        if version:
            log.info("%s: bringing schema %d up to %d, once", self.path, version, SCHEMA_VERSION)
            before_migration()
        with self._db.transaction():
            if version == 0:
                self._create(GENESIS, 0, Counts(0, 0, 0))
            elif version == 1:
                self._migrate_version_1()
            else:
                if version == 2:  # it had no typical score; the hash of a row without one does not cover it
                    self._db.execute("ALTER TABLE inspections ADD COLUMN typical REAL")
                self._execute_all(FROM_VERSION_3)
            if version:
                self._execute_all(CLOCK_STEPS)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.reclaim()  # the file knows its own name, even when its write-ahead log is lost

    def _create(self, last_hash: str, last_id: int, counts: Counts) -> None:
        self._execute_all(SCHEMA)
        values = (secrets.token_hex(8), last_id, last_hash, counts.ok, counts.ng, counts.error, last_id)
        self._db.execute("INSERT INTO head VALUES (1, ?, ?, ?, ?, ?, ?, ?)", values)

    def _keep_sums(self, before_migration: Callable[[], None]) -> None:
        """Count the rows that the sums lack; count all of them where the sums disagree with the head record."""
        with self._db.transaction():
            sums.make_tables(self._db)
            head = self.head()
            if head.last_id - sums.summed_to(self._db) > BATCH:
                before_migration()
            if head.last_id > sums.summed_to(self._db):
                sums.count_up_to(self._db, head.last_id)
            counts = {"OK": head.counts.ok, "NG": head.counts.ng, "ERROR": head.counts.error}
            if sums.totals(self._db) != counts:
                log.error(
                    "%s: the sums of the shift report are not those of the rows; they are counted anew", self.path
                )
                before_migration()
                sums.count_anew(self._db, head.last_id)

    def _execute_all(self, statements: str) -> None:
        for statement in statements.split(";\n")[:-1]:
            self._db.execute(statement)

    def _migrate_version_1(self) -> None:
        """Bring schema 1, which had neither digest nor chain, up to date: keep every row, and chain it as it is now."""
        self._db.execute("ALTER TABLE inspections RENAME TO old")
        self._db.execute("DROP INDEX inspections_by_verdict")
        found = dict(self._db.execute("SELECT verdict, count(*) FROM old GROUP BY verdict").fetchall())
        self._create(GENESIS, 0, Counts(*(found.get(verdict.value, 0) for verdict in _COUNTERS)))
        last_id, last_hash = 0, GENESIS
        with closing(self._db.execute("SELECT * FROM old ORDER BY id")) as cursor:
            for old in cursor:
                row = from_version_1(old, last_hash)
                self._db.execute(_INSERT, row)
                last_id, last_hash = int(old["id"]), str(row["hash"])
        values = (last_id, last_hash, last_id)
        self._db.execute("UPDATE head SET last_id = ?, last_hash = ?, reserved_to = ?", values)
        self._db.execute("DROP TABLE old")

    def close(self) -> None:
        self._db.close()
        if self._mark is not None:
            self._mark.close()
            self._mark = None

    def append(self, *inspections: Inspection) -> None:
        """Store rows durably, all or none: when this returns, they survive a power cut. Raises HistoryError."""
        with self._db.transaction():
            head = self.head()
            last_id, last_hash, reserved_to = head.last_id, head.last_hash, head.reserved_to
            last_at = self._time_of(last_id)
            for inspection in inspections:
                if inspection.id <= last_id:
                    raise HistoryError(f"{self.path}: row {inspection.id} after row {last_id}: ids only go up")
                row = as_row(inspection, last_hash)
                self._db.execute(_INSERT, row)
                at = timestamp(inspection.at)
                if at < last_at:
                    self._db.execute("INSERT INTO clock_steps VALUES (?)", (inspection.id,))
                last_at = at
                counter = _COUNTERS[inspection.verdict]
                self._db.execute(f"UPDATE head SET {counter} = {counter} + 1")
                last_id, last_hash = inspection.id, str(row["hash"])
            reserved_to = max(reserved_to, last_id + self._ahead)
            values = (last_id, last_hash, reserved_to)
            self._db.execute("UPDATE head SET last_id = ?, last_hash = ?, reserved_to = ?", values)
            sums.count_up_to(self._db, last_id)
            self._note(max(last_id, self.marked.stored), max(reserved_to, self.marked.reserved_to))
        self.reserved_to = reserved_to

    def _time_of(self, inspection_id: int) -> str:
        row = self._db.execute("SELECT at FROM inspections WHERE id = ?", (inspection_id,)).fetchone()
        return "" if row is None else str(row["at"])

    def _note(self, stored: int, reserved_to: int) -> None:
        if self._mark is not None:
            self._mark.write(self._name, f"{stored:020d}", f"{reserved_to:020d}")

    def reserve(self, ahead: int) -> None:
        """Allow ids up to so many after the last row, from now on with every row. Raises HistoryError.

        Call it when every id that the mark knows has a row: from now on the mark follows the rows.
        """
        self._ahead, self.marked = ahead, Marked()
        self._reserve_to(self.last_id() + ahead)
        self._db.be_patient(RUNNING_BUSY_S)

    def release(self, given: int) -> None:
        """Take back what is reserved after the highest id that was given out. Raises HistoryError."""
        self._ahead = 0
        self._reserve_to(max(given, self.last_id()))

    def _reserve_to(self, number: int) -> None:
        with self._db.transaction():
            self._db.execute("UPDATE head SET reserved_to = ?", (number,))
            self._note(self.last_id(), number)
        self.reserved_to = number

    def reclaim(self) -> bool:
        """Give the space of the write-ahead log back to a full disk; False when there is none to give."""
        return self._db.reclaim()

    def head(self) -> Head:
        """Return the end of the chain; raises HistoryError when its record is not there."""
        with self._db.errors():
            row = self._db.execute("SELECT * FROM head").fetchone()
        if row is None:
            raise HistoryError(
                f"{self.path}: the head record is missing: it was altered; see docs/how-to/troubleshoot.md"
            )
        counts = Counts(row["ok"], row["ng"], row["error"])
        return Head(row["history"], row["last_id"], row["last_hash"], counts, row["reserved_to"])

    def last_id(self) -> int:
        """Return the highest id that has a row; 0 in a new history."""
        return self.head().last_id

    def counts(self) -> Counts:
        """Return the numbers of rows of each verdict; costs the same however long the history is."""
        return self.head().counts

    def recent(
        self,
        limit: int,
        before_id: int | None = None,
        verdict: Verdict | None = None,
        chosen: Selection = EVERYTHING,
        after_id: int = 0,
    ) -> list[Inspection]:
        """Return rows without images, the newest first; before_id, after_id, verdict and chosen narrow the choice."""
        found: list[Inspection] = []
        with self._db.errors():
            for first, last in reversed(self._spans(chosen)):
                first, last = max(first, after_id + 1), last if before_id is None else min(last, before_id - 1)
                found += self._rows(first, last, verdict, chosen.reason, limit - len(found), newest=True)
        return found

    def next_after(
        self, inspection_id: int, verdict: Verdict | None = None, chosen: Selection = EVERYTHING
    ) -> Inspection | None:
        """Return the first row with a higher id that verdict and chosen let through; None when there is none."""
        with self._db.errors():
            for first, last in self._spans(chosen):
                found = self._rows(max(first, inspection_id + 1), last, verdict, chosen.reason, 1)
                if found:
                    return found[0]
        return None

    def _spans(self, chosen: Selection) -> list[Span]:
        return spans(self._db, self.last_id(), chosen.start, chosen.end)

    def _rows(
        self, first: int, last: int, verdict: Verdict | None, reason: Reason | None, limit: int, newest: bool = False
    ) -> list[Inspection]:
        """Return rows of a span of ids, the newest or the oldest ones; each is found by an index."""
        if limit <= 0 or first > last:
            return []
        verdicts = [verdict] if verdict is not None or reason is None else list(Verdict)
        found: list[Any] = []
        for one in verdicts:
            values = {"first": first, "last": last, "verdict": one, "reason": reason, "limit": limit}
            found += self._db.execute(_select(one, reason, newest), values).fetchall()
        found.sort(key=lambda row: int(row["id"]), reverse=newest)
        return [as_inspection(row) for row in found[:limit]]

    def after(self, inspection_id: int, limit: int) -> list[Inspection]:
        """Return the first rows with a higher id, oldest first, without their images."""
        query = "SELECT * FROM inspections WHERE id > ? ORDER BY id LIMIT ?"
        with self._db.errors():
            return [as_inspection(row) for row in self._db.execute(query, (inspection_id, limit)).fetchall()]

    def get(self, inspection_id: int) -> Inspection | None:
        """Return one row by its id, without its image; None when there is no such row."""
        with self._db.errors():
            row = self._db.execute("SELECT * FROM inspections WHERE id = ?", (inspection_id,)).fetchone()
        return None if row is None else as_inspection(row)

    def between(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        verdict: Verdict | None = None,
        reason: Reason | None = None,
    ) -> Iterator[Inspection]:
        """Yield the rows from start to before end, oldest first.

        They are read in batches: a slow reader of one long query would keep the write-ahead log from being cleared.
        Rows that come meanwhile are left out.
        """
        with self._db.errors():
            chosen = self._spans(Selection(start, end))
        for first, last in chosen:
            while first <= last:
                with self._db.errors():
                    rows = self._rows(first, last, verdict, reason, BATCH)
                yield from rows
                first = rows[-1].id + 1 if rows else last + 1

    def points(self, chosen: Selection, verdict: Verdict | None = None, stride: int = 1) -> Iterator[Point]:
        """Yield a Point for each row that the choice lets through; a tenth of the work of whole rows.

        stride: only rows whose id it divides; the others are not even read. Rows come oldest first when neither a
        verdict nor a reason nor a stride is given, else verdict by verdict.
        """
        every = verdict is None and chosen.reason is None
        verdicts: list[Verdict | None] = [verdict] if every or verdict is not None else list(Verdict)
        values = {"reason": chosen.reason, "stride": stride, "limit": -1}
        with self._db.errors():
            for first, last in self._spans(chosen):
                for one in verdicts:
                    query = _select(one, chosen.reason, False, POINT, "id % :stride = 0" if stride > 1 else "")
                    if every and stride > 1:
                        query = SOME
                    found = self._db.execute(query, values | {"first": first, "last": last, "verdict": one})
                    with closing(found) as cursor:
                        for at, was, score, threshold, total_ms, typical in cursor:
                            yield Point(datetime.fromisoformat(at), Verdict(was), score, threshold, total_ms, typical)

    def tally(self, chosen: Selection, verdict: Verdict | None = None) -> dict[Verdict, int]:
        """Count the rows of each verdict, or of one, that times and reason choose, by the index alone."""
        found = dict.fromkeys(Verdict, 0)
        with self._db.errors():
            for first, last in self._spans(chosen):
                for one in Verdict if verdict is None else (verdict,):
                    query = _select(one, chosen.reason, False, "count(*)")
                    values = {"first": first, "last": last, "verdict": one, "reason": chosen.reason, "limit": -1}
                    found[one] += int(self._db.execute(query, values).fetchone()[0])
        return found

    def ok_of(self, ids: Iterable[int]) -> set[int]:
        """Return those of some ids that were judged OK; each costs one look-up, however long the history is."""
        query = (
            "SELECT part.id FROM json_each(?) AS wanted CROSS JOIN inspections AS part ON part.id = wanted.value"
            " WHERE part.verdict = 'OK'"
        )
        with self._db.errors():
            return {row["id"] for row in self._db.execute(query, (json.dumps(list(ids)),))}

    def ok_scores(self, after_id: int, bundle_digest: str) -> list[tuple[int, datetime, float]]:
        """Return (id, at, score) of the parts that one bundle judged OK after an id, oldest first.

        Rows before the last OK_WINDOW ones are left out, so that a start costs the same however long ago it was.
        """
        after_id = max(after_id, self.last_id() - OK_WINDOW)
        query = (
            "SELECT id, at, score FROM inspections WHERE id > ? AND verdict = 'OK' AND bundle_digest = ?"
            " AND score IS NOT NULL ORDER BY id"
        )
        with self._db.errors():
            found = self._db.execute(query, (after_id, bundle_digest)).fetchall()
        return [(row["id"], datetime.fromisoformat(row["at"]), row["score"]) for row in found]

    def verify(self) -> Head:
        """Follow the whole chain as it stands now; raises HistoryError naming the first row that is wrong."""
        with self._db.errors(), self._db.transaction("DEFERRED"):
            head = self.head()
            fault = self._first_fault(head)
        if fault:
            raise HistoryError(f"{self.path}: {fault}; keep the file as it is, see docs/how-to/troubleshoot.md")
        return head

    def lost(self) -> list[tuple[int, int]]:
        """Return the ids whose rows were lost with a part of the history, as (first, last), oldest first."""
        query = _select(Verdict.ERROR, Reason.ENGINE_DIED, newest=False)
        values = {"first": 1, "last": MAX_ID, "verdict": Verdict.ERROR, "reason": Reason.ENGINE_DIED, "limit": -1}
        found: list[tuple[int, int]] = []
        with self._db.errors(), closing(self._db.execute(query, values)) as cursor:
            for first, last in filter(None, map(rows_lost, cursor)):
                found.append((found.pop()[0] if found and found[-1][1] + 1 == first else first, last))
        return found

    def hash_of(self, inspection_id: int) -> str | None:
        """Return the hash of one row, to be compared with one that was noted earlier; None without such a row."""
        with self._db.errors():
            row = self._db.execute("SELECT hash FROM inspections WHERE id = ?", (inspection_id,)).fetchone()
        return None if row is None else str(row["hash"])

    def _first_fault(self, head: Head) -> str | None:
        last_id, last_hash, tallies = 0, GENESIS, dict.fromkeys(("OK", "NG", "ERROR"), 0)
        with closing(self._db.execute("SELECT * FROM inspections ORDER BY id")) as cursor:
            for row in cursor:
                if row["id"] != last_id + 1 and rows_lost(row) != (last_id + 1, row["id"]):
                    return f"row {last_id + 1} is missing"
                if row_hash(row["previous_hash"], {name: row[name] for name in FIELDS}) != row["hash"]:
                    return f"row {row['id']} was altered"
                if row["previous_hash"] != last_hash:
                    return f"row {row['id']} does not follow row {last_id}: one of them was put in or exchanged"
                last_id, last_hash = row["id"], row["hash"]
                tallies[row["verdict"]] += 1
        if last_id < head.last_id:
            return f"row {last_id + 1} is missing, and all up to row {head.last_id}"
        if (last_id, last_hash) != (head.last_id, head.last_hash):
            return f"row {last_id} is not the last row that the head record knows ({head.last_id})"
        if tuple(tallies.values()) != (head.counts.ok, head.counts.ng, head.counts.error):
            return "the counts of the head record are not those of the rows"
        if not sums.agree(self._db):
            return "the rows are whole, and the sums of the shift report are not theirs"
        return None


def _select(verdict: Verdict | None, reason: Reason | None, newest: bool, columns: str = "*", more: str = "") -> str:
    """Return the query of rows of a span of ids; the index is the one that holds every condition."""
    index = "NOT INDEXED" if verdict is None else "INDEXED BY inspections_by_verdict"
    conditions = ["id BETWEEN :first AND :last"] + ["verdict = :verdict"] * (verdict is not None)
    if reason is not None:
        index = "INDEXED BY inspections_by_reason"
        conditions.append("reason = :reason")
    conditions += [more] * bool(more)
    order = "DESC" if newest else "ASC"
    return (
        f"SELECT {columns} FROM inspections {index} WHERE {' AND '.join(conditions)} ORDER BY id {order} LIMIT :limit"
    )


def _marked(words: list[str]) -> Marked:
    if len(words) != 3:
        return Marked()
    stored, reserved_to = noted_id(words[1]), noted_id(words[2])
    return Marked() if stored is None or reserved_to is None else Marked(words[0], stored, reserved_to)
