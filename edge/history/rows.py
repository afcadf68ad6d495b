"""The schema of the history, one row there and back, and the hash that chains each row to the one before it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from edge.core.types import Inspection, Reason, Region, Timings, Verdict, distance

SCHEMA_VERSION = 4
LOST = "the rows of the ids {} to {} were lost: the history was deleted, replaced or set back, or a part of it was"
# clock_steps holds the ids whose time is before that of the row before them.
CLOCK_STEPS = """
INSERT OR IGNORE INTO clock_steps
    SELECT id FROM (SELECT id, at, lag(at) OVER (ORDER BY id) AS before FROM inspections) WHERE at < before;
"""
FROM_VERSION_3 = """
DROP INDEX IF EXISTS inspections_by_time;
CREATE INDEX IF NOT EXISTS inspections_by_reason ON inspections (reason, verdict);
CREATE TABLE IF NOT EXISTS clock_steps (
    id INTEGER PRIMARY KEY
) STRICT;
"""
GENESIS = "0" * 64  # stands for the hash of the row before the first one
# The hash of a row covers these, in the order of the columns.
FIELDS = (
    "id",
    "at",
    "trigger_id",
    "verdict",
    "reason",
    "detail",
    "score",
    "threshold",
    "defect_probability",
    "regions",
    "bundle",
    "timings",
    "bundle_digest",
    "typical",
)
COLUMNS = (*FIELDS, "previous_hash", "hash")
SCHEMA = """
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
    timings TEXT NOT NULL,
    bundle_digest TEXT NOT NULL,
    typical REAL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX inspections_by_verdict ON inspections (verdict, id);
CREATE INDEX inspections_by_reason ON inspections (reason, verdict);
CREATE TABLE clock_steps (
    id INTEGER PRIMARY KEY
) STRICT;
CREATE TABLE head (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    history TEXT NOT NULL,
    last_id INTEGER NOT NULL,
    last_hash TEXT NOT NULL,
    ok INTEGER NOT NULL,
    ng INTEGER NOT NULL,
    error INTEGER NOT NULL,
    reserved_to INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice of rows: from start to before end, and of one reason, as far as they are given."""

    start: datetime | None = None
    end: datetime | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """The part of a row that a chart shows."""

    at: datetime
    verdict: Verdict
    score: float | None
    threshold: float | None
    total_ms: float
    typical: float | None = None

    @property
    def distance(self) -> float | None:
        """The score in units of the good parts' spread; None where nothing was compared."""
        return distance(self.score, self.threshold, self.typical)


def as_row(inspection: Inspection, previous_hash: str) -> dict[str, str | int | float | None]:
    """Return the columns of one inspection, as SQLite gives them back, with its place in the chain."""
    fields: dict[str, str | int | float | None] = {
        "id": inspection.id,
        "at": timestamp(inspection.at),
        "trigger_id": inspection.trigger_id,
        "verdict": inspection.verdict.value,
        "reason": inspection.reason.value,
        "detail": inspection.detail,
        "score": _real(inspection.score),
        "threshold": _real(inspection.threshold),
        "defect_probability": _real(inspection.defect_probability),
        "regions": json.dumps([asdict(region) for region in inspection.regions]),
        "bundle": inspection.bundle,
        "timings": json.dumps(asdict(inspection.timings)),
        "bundle_digest": inspection.bundle_digest,
        "typical": _real(inspection.typical),
    }
    return {**fields, "previous_hash": previous_hash, "hash": row_hash(previous_hash, fields)}


def as_inspection(row: Any) -> Inspection:
    """Return the inspection of one row of the table, without its image."""
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
        bundle_digest=row["bundle_digest"],
        typical=row["typical"],
    )


def rows_lost(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the first and the last id whose lost rows this row stands for; None for any other row."""
    found = re.fullmatch(LOST.format(r"(\d+)", r"(\d+)"), row["detail"])
    if found is None or (row["verdict"], row["reason"]) != (Verdict.ERROR, Reason.ENGINE_DIED):
        return None
    return int(found[1]), int(found[2])


def from_version_1(row: Mapping[str, Any], previous_hash: str) -> dict[str, str | int | float | None]:
    """Return a row of schema 1 with its place in the chain; schema 1 kept 12 digits of the bundle's digest."""
    fields = {name: row[name] for name in FIELDS[:-2]}
    fields |= {"bundle_digest": str(row["bundle"]).rpartition(" ")[2], "typical": None}
    return {**fields, "previous_hash": previous_hash, "hash": row_hash(previous_hash, fields)}


def row_hash(previous: str, fields: Mapping[str, str | int | float | None]) -> str:
    """Return the sha256, 64 hex digits, over the previous row's hash and all fields in a canonical encoding.

    The encoding is JSON in ASCII: names sorted, no spaces, numbers in their shortest form that reads back
    exactly. A real number must be a float, and never minus zero: SQLite gives both back so. A missing typical score
    is left out, so that rows from before it was kept have the hash that they always had.
    """
    covered = sorted(item for item in fields.items() if item != ("typical", None))
    text = json.dumps([previous, covered], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def timestamp(at: datetime) -> str:
    """Return a time as text: UTC to the millisecond, so that the order of texts is the order of times."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _real(value: float | None) -> float | None:
    """Return a number as SQLite gives it back: adding 0.0 turns minus zero into zero."""
    return None if value is None else float(value) + 0.0
