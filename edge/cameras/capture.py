"""The capture thread keeps the newest frame at hand; reads may block, inspection never does."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from edge.cameras import Camera, CameraError, Shot
from edge.cameras.picture import Sizes
from edge.cameras.stillness import FROZEN, Restlessness
from edge.core.types import Frame, Image
from edge.core.worker import Worker

THREAD = "capture"
BACKOFF_S = (0.1, 5.0)  # first and longest wait before the camera is opened again
STALL_S = 2.0  # a camera that gives nothing for so long is in fault, even when its driver reports no error
QUIET_S = 1.2  # the same of a camera that gave frames much faster, so that the page tells it within two seconds
MISSED = 2.5  # frames that a camera misses before it counts as quiet
LINES, LINES_S = 6, 60.0  # of the log about its state, in so many s: one that fails at every other frame fills no disk

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

        A frame that repeats the one before is no new one, and has the proven time of that one. captured_at is taken
        when the read returned; the frame may have been exposed long before.
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
        return frame.captured_at > t0 and not frame.repeats
    return frame.exposed_after is not None and frame.exposed_after > t0


class Freeze:
    """Notices a camera that goes on delivering one and the same frame: read() can succeed for ever after an unplug.

    A frame that differs by a clock or a cursor only is the same one, where the sensor's noise lets that be told.
    """

    def __init__(self, frozen_frames: int) -> None:
        self._limit = frozen_frames
        self._last: Image | None = None
        self._same = 1  # frames in a row that show the same
        self._restlessness = Restlessness()
        self._since = 0.0

    def fault(self, image: Image, now: float) -> str:
        """Return why this frame must not be judged; empty when it may be. now: monotonic s."""
        if self._limit == 0:
            return ""
        repeats = self._last is not None and self._restlessness.repeats(image, self._last)
        self._same = self._same + 1 if repeats else 1
        self._last = image
        if self._same == 1:
            self._since = now
        if self._same < max(2, self._limit):
            return ""
        return FROZEN

    @property
    def repeats(self) -> bool:
        """Whether the last frame shows what the one before it showed."""
        return self._same > 1

    @property
    def still(self) -> float | None:
        """The share of the picture up to which a change makes no new picture; None when repeats are fine."""
        return None if self._limit == 0 else self._restlessness.limit

    def needs_reopening(self, now: float) -> bool:
        """True after each STALL_S of standing still: only a new handle can help."""
        if now - self._since <= STALL_S:
            return False
        self._since = now
        return True


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
        self._exposed_after: float | None = None  # of the last frame that showed something new
        self._sizes = Sizes()
        self._times: deque[float] = deque(maxlen=400)
        self._error: str | None = "no frame yet"
        self._said: deque[float] = deque(maxlen=LINES)  # monotonic s, of the last lines about the state
        self._unsaid = 0  # changes since then
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
        if not detail and age_s is not None and age_s > self._stalls_after_s():
            detail = f"camera {self.camera.describe()}: no frame for {age_s:.0f} s"
        return CameraStatus(not detail, detail, self._changed_at, recent / 2.0, age_s)

    def _stalls_after_s(self) -> float:
        times = list(self._times)
        if len(times) < 2:
            return STALL_S
        usual_s = (times[-1] - times[0]) / (len(times) - 1)
        return min(STALL_S, max(QUIET_S, MISSED * usual_s))

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
                self._say()
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
            frozen = "" if shot.fault else self._freeze.fault(shot.image, time.monotonic())
            fault = frozen or shot.fault
            frame = self._framed(shot, fault)
            self.slot.put(frame)
            self._times.append(frame.captured_at)
            self._say()
            if fault:
                self._down(f"camera {self.camera.describe()}: {fault}")
                if frozen and self._freeze.needs_reopening(frame.captured_at):
                    raise CameraError(f"camera {self.camera.describe()}: {fault}")
            elif self._error is not None:
                self._up()

    def _framed(self, shot: Shot, fault: str) -> Frame:
        """Return the frame; one that shows what an earlier frame showed is as old as that one."""
        repeats = not shot.fault and self._freeze.repeats
        if not shot.fault and not repeats:
            self._exposed_after = shot.exposed_after
        exposed_after = self._exposed_after if repeats else shot.exposed_after
        now, still = time.monotonic(), self._freeze.still
        return Frame(shot.image, self._seq, now, datetime.now(UTC), fault, exposed_after, repeats, still)

    def _up(self) -> None:
        self._error = None
        self._changed()

    def _down(self, error: str) -> None:
        if error != self._error:
            self._error = error
            self._changed()

    def _changed(self) -> None:
        self._changed_at = datetime.now(UTC)
        self._unsaid += 1
        self._say()

    def _say(self) -> None:
        """Log a change of the state, or later how many there were."""
        now = time.monotonic()
        if self._unsaid == 0 or (len(self._said) == LINES and now - self._said[0] < LINES_S):
            return
        more = f"; it changed {self._unsaid} times since the last line" if self._unsaid > 1 else ""
        if self._error is None:
            log.info("camera up: %s%s", self.camera.describe(), more)
        else:
            log.warning("camera down: %s%s", self._error, more)
        self._said.append(now)
        self._unsaid = 0
