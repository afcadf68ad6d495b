"""The capture thread keeps the newest frame at hand; reads may block, inspection never does."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from edge.cameras import Camera, CameraError
from edge.cameras.picture import Sizes
from edge.core.types import Frame, Image
from edge.core.worker import Worker

THREAD = "capture"
BACKOFF_S = (0.1, 5.0)  # first and longest wait before the camera is opened again
STALL_S = 2.0  # a camera that gives nothing for so long is in fault, even when its driver reports no error

log = logging.getLogger(__name__)


class FrameSlot:
    """Holds one frame: the newest wins, nothing queues up, nothing is copied."""

    def __init__(self) -> None:
        self._fresh = threading.Condition()
        self._frame: Frame | None = None

    def put(self, frame: Frame) -> None:
        with self._fresh:
            self._frame = frame
            self._fresh.notify_all()

    def newest(self) -> Frame | None:
        """The last frame, however old."""
        return self._frame

    def newer_than(self, t0: float, timeout_s: float, proven: bool = False) -> Frame | None:
        """Return the newest frame with captured_at > t0 (monotonic s); None when none came within timeout_s.

        captured_at is taken when the read returned, and the frame may have been exposed long before.
        proven: only a frame whose exposure is proven to have begun after t0 counts.
        """
        give_up = time.monotonic() + timeout_s
        with self._fresh:
            while self._frame is None or not _is_newer(self._frame, t0, proven):
                remaining = give_up - time.monotonic()
                if remaining <= 0:
                    return None
                self._fresh.wait(remaining)
            return self._frame


def _is_newer(frame: Frame, t0: float, proven: bool) -> bool:
    if not proven:
        return frame.captured_at > t0
    return frame.exposed_after is not None and frame.exposed_after > t0


class Freeze:
    """Notices a camera that goes on delivering one and the same frame: read() can succeed for ever after an unplug."""

    def __init__(self, frozen_frames: int) -> None:
        self._limit = frozen_frames
        self._last: Image | None = None
        self._same = 1  # identical frames in a row
        self._since = 0.0

    def fault(self, image: Image, now: float) -> str:
        """Return why this frame must not be judged; empty when it may be. now: monotonic s."""
        if self._limit == 0:
            return ""
        self._same = self._same + 1 if self._last is not None and _identical(image, self._last) else 1
        self._last = image
        if self._same == 1:
            self._since = now
        if self._same < max(2, self._limit):
            return ""
        return "frozen: it repeats one and the same frame; check the camera and its cable"

    def needs_reopening(self, now: float) -> bool:
        """True after each STALL_S of standing still: only a new handle can help."""
        if now - self._since <= STALL_S:
            return False
        self._since = now
        return True


def _identical(one: Image, other: Image) -> bool:
    """Byte for byte; a few rows decide for almost every frame of a real sensor."""
    return one.shape == other.shape and np.array_equal(one[::64], other[::64]) and np.array_equal(one, other)


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """The camera's state, as health.json shows it."""

    up: bool
    detail: str  # why it is not up, one line; empty when it is
    since: datetime  # UTC, of the last change
    fps: float  # measured over the last 2 s
    frame_age_s: float | None


class Capture:
    """Reads a camera into a slot for ever; a lost camera is opened again, with a new handle and a back-off."""

    def __init__(self, camera: Camera, slot: FrameSlot, frozen_frames: int = 0) -> None:
        """frozen_frames: so many byte-identical frames in a row mean that the camera hangs; 0 allows repeats."""
        self.camera = camera
        self.slot = slot
        self.worker = Worker(THREAD, self._run)
        self._stop = threading.Event()
        self._seq = 0
        self._freeze = Freeze(frozen_frames)
        self._sizes = Sizes()
        self._times: deque[float] = deque(maxlen=400)
        self._error: str | None = "no frame yet"
        self._changed_at = datetime.now(UTC)

    def start(self) -> None:
        self.worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Ask the thread to end; one that hangs in a driver is left behind."""
        self._stop.set()
        self.worker.join(timeout_s)

    def status(self) -> CameraStatus:
        now = time.monotonic()
        frame = self.slot.newest()
        age_s = None if frame is None else now - frame.captured_at
        recent = sum(1 for at in list(self._times) if now - at <= 2.0)
        detail = self._error or ""
        if not detail and age_s is not None and age_s > STALL_S:
            detail = f"camera {self.camera.describe()}: no frame for {age_s:.0f} s"
        return CameraStatus(not detail, detail, self._changed_at, recent / 2.0, age_s)

    def _run(self) -> None:
        shortest, longest = BACKOFF_S
        delay = shortest
        while not self._stop.is_set():
            before = self._seq
            try:
                self.camera.open()
                self._read_frames()
            except CameraError as error:
                self._down(str(error))
            finally:
                self.camera.close()
            if self._seq > before:
                delay = shortest
            self._stop.wait(delay)
            delay = min(2 * delay, longest)

    def _read_frames(self) -> None:
        while not self._stop.is_set():
            shot = self._sizes.checked(self.camera.read())
            self._seq += 1
            frozen = self._freeze.fault(shot.image, time.monotonic())
            fault = frozen or shot.fault
            frame = Frame(shot.image, self._seq, time.monotonic(), datetime.now(UTC), fault, shot.exposed_after)
            self.slot.put(frame)
            self._times.append(frame.captured_at)
            if fault:
                self._down(f"camera {self.camera.describe()}: {fault}")
                if frozen and self._freeze.needs_reopening(frame.captured_at):
                    raise CameraError(f"camera {self.camera.describe()}: {fault}")
            elif self._error is not None:
                self._up()

    def _up(self) -> None:
        self._error = None
        self._changed_at = datetime.now(UTC)
        log.info("camera up: %s", self.camera.describe())

    def _down(self, error: str) -> None:
        if error != self._error:
            self._changed_at = datetime.now(UTC)
            log.warning("camera down: %s", error)
        self._error = error
