"""The history: one row per inspection, appended once, never changed. The only file that imports sqlite3."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.types import EdgeError, Inspection, Reason, Region, Timings, Verdict

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE inspections (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    trigger_id TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('OK', 'NG', 'ERROR')),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    score REAL,
    threshold REAL,
    defect_probability REAL,
    regions TEXT NOT NULL,
    bundle TEXT NOT NULL,
    timings TEXT NOT NULL
) STRICT;
CREATE INDEX inspections_by_verdict ON inspections (verdict, id);
"""


class EventLogError(EdgeError):
    """The history cannot be opened, read or written."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of each verdict the history holds."""

    ok: int
    ng: int
    error: int

    @property
    def total(self) -> int:
        return self.ok + self.ng + self.error


class EventLog:
    """One SQLite file. One process writes; any number read (read_only=True)."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Open, creating it when writing; raises EventLogError when it is damaged or of a newer schema."""
        self.path = path
        try:
            if read_only:
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, check_same_thread=False)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            self._db.row_factory = sqlite3.Row
            self._check_schema(read_only)
        except (sqlite3.Error, OSError) as error:
            raise EventLogError(f"{path}: the history cannot be opened ({error}); see docs/operation.md") from error

    def _check_schema(self, read_only: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not read_only:
            with self._db:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise EventLogError(f"{self.path}: history schema {version}, this Linewatch reads {SCHEMA_VERSION}")

    def close(self) -> None:
        self._db.close()

    def append(self, inspection: Inspection) -> None:
        """Store one row durably: when this returns, it survives a power cut. Raises EventLogError."""
        row = {
            "id": inspection.id,
            "at": inspection.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "trigger_id": inspection.trigger_id,
            "verdict": inspection.verdict.value,
            "reason": inspection.reason.value,
            "detail": inspection.detail,
            "score": inspection.score,
            "threshold": inspection.threshold,
            "defect_probability": inspection.defect_probability,
            "regions": json.dumps([asdict(region) for region in inspection.regions]),
            "bundle": inspection.bundle,
            "timings": json.dumps(asdict(inspection.timings)),
        }
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        with self._errors(), self._db:
            self._db.execute(f"INSERT INTO inspections ({names}) VALUES ({marks})", row)

    def last_id(self) -> int:
        """The highest id ever given; 0 in a new history."""
        with self._errors():
            found = self._db.execute("SELECT max(id) FROM inspections").fetchone()[0]
        return int(found or 0)

    def recent(self, limit: int, before_id: int | None = None, verdict: Verdict | None = None) -> list[Inspection]:
        """The newest rows first, without images; before_id and verdict narrow it."""
        where, values = ["1"], {"limit": limit, "before": before_id, "verdict": verdict}
        if before_id is not None:
            where.append("id < :before")
        if verdict is not None:
            where.append("verdict = :verdict")
        query = f"SELECT * FROM inspections WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT :limit"
        with self._errors(), closing(self._db.execute(query, values)) as cursor:
            return [_inspection(row) for row in cursor]

    def get(self, inspection_id: int) -> Inspection | None:
        """One row by id, without its image."""
        with self._errors():
            row = self._db.execute("SELECT * FROM inspections WHERE id = ?", (inspection_id,)).fetchone()
        return None if row is None else _inspection(row)

    def counts(self) -> Counts:
        """Rows of each verdict, over the whole history."""
        with self._errors():
            found = dict(self._db.execute("SELECT verdict, count(*) FROM inspections GROUP BY verdict").fetchall())
        return Counts(found.get("OK", 0), found.get("NG", 0), found.get("ERROR", 0))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EventLogError(f"{self.path}: the history cannot be used ({error})") from error


def _inspection(row: Any) -> Inspection:
    return Inspection(
        id=row["id"],
        at=datetime.fromisoformat(row["at"]),
        trigger_id=row["trigger_id"],
        verdict=Verdict(row["verdict"]),
        reason=Reason(row["reason"]),
        detail=row["detail"],
        score=row["score"],
        threshold=row["threshold"],
        defect_probability=row["defect_probability"],
        regions=tuple(Region(**region) for region in json.loads(row["regions"])),
        bundle=row["bundle"],
        timings=Timings(**json.loads(row["timings"])),
    )
