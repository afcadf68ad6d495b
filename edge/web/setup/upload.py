"""An uploaded bundle: it comes in pieces, so that no large body is kept in memory, and is not trusted."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flask import current_app

from edge.config.station import StationConfig
from edge.core.types import EdgeError
from edge.exchange.bundle_desk import UPLOAD
from edge.web.access.bodies import PIECE_BYTES

MAX_BYTES = 2 * 1024**3  # of an archive, as edge.inference.release.archive takes it
QUIET_S = 60.0  # after which another upload may take the place of one that does not go on
COPIES = 3  # the file, its extracted files, and those beside the old ones for a moment
PART = "bundle-upload.part"  # in page_dir


class UploadError(EdgeError):
    """A piece that was not taken; status is the HTTP status that says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class _Coming:
    key: str
    size: int
    who: str
    at: int
    heard_at: float  # monotonic s


class Upload:
    """The one upload of a station that may be under way."""

    def __init__(self, config: StationConfig) -> None:
        self._folder = config.page_dir
        self._keep_free = config.storage.keep_free_mb * 10**6
        self._lock = threading.Lock()
        self._coming: _Coming | None = None

    def take(self, key: str, at: int, size: int, piece: bytes, who: str) -> int:
        """Append a piece that begins at byte `at`; returns how many bytes are there now. The last one ends it.

        key: names the upload, the same for each of its pieces. Raises UploadError.
        """
        with self._lock:
            if at == 0 and (self._coming is None or self._coming.key != key):
                self._begin(key, size, who)
            coming = self._coming
            if coming is None or (coming.key, coming.size) != (key, size):
                raise UploadError(409, "this upload is not known here any more; choose the file again")
            if piece and at + len(piece) == coming.at:
                return coming.at  # the answer was lost on the way, and the piece came again
            if at != coming.at or not piece or at + len(piece) > size:
                raise UploadError(409, f"at: the next piece begins at byte {coming.at}; choose the file again")
            try:
                self._append(at, piece)
            except OSError as error:
                self._coming = None
                (self._folder / PART).unlink(missing_ok=True)
                raise UploadError(507, f"the file cannot be kept ({error.strerror}); make room") from None
            coming.at, coming.heard_at = at + len(piece), time.monotonic()
            if coming.at == size:
                os.replace(self._folder / PART, self._folder / UPLOAD)
            return coming.at

    def waiting(self) -> int | None:
        """Return the size in bytes of a whole file that nobody checked yet, None where there is none."""
        try:
            return (self._folder / UPLOAD).stat().st_size
        except OSError:
            return None

    def _begin(self, key: str, size: int, who: str) -> None:
        coming = self._coming
        sending = coming is not None and coming.key != key and coming.at < coming.size
        if coming is not None and sending and time.monotonic() - coming.heard_at < QUIET_S:
            raise UploadError(409, f"{coming.who} sends a bundle just now; wait until it is there")
        if size > MAX_BYTES:
            raise UploadError(413, f"size: {size} bytes are more than a bundle has ({MAX_BYTES}); choose an .lwb file")
        free = shutil.disk_usage(self._existing(self._folder)).free
        needed = COPIES * size + self._keep_free
        if free < needed:
            text = f"this needs {needed / 1e6:.0f} MB on the station's disk, {free / 1e6:.0f} MB are free; make room"
            raise UploadError(507, text)
        self._coming = _Coming(key, size, who, 0, time.monotonic())

    def _append(self, at: int, piece: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / PART).open("ab" if at else "wb") as stream:
            stream.truncate(at)  # a piece that a full disk cut
            stream.write(piece)
            stream.flush()
            if at % (16 * PIECE_BYTES) == 0:
                os.fsync(stream.fileno())  # little by little, so that the history never waits for all of it

    @staticmethod
    def _existing(folder: Path) -> Path:
        return next(one for one in (folder, *folder.parents) if one.is_dir())


def current_upload() -> Upload:
    """Return the upload of the application that handles this request."""
    return cast("Upload", current_app.extensions["linewatch_upload"])
