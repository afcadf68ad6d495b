import logging
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras import Camera, CameraError, Shot
from edge.cameras.capture import BACKOFF_S, LINES, QUIET_S, Capture, FrameSlot, Freeze
from edge.cameras.folder import FolderCamera
from edge.config.cameras import FolderCameraConfig
from edge.core.types import Image
from edge.core.worker import WorkerError
from tests.edge.engine.parts import frame, wait_for
from tests.tiny import bad_image, good_image

HANG_S = 20.0


@given(captured=st.lists(st.floats(0, 100), min_size=1, max_size=8), t0=st.floats(0, 100))
def test_slot_gives_the_newest_frame_and_never_one_from_before_the_trigger(captured: list[float], t0: float) -> None:
    slot = FrameSlot()
    for seq, at in enumerate(sorted(captured), start=1):
        slot.put(frame(at, seq))
    found = slot.newer_than(t0, 0.0)
    if max(captured) > t0:
        assert found is not None
        assert found.seq == len(captured)
        assert found.captured_at > t0
    else:
        assert found is None


def test_slot_refuses_the_frame_of_the_very_moment_of_the_trigger() -> None:
    slot = FrameSlot()
    slot.put(frame(5.0))
    assert slot.newer_than(5.0, 0.0) is None


@settings(max_examples=20)
@given(timeout_s=st.floats(-10, 0))
def test_slot_does_not_wait_when_the_time_is_up(timeout_s: float) -> None:
    assert FrameSlot().newer_than(0.0, timeout_s) is None


def test_slot_wakes_a_waiting_trigger_with_the_frame_that_arrives() -> None:
    slot = FrameSlot()
    slot.put(frame(1.0, seq=1))
    arriving = threading.Timer(0.05, lambda: slot.put(frame(3.0, seq=2)))
    arriving.start()
    found = slot.newer_than(2.0, HANG_S)
    arriving.join()
    assert found is not None
    assert found.seq == 2


class UnpluggedTwice:
    """Gives two frames a handle; the third read fails, as when the plug is pulled."""

    def __init__(self) -> None:
        self.handles = 0
        self.closed = 0
        self._left = 0

    def open(self) -> None:
        self.handles += 1
        self._left = 2

    def read(self) -> Shot:
        time.sleep(0.005)
        if self._left == 0:
            raise CameraError("camera stub: is gone; check the cable")
        self._left -= 1
        return Shot(good_image(), None)

    def close(self) -> None:
        self.closed += 1

    def describe(self) -> str:
        return "stub"


def test_a_lost_camera_is_opened_again_with_a_new_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.capture.BACKOFF_S", (0.01, 0.02))
    camera = UnpluggedTwice()
    capture = Capture(camera, FrameSlot())
    capture.start()
    wait_for(lambda: camera.handles >= 4)
    capture.stop()
    newest = capture.slot.newest()
    assert camera.closed >= camera.handles - 1
    assert newest is not None
    assert newest.seq > 4, "frames go on counting over reconnects"


def test_camera_loss_and_return_show_in_the_status_and_as_one_log_line_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder, away = tmp_path / "cam", tmp_path / "away"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), good_image())
    capture = Capture(FolderCamera(FolderCameraConfig(type="folder", path=folder, fps=100)), FrameSlot())
    assert not capture.status().up
    capture.start()
    wait_for(lambda: capture.status().up)
    folder.rename(away)
    wait_for(lambda: not capture.status().up)
    assert str(folder) in capture.status().detail
    time.sleep(0.4)  # several attempts to open
    away.rename(folder)
    wait_for(lambda: capture.status().up)
    capture.stop()
    ups = [r for r in caplog.records if "camera up" in r.message]
    gone = [r for r in caplog.records if "is gone" in r.message]
    assert len(ups) == 2
    assert len(gone) == 1
    assert len({r.message for r in caplog.records}) == len(caplog.records) - 1, "no line is repeated but 'camera up'"


class Flickering(Camera):
    """Every other frame is torn."""

    def __init__(self) -> None:
        self.frames = 0

    def describe(self) -> str:
        return "flickering"

    def open(self) -> None:
        """It is always open."""

    def read(self) -> Shot:
        time.sleep(0.001)
        self.frames += 1
        return Shot(noise(self.frames), time.monotonic(), "torn" if self.frames % 2 else "")

    def close(self) -> None:
        """Nothing is held."""


def test_a_camera_that_fails_at_every_other_frame_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    camera = Flickering()
    capture = Capture(camera, FrameSlot())
    capture.start()
    wait_for(lambda: camera.frames > 60)
    assert len(caplog.records) == LINES
    monkeypatch.setattr("edge.cameras.capture.LINES_S", 0.0)
    wait_for(lambda: any("times since the last line" in one.message for one in caplog.records))
    capture.stop()


def test_a_camera_that_gave_frames_fast_is_missed_sooner_than_a_slow_one() -> None:
    for period_s, up in ((0.04, False), (0.7, True)):
        capture = Capture(Flickering(), FrameSlot())
        capture._error = None
        now = time.monotonic()
        capture._times.extend(now - (QUIET_S + 0.3) - period_s * number for number in reversed(range(10)))
        capture.slot.put(frame(now - (QUIET_S + 0.3)))
        assert capture.status().up is up


def test_a_camera_that_gives_nothing_is_in_fault_even_without_an_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), good_image())
    capture = Capture(FolderCamera(FolderCameraConfig(type="folder", path=tmp_path)), FrameSlot())
    capture._error = None
    capture.slot.put(frame(time.monotonic() - 60))
    status = capture.status()
    assert not status.up
    assert "no frame for 60 s" in status.detail


class Broken(UnpluggedTwice):
    def read(self) -> Shot:
        raise ZeroDivisionError("a defect of the driver")


def test_any_other_exception_in_the_thread_reaches_the_main_loop() -> None:
    capture = Capture(Broken(), FrameSlot())
    capture.worker.check()
    capture.start()
    capture.worker.join(HANG_S)
    with pytest.raises(WorkerError, match=r"thread capture died .*a defect of the driver"):
        capture.worker.check()


def test_backoff_is_the_documented_one() -> None:
    assert BACKOFF_S == (0.1, 5.0)


def test_frames_are_passed_on_without_a_copy(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), bad_image())
    camera = FolderCamera(FolderCameraConfig(type="folder", path=tmp_path, fps=200))
    camera.open()
    slot = FrameSlot()
    image = camera.read().image
    slot.put(frame(1.0, image=image))
    found = slot.newer_than(0.0, 0.0)
    assert found is not None
    assert found.image is image


class Scripted:
    """A camera that gives these frames, then goes on repeating the last one for ever."""

    def __init__(self, images: list[Image]) -> None:
        self.images = images
        self.handles = 0

    def open(self) -> None:
        self.handles += 1

    def read(self) -> Shot:
        time.sleep(0.002)
        return Shot(self.images.pop(0) if len(self.images) > 1 else self.images[0].copy(), None)

    def close(self) -> None:
        """Nothing to let go of."""

    def describe(self) -> str:
        return "scripted"


def noise(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (96, 128, 3)).astype(np.uint8)


@given(repeats=st.integers(1, 12), limit=st.integers(1, 8))
def test_only_so_many_identical_frames_in_a_row_are_a_fault(repeats: int, limit: int) -> None:
    freeze = Freeze(limit)
    faults = [freeze.fault(noise(0).copy(), float(n)) for n in range(repeats)]
    assert [bool(fault) for fault in faults] == [n + 1 >= max(2, limit) for n in range(repeats)]
    assert freeze.fault(noise(1), 99.0) == "", "one different frame and all is well"


def test_a_difference_in_one_pixel_is_a_living_camera() -> None:
    freeze = Freeze(2)
    for number in range(10):
        image = noise(0)
        image[95, 127, 2] = number
        assert freeze.fault(image, float(number)) == ""


def test_zero_allows_repeats() -> None:
    freeze = Freeze(0)
    assert {freeze.fault(noise(0), float(n)) for n in range(50)} == {""}


def test_a_frozen_camera_is_in_fault_marks_its_frames_and_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.capture.STALL_S", 0.1)
    camera, slot = Scripted([noise(n) for n in range(5)]), FrameSlot()
    capture = Capture(camera, slot, frozen_frames=3)
    capture.start()
    wait_for(lambda: (found := slot.newest()) is not None and found.fault)
    assert "frozen" in capture.status().detail
    wait_for(lambda: camera.handles >= 3)
    assert "frozen" in capture.status().detail, "a new handle alone is no new picture"
    camera.images = [noise(n) for n in range(100, 5000)]
    wait_for(lambda: capture.status().up)
    found = slot.newest()
    capture.stop()
    assert found is not None
    assert found.fault == ""
