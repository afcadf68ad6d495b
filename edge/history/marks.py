"""Notes of ids: one line in a file, with a checksum, so that a damaged note is known and stepped over."""

from __future__ import annotations

import logging
import os
import re
import zlib
from pathlib import Path

from edge.core.files import set_aside, sync_folder

LONGEST = 200  # bytes
MAX_ID = 10**12  # no station gets there; a note or a file's name with more is nonsense

log = logging.getLogger(__name__)


class Mark:
    """A note of words without spaces. Writing it waits for no disk: the kernel keeps it when the process is killed."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; what lies there and is no file is set aside. Raises OSError."""
        self._path = path
        self._length = 0  # of what was written last
        set_aside(path)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def read(self) -> list[str]:
        """Return the words that were noted; none when nothing was, or when the note is damaged, which the log tells."""
        line = os.pread(self._file, LONGEST + 1, 0)
        text, _, checksum = line.removesuffix(b"\n").rpartition(b" ")
        if line and (not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text)):
            log.warning("%s: damaged, or not the engine's; it is not used", self._path)
            return []
        return text.decode("ascii", "replace").split()

    def write(self, *words: str) -> None:
        """Replace the note; raises OSError."""
        text = " ".join(words).encode("ascii")
        line = b"%s %08x\n" % (text, zlib.crc32(text))
        os.pwrite(self._file, line, 0)
        if len(line) != self._length:
            os.ftruncate(self._file, len(line))
            self._length = len(line)

    def sync(self) -> None:
        """Bring the note to the disk, so that a power cut leaves this one or a later one; raises OSError."""
        os.fsync(self._file)
        sync_folder(self._path.parent, inside=False)

    def close(self) -> None:
        os.close(self._file)


def noted_id(word: str) -> int | None:
    """Return the id that a word of a note is; None when it is none."""
    return int(word) if re.fullmatch(r"[0-9]{1,20}", word) and int(word) <= MAX_ID else None
