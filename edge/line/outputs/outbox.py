"""The messages on the disk, in order, until their receiver has them; whole after kill -9 or a power cut.

An earlier version kept them in text files in the same folder. Opening the outbox takes over what waits in them.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

from edge.history.database import Database, HistoryError
from edge.line.outputs import OutputError

FILE = "outbox.db"
_TABLE = """CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL, acked INTEGER NOT NULL
) STRICT"""

log = logging.getLogger(__name__)


class Outbox:
    """The outbox of one receiver, in one folder. Safe to use from two threads: one puts, one reads and acknowledges.

    The table holds what is not acknowledged, and always the last message. A message that the disk altered is passed
    over. A damaged file is set aside and named in the log; its messages are lost, and the outbox goes on without them.
    """

    def __init__(self, folder: Path) -> None:
        """Open or create; raises OutputError when the folder cannot be used."""
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._last = self._acked = 0
        self._db: Database | None = None
        with self._errors():
            self._opened()
            self._take_over(folder)

    @property
    def acked(self) -> int:
        """The number of the last message that the receiver has, with all before it."""
        return self._acked

    @property
    def last(self) -> int:
        """The number of the last message that was put; 0 when there never was one."""
        return self._last

    def waiting(self) -> int:
        """Return how many messages are not acknowledged."""
        return self._last - self._acked

    def put(self, messages: Sequence[bytes]) -> int:
        """Store messages, and return the number of the last one; they are on the disk when this returns.

        Raises OutputError, and then none of them is stored.
        """
        with self._lock, self._errors():
            self._insert([(number, body, 0) for number, body in enumerate(messages, start=self._last + 1)])
            return self._last

    def pending(self, limit: int, after: int = 0) -> list[tuple[int, bytes]]:
        """Return the oldest `limit` messages with a number above `after` and not acknowledged, as (number, message)."""
        query = "SELECT * FROM messages WHERE number > ? ORDER BY number"
        with self._lock, self._errors():
            return list(islice(self._whole(query, max(after, self._acked)), limit))

    def newest(self) -> bytes | None:
        """Return the last message that was put, acknowledged or not; None when there never was one."""
        with self._lock, self._errors():
            return next((body for _, body in self._whole("SELECT * FROM messages ORDER BY number DESC")), None)

    def ack(self, number: int) -> None:
        """Note that the receiver has every message up to this number.

        Raises OutputError when the disk does not take the note; the messages are not pending any more even then.
        """
        with self._lock, self._errors():
            self._acked = max(self._acked, min(number, self._last))
            db = self._opened()
            with db.transaction():
                db.execute("DELETE FROM messages WHERE number <= ? AND number < ?", (self._acked, self._last))
                db.execute("UPDATE messages SET acked = 1 WHERE number <= ?", (self._acked,))

    def close(self) -> None:
        """Let go of the file; whoever uses the outbox afterwards gets an OutputError."""
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _opened(self) -> Database:
        """Return the open file; open it, and read where it stands, when it is not. A damaged one is set aside."""
        if self._db is None:
            try:
                self._db = self._open()
            except HistoryError as error:
                if not error.damaged:
                    raise
                self._set_aside(error)
                self._db = self._open()
        return self._db

    def _open(self) -> Database:
        db = Database(self._path, "outbox", shrinks=True)
        with ExitStack() as failed, db.errors():
            failed.callback(db.close)
            db.execute(_TABLE)
            newest = db.execute("SELECT number, acked FROM messages ORDER BY number DESC LIMIT 1").fetchone()
            if newest is not None:
                self._last = newest["number"]
                first = db.execute("SELECT min(number) FROM messages").fetchone()[0]
                self._acked = self._last if newest["acked"] else first - 1
            failed.pop_all()
        return db

    def _set_aside(self, error: HistoryError) -> None:
        """Rename the damaged file; what waited in it counts as gone, so that numbers go on."""
        if self._db is not None:
            self._db.close()
        self._db = None
        self._acked = self._last
        damaged = self._path.with_name(f"{FILE}.damaged")
        for end in ("-wal", "-shm", ""):
            part = self._path.with_name(FILE + end)
            if part.exists():
                part.replace(f"{damaged}{end}")
        log.error("%s: damaged (%s); kept as %s, its messages are not sent", self._path, error.__cause__, damaged)

    def _whole(self, query: str, *values: int) -> Iterator[tuple[int, bytes]]:
        """Yield (number, message) of the chosen rows, without those that are not as they were put."""
        db = self._opened()
        with db.errors(), closing(db.execute(query, values)) as rows:
            for row in rows:
                if isinstance(row["body"], bytes) and zlib.crc32(row["body"]) == row["checksum"]:
                    yield row["number"], row["body"]

    def _insert(self, rows: Sequence[tuple[int, bytes, int]]) -> None:
        """Store (number, message, acked) durably, all or none. The last one must be the newest."""
        db = self._opened()
        with db.transaction():
            db.execute("DELETE FROM messages WHERE number <= ?", (self._acked,))
            for number, body, acked in rows:
                db.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (number, body, zlib.crc32(body), acked))
        self._last = rows[-1][0]

    def _take_over(self, folder: Path) -> None:
        """Move what waits in the text files of an earlier version into the table, with its numbers, and remove them."""
        files = sorted(folder.glob("*.log"))
        mark = folder / "acked"
        text = mark.read_bytes().strip() if mark.exists() else b""
        acked = int(text) if text.isdigit() else 0
        lines = [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
        whole = [entry for line in lines if (entry := _parse(line)) is not None and entry[0] > self._last]
        rows = [(number, body, 0) for number, body in whole if number > acked]
        if whole and not rows:
            rows = [(*whole[-1], 1)]
        if rows:
            self._insert(rows)
            self._acked = self._last if rows[-1][2] else rows[0][0] - 1
        for file in (*files, mark):
            file.unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (HistoryError, OSError) as error:
            if isinstance(error, HistoryError) and error.damaged:
                self._set_aside(error)
            problem = error.__cause__ if isinstance(error, HistoryError) else error.strerror or error
            raise OutputError(
                f"{self._path.parent}: the outbox cannot be used ({problem}); check space, owner and rights"
            ) from error


def _parse(line: bytes) -> tuple[int, bytes] | None:
    """Return number and message of a line of the earlier format; None when the line is not whole."""
    checksum, _, body = line[:-1].partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    number, _, message = body.partition(b" ")
    return int(number), message
