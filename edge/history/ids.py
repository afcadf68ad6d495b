"""The ids of inspections: never given twice, without a hole, also after `kill -9` and after a power cut.

docs/decisions/0002-ids-without-holes.md says why it is done in two ways at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.core.types import Inspection, Reason, Timings, Verdict
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.marks import MAX_ID, Mark, noted_id
from edge.history.rows import LOST

MARK = "sequence"
AHEAD = 32  # ids that may be given out while the rows before them are not on the disk yet
BATCH = 500  # rows of one transaction when holes are filled
MAX_FILLED = 1000  # more lost rows than these get one row that stands for all of them
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
KILLED = "the engine was killed after it gave out this id; the line may have seen a verdict"
CUT = "the power went, or run_dir was lost, while this id was reserved; whether a part had it is not known"


log = logging.getLogger(__name__)


class Ids:
    """The ids of one station. Each is noted before it is used: in run_dir each time, in the history a block ahead.

    Opening them writes a row ERROR/engine_died for each id that an earlier run gave out, or may have
    given out, without storing its row.
    """

    def __init__(self, events: EventLog, run_dir: Path, boot_id: str | None = None, seen: int = 0) -> None:
        """Write the missing rows of an earlier run, and reserve ids; raises HistoryError, and OSError.

        boot_id: a note in run_dir with another one may be older than the last part; default is this machine's.
        seen: the highest id that anything else shows, e.g. the name of a picture.
        """
        self._events = events
        self._boot_id = BOOT_ID.read_text(encoding="ascii").strip() if boot_id is None else boot_id
        self._history = events.head().history
        self._mark = Mark(run_dir / MARK)
        self.filled = self._fill(seen)
        events.reserve(AHEAD)
        self.last = events.last_id()
        self._note(self.last)

    def next_id(self) -> int:
        """Give out one id. It is noted where a killed engine leaves it; nothing waits for a disk.

        Raises HistoryError when no reserved one is left: ask has_room() before a part is accepted.
        """
        if self.last >= self._events.reserved_to:
            raise HistoryError(f"{self.last} ids are given and {AHEAD} rows wait for the disk; look at the disk")
        self._note(self.last + 1)
        self.last += 1
        return self.last

    def has_room(self) -> bool:
        """Return True when one more part may be accepted before another row is stored.

        One id is kept back for a trigger that was accepted just before this answer changed.
        """
        return self.last + 1 < self._events.reserved_to

    def go_on_after(self, seen: int) -> None:
        """Give no id up to this one, which something outside the history shows; raises HistoryError, and OSError.

        Call it before the first part.
        """
        if self.last < seen <= MAX_ID:
            self.filled += _store_missing(self._events, _Known(stored=seen))
            self._events.reserve(AHEAD)
            self.last = self._events.last_id()
            self._note(self.last)

    def close(self) -> None:
        """Take back what is reserved and was not given; call it when no more rows come. Raises HistoryError."""
        self._mark.close()
        self._events.release(self.last)

    def _note(self, number: int) -> None:
        self._mark.write(self._boot_id, self._history, f"{number:020d}")

    def _fill(self, seen: int) -> int:
        """Store a row for each id that was given out, or may have been, and has none; returns how many ids these are.

        A note of this boot is exact, for it is written before an id is used. Any other one is older, or of a history
        that is lost: then all that was reserved may have been given out.
        """
        head, marked = self._events.head(), self._events.marked
        boot_id, history, noted = self._noted(head.reserved_to)
        exact = boot_id == self._boot_id and history in {head.history, marked.history}
        given = noted if exact else max(head.reserved_to, marked.reserved_to)
        stored = max(marked.stored, seen)
        if not exact or history != head.history or noted > head.reserved_to:
            given, stored = max(given, head.reserved_to), max(stored, noted)
        return _store_missing(self._events, _Known(stored, noted if exact else 0, given))

    def _noted(self, reserved_to: int) -> tuple[str, str, int]:
        """Return boot, history and highest id of an earlier run; the id is 0 when there is no note that can be true."""
        words = self._mark.read()
        noted = noted_id(words[2]) if len(words) == 3 else None
        return (words[0], words[1], noted) if noted is not None else ("", "", 0)


@dataclass(frozen=True, slots=True)
class _Known:
    """How far the ids went, as far as anything shows."""

    stored: int  # up to here rows were stored, in this history or in the one before it
    noted: int = 0  # up to here ids were given out
    given: int = 0  # up to here they may have been


def _store_missing(events: EventLog, known: _Known) -> int:
    """Store the rows that are missing; returns for how many ids."""
    after = events.last_id()
    missing = range(after + 1, max(known.stored, known.given) + 1)
    lost, rest = range(after + 1, known.stored + 1), range(max(after, known.stored) + 1, missing.stop)
    if lost:
        log.error("%s: %s", events.path, LOST.format(lost[0], lost[-1]))
    if len(lost) > MAX_FILLED:
        events.append(_died(lost[-1], LOST.format(lost[0], lost[-1])))
        lost = range(0)
    rows = [*((number, LOST.format(number, number)) for number in lost)]
    rows += [(number, KILLED if number <= known.noted else CUT) for number in rest]
    for start in range(0, len(rows), BATCH):
        events.append(*(_died(number, detail) for number, detail in rows[start : start + BATCH]))
    return len(missing)


def _died(number: int, detail: str) -> Inspection:
    return Inspection(
        id=number,
        at=datetime.now(UTC),
        trigger_id="",
        verdict=Verdict.ERROR,
        reason=Reason.ENGINE_DIED,
        detail=detail,
        score=None,
        threshold=None,
        defect_probability=None,
        regions=(),
        bundle="",
        timings=Timings(),
    )
