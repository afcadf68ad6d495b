"""Aravis's own fake cameras: one in this process, and one that speaks GigE Vision over the loopback."""

import shutil
import subprocess
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from edge.cameras import CameraError, aravis, make_camera, repeats_mean_frozen
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.genicam import DEEP, FORMATS, GenicamCamera, _upper
from edge.config.cameras import GenicamCameraConfig
from edge.core.types import Bits
from tests.edge.engine.parts import wait_for

GV_CAMERA = shutil.which("arv-fake-gv-camera-0.8")
HANG_S = 60.0


def available() -> bool:
    try:
        aravis.library()
    except CameraError:
        return False
    return True


needs_aravis = pytest.mark.skipif(not available(), reason=aravis.MISSING)
needs_gv_camera = pytest.mark.skipif(
    GV_CAMERA is None, reason="no fake GigE camera; Debian: apt-get install aravis-tools"
)


def made(device: str = "Fake_1", **keys: object) -> GenicamCamera:
    return GenicamCamera(GenicamCameraConfig.model_validate({"type": "genicam", "device": device, **keys}))


@needs_aravis
def test_frames_are_of_the_size_and_kind_that_was_asked_for() -> None:
    camera = made(width=320, height=240, fps=50.0, pixel_format="Mono8", exposure_us=5000.0, gain_db=2.0)
    for _ in range(2):  # each time with a new handle
        camera.open()
        frames = [camera.read().image for _ in range(5)]
        camera.close()
        assert {(frame.shape, frame.dtype.name) for frame in frames} == {((240, 320, 3), "uint8")}
        assert any((frame != frames[0]).any() for frame in frames), "they are not one and the same memory"
        assert (frames[0][..., 0] == frames[0][..., 2]).all(), "grey"
    assert camera.describe() == "Fake_1 Fake"


@needs_aravis
@pytest.mark.parametrize("pixel_format", ["RGB8", "BayerRG8"])
def test_colour_formats_are_turned_into_bgr(pixel_format: str) -> None:
    camera = made(pixel_format=pixel_format)
    camera.open()
    frame = camera.read().image
    camera.close()
    assert (frame.shape[2], frame.dtype.name) == (3, "uint8")


def test_red_is_red_from_every_colour_format() -> None:
    """A mosaic of a red field: only its red sensels are lit, wherever the format puts them."""
    red_at = {0x01080009: (0, 0), 0x01080008: (0, 1), 0x0108000A: (1, 0), 0x0108000B: (1, 1)}  # RG, GR, GB, BG
    for pixel_format, (row, column) in red_at.items():
        mosaic = np.zeros((16, 16), np.uint8)
        mosaic[row::2, column::2] = 200
        code = FORMATS[pixel_format][1]
        assert code is not None
        blue, green, red = cv2.cvtColor(mosaic, code)[8, 8]
        assert (blue, green, red) == (0, 0, 200), hex(pixel_format)


@needs_aravis
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"device": "Nobody-1234"}, "Nobody-1234.*check cable, power and camera.device"),
        ({"exposure_us": 1e12}, "camera.exposure_us is .*, asked was 1e"),
    ],
)
def test_what_the_camera_does_not_do_is_one_line(keys: dict[str, object], words: str) -> None:
    camera = made(**{"device": "Fake_1", **keys})  # type: ignore[arg-type]
    with pytest.raises(CameraError, match=words) as caught:
        camera.open()
    assert "\n" not in str(caught.value)


def test_without_the_library_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    aravis.library.cache_clear()
    monkeypatch.setattr(aravis, "LIBRARY", "libnobody.so.0")
    with pytest.raises(CameraError, match="apt-get install libaravis"):
        made().open()
    aravis.library.cache_clear()


def test_a_camera_that_repeats_a_frame_is_frozen_and_a_region_has_two_sides() -> None:
    config = GenicamCameraConfig(type="genicam", device="Fake_1")
    assert repeats_mean_frozen(config)
    assert isinstance(make_camera(config), GenicamCamera)
    with pytest.raises(ValueError, match="give both or neither"):
        GenicamCameraConfig(type="genicam", device="Fake_1", width=100)


class GigECamera:
    """Aravis's fake GigE Vision camera, on the loopback only."""

    def __init__(self) -> None:
        assert GV_CAMERA is not None
        self._command = [GV_CAMERA, "-i", "127.0.0.1"]
        self.plug_in()

    def plug_in(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def unplug(self) -> None:
        self.process.kill()
        self.process.wait(HANG_S)


@pytest.fixture
def gige() -> Iterator[GigECamera]:
    camera = GigECamera()
    yield camera
    camera.unplug()


@needs_aravis
@needs_gv_camera
def test_a_gige_camera_that_is_unplugged_comes_back_with_a_new_handle(gige: GigECamera) -> None:
    capture = Capture(made("Aravis-Fake-GV01"), FrameSlot())
    capture.start()
    wait_for(lambda: capture.status().up)
    first = capture.slot.newest()
    assert first is not None
    wait_for(lambda: (newest := capture.slot.newest()) is not None and newest.seq >= first.seq + 5)
    gige.unplug()
    wait_for(lambda: not capture.status().up and "camera" in capture.status().detail)
    lost = capture.slot.newest()
    gige.plug_in()
    wait_for(lambda: capture.status().up and capture.slot.newest() is not lost)
    capture.worker.check()
    capture.stop(HANG_S)


@needs_aravis
def test_a_frame_is_proven_to_be_newer_than_its_exposure_by_one_exposure_and_one_period_at_most() -> None:
    camera = made(fps=50.0, exposure_us=5000.0)
    camera.open()
    shots = [(camera.read(), time.monotonic()) for _ in range(60)]
    camera.close()
    proven = [(shot.exposed_after, now) for shot, now in shots if shot.exposed_after is not None]
    assert shots[0][0].exposed_after is None, "a device may have stored frames"
    assert len(proven) > 5
    assert all(at <= now - 0.025 for at, now in proven)


@pytest.mark.parametrize(("pixel_format", "bits"), DEEP.items())
def test_grey_of_many_bits_is_scaled_as_in_training(pixel_format: int, bits: Bits) -> None:
    samples = np.linspace(0, 2**bits - 1, 48).astype("<u2").reshape(6, 8)
    assert np.array_equal(_upper(samples.view(np.uint8).reshape(6, 8, 2), bits, "Fake")[..., 0], samples >> (bits - 8))


def test_a_sample_over_the_format_is_a_fault_of_the_camera() -> None:
    with pytest.raises(CameraError, match="over the 10 bits"):
        _upper(np.full((2, 2, 2), 255, np.uint8), 10, "Fake")
