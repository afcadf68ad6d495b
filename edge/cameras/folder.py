"""A folder of images that behaves like a camera: parts pass by, frames come at a steady rate."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from edge.cameras import CameraError, Shot
from edge.config.cameras import FolderCameraConfig
from edge.core.types import Image
from edge.inference.preprocess import ImageError, image_files, load_image

KEPT_BYTES = 256 * 1024 * 1024  # decoded images held in memory; what does not fit is decoded when it comes into view
SETTLED_S = 0.1  # a file that changed later than this may be half-written, and its times may stay the same
State = tuple[int, int, int, int]  # inode, bytes, times of content and of status: one changes with each change


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of a file, since when it is so (monotonic s), and whether that was a change while it was watched."""

    state: State
    since: float
    changed: bool


class FolderCamera:
    """fps frames a second; each image stays in view seconds_per_image, then the next by name, for ever.

    The folder is read anew at each turn and the file in view at each frame: a file that is replaced, added or removed
    is seen. A file that is being written is marked and not judged.
    """

    def __init__(self, config: FolderCameraConfig) -> None:
        self._config = config
        self._seen: dict[Path, _Seen] = {}
        self._kept: dict[Path, tuple[State, Image]] = {}
        self._file = config.path  # in view
        self._view: tuple[State, Image] | None = None  # the last that could be decoded
        self._turn = 0
        self._started = 0.0
        self._frames = 0

    def open(self) -> None:
        """Decode every image once, so that a bad file is found now and not in the middle of a shift."""
        self.close()
        for file in reversed(self._list()):
            try:
                state = _state(file)
                self._seen[file] = _Seen(state, time.monotonic(), changed=False)
                self._file, self._view = file, self._load(file, state)
            except (ImageError, OSError) as error:
                raise CameraError(f"camera folder: {error}") from error
        self._started = time.monotonic()

    def _list(self) -> list[Path]:
        folder = self._config.path
        try:
            files = image_files(folder)
        except OSError as error:
            raise CameraError(f"camera folder {folder}: {error.strerror}; check camera.path") from error
        if not files:
            raise CameraError(f"camera folder {folder}: no image in it; put PNG or JPEG files there")
        return files

    def read(self) -> Shot:
        """Sleep until the next frame is due; a slow reader misses frames, as with a real camera."""
        if self._view is None:
            raise CameraError(f"camera folder {self._config.path}: not open")
        elapsed = time.monotonic() - self._started
        self._frames = max(self._frames + 1, int(elapsed * self._config.fps))
        due = self._frames / self._config.fps
        time.sleep(max(0.0, due - elapsed))
        fault = self._look(int(due / self._config.seconds_per_image))
        return Shot(self._view[1], self._started + due, fault)

    def _look(self, turn: int) -> str:
        """Show the file of this turn as it is now; return why it must not be judged, empty when it may be."""
        file, before = self._next(turn), self._file
        known = self._kept.get(file, self._view if file == before else None)
        self._file = file
        try:
            state = _state(file)
            seen = self._seen.get(file)
            if seen is None or seen.state != state:
                seen = self._seen[file] = _Seen(state, time.monotonic(), changed=True)
            settled = time.monotonic() - seen.since >= SETTLED_S
            if known is None or known[0] != state or not settled:
                known = self._load(file, state)
        except (ImageError, OSError) as error:
            self._seen.pop(file, None)
            return f"{file.name} cannot be judged ({error})"
        self._view = known
        return "" if settled or not seen.changed else f"{file.name} was changed just now and may be half-written"

    def _next(self, turn: int) -> Path:
        """Return the file of this turn: that of the turn before, or as many further by name as turns have passed."""
        steps, self._turn = turn - self._turn, turn
        if not self._file.exists():
            steps = max(1, steps)
        if steps == 0:
            return self._file
        try:
            files = self._list()
        except CameraError as error:
            raise CameraError(f"camera folder: {self._file.name} is gone; put the folder back ({error})") from error
        for file in self._seen.keys() - set(files):
            del self._seen[file]
            self._kept.pop(file, None)
        return files[(bisect_right(files, self._file) - 1 + steps) % len(files)]

    def _load(self, file: Path, state: State) -> tuple[State, Image]:
        """Decode a file of this state, and keep it if it fits; raises ImageError, and OSError when it is gone."""
        image = load_image(file, self._config.bits)
        image.flags.writeable = False  # the same array is handed out many times
        if _state(file) != state:
            raise ImageError(f"{file}: was changed while it was read")
        self._kept.pop(file, None)
        if sum(kept.nbytes for _, kept in self._kept.values()) + image.nbytes <= KEPT_BYTES:
            self._kept[file] = state, image
        return state, image

    def close(self) -> None:
        self._seen, self._kept = {}, {}
        self._view = None
        self._turn = self._frames = 0

    def describe(self) -> str:
        return f"folder {self._config.path}"


def _state(file: Path) -> State:
    """Return what tells two states of a file apart; raises OSError."""
    status = os.stat(file)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
