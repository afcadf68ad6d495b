"""Messages on the disk until their receiver has them: append-only, in order, whole after kill -9 or a power cut.

A message is one line: its number, a checksum, the message. What is not whole at the end of the newest file was
never promised to anyone and is cut off. A file goes when all its messages are acknowledged. The mark of what is
acknowledged is not synced: after a power cut some messages are sent again, under the same id.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

from edge.core.files import write_atomically
from edge.line.outputs import OutputError

ACKED = "acked"
FILE_BYTES = 1_000_000  # a file that is longer is followed by the next


class Outbox:
    """One folder, one receiver. Safe to use from two threads: one puts, one reads and acknowledges."""

    def __init__(self, folder: Path) -> None:
        """Open or create; raises OutputError when the folder cannot be used."""
        self._folder = folder
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._files = sorted(int(path.stem) for path in folder.glob("*.log"))  # number of the first message
            self._acked = self._read_mark()
            self._last = self._repair_newest()
        except OSError as error:
            raise self._unusable(error) from error
        self._acked = min(self._acked, self._last)
        self._place = (0, 0)  # (message number, byte) in the oldest file where that message begins

    @property
    def acked(self) -> int:
        return self._acked

    @property
    def last(self) -> int:
        """Number of the last message that was put; 0 when there never was one."""
        return self._last

    def waiting(self) -> int:
        """Messages that are not acknowledged."""
        return self._last - self._acked

    def put(self, messages: Sequence[bytes]) -> int:
        """Store messages, none of which holds a newline; they are on the disk when this returns.

        Returns the number of the last one. Raises OutputError, and then none of them is stored.
        """
        with self._lock:
            try:
                return self._append(messages)
            except OSError as error:
                raise self._unusable(error) from error

    def pending(self, limit: int, after: int = 0) -> list[tuple[int, bytes]]:
        """The oldest `limit` messages with a number above `after` and not acknowledged, as (number, message)."""
        with self._lock:
            try:
                return self._read(max(after, self._acked), limit)
            except OSError as error:
                raise self._unusable(error) from error

    def newest(self) -> bytes | None:
        """The last message that was put, acknowledged or not; None when there never was one."""
        with self._lock:
            try:
                with self._path(self._files[-1]).open("rb") as stream:
                    entries = [entry for line in stream if (entry := _parse(line)) is not None]
            except IndexError:
                return None
            except OSError as error:
                raise self._unusable(error) from error
            return entries[-1][1] if entries else None

    def ack(self, number: int) -> None:
        """The receiver has every message up to this number."""
        with self._lock:
            self._acked = max(self._acked, min(number, self._last))
            try:
                write_atomically(self._folder / ACKED, b"%d\n" % self._acked, durable=False)
                while len(self._files) > 1 and self._files[1] <= self._acked + 1:
                    self._path(self._files.pop(0)).unlink(missing_ok=True)
            except OSError as error:
                raise self._unusable(error) from error

    def _append(self, messages: Sequence[bytes]) -> int:
        if not self._files or _size(self._path(self._files[-1])) > FILE_BYTES:
            self._files.append(self._last + 1)
        lines = [_line(number, message) for number, message in enumerate(messages, start=self._last + 1)]
        path = self._path(self._files[-1])
        before = _size(path)
        try:
            with path.open("ab") as stream:
                stream.write(b"".join(lines))
                stream.flush()
                os.fsync(stream.fileno())
            if before == 0:
                _sync_folder(self._folder)
        except OSError:
            if path.exists():
                os.truncate(path, before)
            raise
        self._last += len(messages)
        return self._last

    def _read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        for position, first in enumerate(self._files):
            following = self._files[position + 1] if position + 1 < len(self._files) else self._last + 1
            if following <= after + 1:
                continue
            with self._path(first).open("rb") as stream:
                stream.seek(self._place[1] if first <= self._place[0] <= after + 1 < following else 0)
                while len(found) < limit:
                    begin = stream.tell()
                    line = stream.readline()
                    if not line:
                        break
                    entry = _parse(line)
                    if entry is None:  # a disk that forgot: the others still go out
                        continue
                    if entry[0] == after + 1:
                        self._place = (entry[0], begin)
                    if entry[0] > after:
                        found.append(entry)
            if len(found) == limit:
                break
        return found

    def _repair_newest(self) -> int:
        """Cut off what a power cut left of the last write; returns the number of the last whole message."""
        if not self._files:
            return self._acked
        path, last, whole = self._path(self._files[-1]), self._files[-1] - 1, 0
        with path.open("rb") as stream:
            while line := stream.readline():
                entry = _parse(line)
                if entry is not None:
                    last, whole = entry[0], stream.tell()
        if whole < _size(path):
            os.truncate(path, whole)
        return last

    def _read_mark(self) -> int:
        try:
            return int((self._folder / ACKED).read_bytes())
        except (FileNotFoundError, ValueError):  # a power cut: whatever is still here is sent again
            return self._files[0] - 1 if self._files else 0

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:012d}.log"

    def _unusable(self, error: OSError) -> OutputError:
        problem = error.strerror or str(error)
        return OutputError(f"{self._folder}: the outbox cannot be used ({problem}); check space, owner and rights")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _line(number: int, message: bytes) -> bytes:
    if b"\n" in message:
        raise OutputError("a message holds a newline; encode it as one line")
    body = b"%d %s" % (number, message)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> tuple[int, bytes] | None:
    """None for the end of the file, and for a line that is not whole."""
    checksum, _, body = line[:-1].partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    number, _, message = body.partition(b" ")
    return int(number), message


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
