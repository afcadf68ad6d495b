"""The messages that a receiver has not had yet: the rows of the history after the last one that it acknowledged."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge.core.files import make_folder
from edge.history.database import Database, HistoryError
from edge.history.eventlog import EventLog, Head
from edge.history.marks import Mark, noted_id
from edge.line.outputs import OutputError
from edge.line.outputs.message import message

MARK = "told"
EARLIER = "outbox.db"  # an earlier version kept a copy of each message in it; the one before that in text files
BACKLOG = 100  # from so many messages on, they are read in pieces, with a pause before each piece
PIECE = 20
PAUSE_S = 0.02

log = logging.getLogger(__name__)


class Outbox:
    """The outbox of one receiver: a note in one folder of the last row that the receiver has, with all before it.

    Rows are read anew each time, because somebody may put another file into the place of the history. One thread reads
    and acknowledges; any thread may ask how many messages wait.
    """

    def __init__(self, folder: Path, events_db: Path, station: str) -> None:
        """Open or create; a new one begins after the newest row. Raises OutputError when the folder cannot be used."""
        self._folder = folder
        self._events_db = events_db
        self._station = station
        with self._errors():
            if os.path.lexists(folder) and not folder.is_dir():
                folder.rename(folder.with_name(f"{folder.name}.foreign"))
                log.warning("%s: was no folder; kept as %s.foreign", folder, folder.name)
            make_folder(folder)
            with closing(EventLog(events_db, read_only=True)) as events:
                head = events.head()
            self._history = head.history
            there = {path.name for path in folder.iterdir()}
            self._mark = Mark(folder / MARK)
            self.noted, self._acked = self._begin(there, head)
            self._last = max(head.last_id, self._acked)
            self._note()
            self._mark.sync()  # without a note every row that waits would count as told
            self._tidy(there)

    @property
    def acked(self) -> int:
        """The id of the last row that the receiver has, with all before it."""
        return self._acked

    def waiting(self) -> int:
        """Return how many messages are not acknowledged."""
        return self._last - self._acked

    def expect(self, inspection_id: int) -> None:
        """Hear that this row is about to be stored."""
        self._last = max(self._last, inspection_id)

    def pending(self, limit: int = PIECE, after: int = 0) -> list[tuple[int, bytes]]:
        """Return the oldest `limit` messages with an id above `after` and not acknowledged, as (id, message).

        A row that is expected and not stored yet is left out. Raises OutputError when the history cannot be read.
        """
        after = max(after, self._acked)
        if self._last <= after:
            return []
        if self.waiting() > BACKLOG:
            time.sleep(PAUSE_S)  # a long backlog leaves the processor to the parts
        with self._errors(), closing(EventLog(self._events_db, read_only=True)) as events:
            self._follow(events.head())
            rows = events.after(after, min(limit, PIECE))
        return [(row.id, message(self._station, row)) for row in rows]

    def ack(self, inspection_id: int) -> None:
        """Note that the receiver has every message up to this id. Raises OutputError when that cannot be noted."""
        self._acked = max(self._acked, min(inspection_id, self._last))
        with self._errors():
            self._note()

    def close(self) -> None:
        self._mark.close()

    def _note(self) -> None:
        self._mark.write(self._history, f"{self._acked:020d}")

    def _follow(self, head: Head) -> None:
        """Take the name of the history when it was written anew while it was in use; ids go on in it."""
        if head.history != self._history:
            self._history = head.history
            self._note()

    def _begin(self, there: set[str], head: Head) -> tuple[int, int]:
        """Return the highest id that the note shows, and the last row that the receiver has for certain."""
        if MARK not in there:
            return self._taken_over(head) if any(map(_is_earlier, there)) else (0, head.last_id)
        words = self._mark.read()
        number = noted_id(words[1]) if len(words) == 2 else None
        if number is None:
            return 0, self._all(head, "its note is damaged")
        if words[0] != head.history:
            return number, self._all(head, "its note is of another history")
        return number, number

    def _all(self, head: Head, why: str) -> int:
        log.warning("%s: %s; all %d rows are sent again", self._folder, why, head.counts.total)
        return 0

    def _taken_over(self, head: Head) -> tuple[int, int]:
        """Go on where the file of an earlier version stood; its table had what was not sent, and the last message."""
        first = None
        try:
            with closing(Database(self._folder / EARLIER, "outbox", read_only=True)) as db, db.errors():
                first = db.execute("SELECT * FROM messages ORDER BY number LIMIT 1").fetchone()
        except HistoryError as error:
            log.warning("%s", error)
        if first is not None and zlib.crc32(first["body"]) == first["checksum"]:
            number = int(json.loads(first["body"])["sequence"])
            if number <= head.last_id:
                return 0, number if first["acked"] else number - 1
        return 0, self._all(head, "where an earlier version stood cannot be told")

    def _tidy(self, there: set[str]) -> None:
        """Remove what an earlier version left, whose messages are rows of the history; name everything else."""
        for name in sorted(there - {MARK}):
            path = self._folder / name
            if path.is_file() and _is_earlier(name):
                path.unlink()
            else:
                log.warning("%s: the engine does not need it; it is left where it is", path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except HistoryError as error:
            raise OutputError(f"{self._folder}: {error}") from error
        except OSError as error:
            problem = error.strerror or error
            raise OutputError(
                f"{self._folder}: the outbox cannot be used ({problem}); check space, owner and rights"
            ) from error


def _is_earlier(name: str) -> bool:
    """Return True for a file of an earlier version."""
    return (
        re.fullmatch(rf"{re.escape(EARLIER)}(-wal|-shm|\.damaged(-wal|-shm)?)?|[0-9]{{12}}\.log|acked", name)
        is not None
    )
