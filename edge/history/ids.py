"""The ids of inspections: never given twice, without a hole, also after `kill -9` and after a power cut.

docs/decisions/0002-ids-without-holes.md says why it is done in two ways at once.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from edge.core.types import Inspection, Reason, Timings, Verdict
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog

MARK = "sequence"
AHEAD = 32  # ids that may be given out while the rows before them are not on the disk yet
BATCH = 500  # rows of one transaction when holes are filled
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
KILLED = "the engine was killed after it gave out this id; the line may have seen a verdict"
CUT = "the power went, or run_dir was lost, while this id was reserved; whether a part had it is not known"


class Ids:
    """The ids of one station. Each is noted before it is used: in run_dir each time, in the history a block ahead.

    Opening them writes a row ERROR/engine_died for each id that an earlier run gave out, or may have
    given out, without storing its row.
    """

    def __init__(self, events: EventLog, run_dir: Path, boot_id: str | None = None) -> None:
        """Write the missing rows of an earlier run, and reserve ids.

        boot_id: a note in run_dir with another one is worth nothing; default is this machine's."""
        self._events = events
        boot_id = BOOT_ID.read_text(encoding="ascii").strip() if boot_id is None else boot_id
        self._owner = f"{boot_id} {events.head().history}"
        self._path = run_dir / MARK
        noted = self._noted()
        self.filled = _fill(events, noted)
        events.reserve(AHEAD)
        self.last = events.last_id()
        self._mark = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o640)
        self._note(self.last)

    def next_id(self) -> int:
        """Give out one id. It is noted where a killed engine leaves it; nothing waits for a disk.

        Raises HistoryError when no reserved one is left: ask has_room() before a part is accepted.
        """
        if not self.has_room():
            raise HistoryError(f"{self.last} ids are given and {AHEAD} rows wait for the disk; look at the disk")
        self._note(self.last + 1)
        self.last += 1
        return self.last

    def has_room(self) -> bool:
        """Return True when an id may be given out before another row is stored."""
        return self.last < self._events.reserved_to

    def close(self) -> None:
        """Take back what is reserved and was not given; call it when no more rows come. Raises HistoryError."""
        os.close(self._mark)
        self._events.release(self.last)

    def _note(self, number: int) -> None:
        os.pwrite(self._mark, f"{self._owner} {number:020d}\n".encode(), 0)

    def _noted(self) -> int | None:
        """Return the highest id of an earlier run; None when no note of this boot and this history is there."""
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None
        found = re.fullmatch(rf"{re.escape(self._owner)} (\d{{20}})\n", text)
        return int(found[1]) if found else None


def _fill(events: EventLog, noted: int | None) -> int:
    """Write the rows that are missing; returns how many."""
    head = events.head()
    last, detail = (head.reserved_to, CUT) if noted is None else (noted, KILLED)
    missing = range(head.last_id + 1, last + 1)
    for start in range(0, len(missing), BATCH):
        events.append(*(_died(number, detail) for number in missing[start : start + BATCH]))
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
