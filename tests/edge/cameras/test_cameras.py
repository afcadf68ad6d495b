import functools
import http.server
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cameras import Camera, CameraError, make_camera, repeats_mean_frozen
from edge.cameras.folder import FolderCamera
from edge.cameras.video import VideoCamera
from edge.config.cameras import FolderCameraConfig, VideoCameraConfig
from edge.core.types import Image
from edge.inference.preprocess import load_image

RED_BGR = (20, 20, 220)


def flat(colour: tuple[int, int, int]) -> Image:
    return np.full((48, 64, 3), colour, np.uint8)


def write_video(path: Path, frames: int = 5, fps: float = 200.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for _ in range(frames):
        writer.write(flat(RED_BGR))
    writer.release()
    return path


def is_red(image: Image) -> bool:
    blue, green, red = (float(v) for v in image.reshape(-1, 3).mean(axis=0))
    return red > 180 and blue < 70 and green < 70


def read_on(camera: Camera, frames: int) -> None:
    for _ in range(frames):
        camera.read()


def folder_camera(path: Path, fps: float = 200.0, seconds_per_image: float = 0.02) -> FolderCamera:
    return FolderCamera(FolderCameraConfig(type="folder", path=path, fps=fps, seconds_per_image=seconds_per_image))


def video_camera(source: Path | str, **more: object) -> Camera:
    return make_camera(VideoCameraConfig.model_validate({"type": "video", "source": str(source), **more}))


def device(source: str, **more: object) -> VideoCamera:
    return VideoCamera(VideoCameraConfig.model_validate({"type": "video", "source": source, **more}))


def test_folder_shows_every_image_in_the_order_of_names_and_begins_again(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), flat((number * 50, 0, 0)))
    camera = folder_camera(tmp_path)
    camera.open()
    seen = [int(camera.read().image[0, 0, 0]) // 50 for _ in range(40)]
    camera.close()
    changes = sum(a != b for a, b in itertools.pairwise(seen))
    assert set(seen) == {0, 1, 2}
    assert changes >= 4, "it went round more than once"


def test_folder_frames_are_bgr_and_cannot_be_written_to(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), flat(RED_BGR))
    camera = folder_camera(tmp_path)
    camera.open()
    image = camera.read().image
    assert is_red(image)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0


def test_folder_decodes_what_it_does_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.folder.KEPT_BYTES", 1)
    cv2.imwrite(str(tmp_path / "a.png"), flat(RED_BGR))
    camera = folder_camera(tmp_path)
    camera.open()
    assert camera._kept == {}
    assert is_red(camera.read().image)


@pytest.mark.parametrize("spoil", ["missing", "empty", "bad file"])
def test_folder_that_cannot_be_replayed_is_refused_when_opened(tmp_path: Path, spoil: str) -> None:
    folder = tmp_path / "cam"
    if spoil != "missing":
        folder.mkdir()
    if spoil == "bad file":
        cv2.imwrite(str(folder / "a.png"), flat(RED_BGR))
        (folder / "b.png").write_bytes(b"not an image")
    with pytest.raises(CameraError, match=r"b\.png" if spoil == "bad file" else "cam"):
        folder_camera(folder).open()


def test_folder_whose_file_vanishes_is_a_lost_camera(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), flat(RED_BGR))
    camera = folder_camera(tmp_path)
    camera.open()
    camera.read()
    (tmp_path / "a.png").unlink()
    with pytest.raises(CameraError, match=r"a\.png is gone"):
        camera.read()


def shown_level(camera: FolderCamera, within_s: float = 5.0) -> int:
    """Read until a frame may be judged and return its grey level."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        shot = camera.read()
        if not shot.fault:
            return int(shot.image[0, 0, 0])
    raise AssertionError(shot.fault)


def replace(path: Path, level: int) -> None:
    """Put another picture in a file's place at once, as a program that writes carefully does."""
    draft = path.with_name(f".{path.name}")
    assert cv2.imwrite(str(draft.with_suffix(".bmp")), flat((level, 0, 0)))
    draft.with_suffix(".bmp").replace(path)


def overwrite(path: Path, level: int) -> None:
    """Change the content of a file in place and set its time back."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(cv2.imencode(".bmp", flat((level, 0, 0)))[1].tobytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [replace, overwrite])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_folder_shows_a_file_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, int], None], kept: bool
) -> None:
    """After the change no frame that may be judged shows the old picture, not even the first one."""
    if not kept:
        monkeypatch.setattr("edge.cameras.folder.KEPT_BYTES", 1)
    replace(tmp_path / "part.bmp", 10)
    time.sleep(0.2)
    camera = folder_camera(tmp_path)
    camera.open()
    for level in (10, 20, 30, 40):
        change(tmp_path / "part.bmp", level)
        assert shown_level(camera) == level
    assert not camera.read().fault


def test_folder_shows_what_is_added_and_leaves_out_what_is_removed(tmp_path: Path) -> None:
    for level in (10, 20):
        replace(tmp_path / f"{level}.bmp", level)
    camera = folder_camera(tmp_path, seconds_per_image=0.01)
    camera.open()
    replace(tmp_path / "15.bmp", 15)
    (tmp_path / "20.bmp").unlink()
    time.sleep(0.2)
    assert {shown_level(camera) for _ in range(30)} == {10, 15}


def test_folder_marks_a_file_that_is_half_written_and_goes_on_with_the_next_turn(tmp_path: Path) -> None:
    for level in (10, 20):
        replace(tmp_path / f"{level}.bmp", level)
    time.sleep(0.2)
    camera = folder_camera(tmp_path, seconds_per_image=0.02)
    camera.open()
    whole = (tmp_path / "20.bmp").read_bytes()
    (tmp_path / "20.bmp").write_bytes(whole[: len(whole) // 2])
    shots = [camera.read() for _ in range(40)]
    assert {int(shot.image[0, 0, 0]) for shot in shots if not shot.fault} == {10}
    assert any("20.bmp" in shot.fault for shot in shots)
    (tmp_path / "20.bmp").write_bytes(whole)
    time.sleep(0.2)
    assert {shown_level(camera) for _ in range(40)} == {10, 20}


def test_folder_never_judges_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the old and half of the new picture would decode without a fault."""
    replace(tmp_path / "part.bmp", 10)
    time.sleep(0.2)
    camera = folder_camera(tmp_path)
    camera.open()
    replace(tmp_path / "part.bmp", 20)

    def slow(path: Path, *rest: object) -> Image:
        image = load_image(path)
        overwrite(path, 30)
        return image

    monkeypatch.setattr("edge.cameras.folder.load_image", slow)
    assert "was changed while it was read" in camera.read().fault


def test_video_file_ends_once_and_stays_ended(tmp_path: Path) -> None:
    camera = video_camera(write_video(tmp_path / "v.avi"))
    camera.open()
    for _ in range(5):
        assert camera.read().image.shape == (48, 64, 3)
    with pytest.raises(CameraError, match="ended"):
        camera.read()
    with pytest.raises(CameraError, match="ended"):
        camera.open()


def test_video_file_loops_when_told_to(tmp_path: Path) -> None:
    camera = video_camera(write_video(tmp_path / "v.avi"), loop=True)
    camera.open()
    assert all(is_red(camera.read().image) for _ in range(12))
    assert camera.describe().endswith("v.avi 64x48")
    camera.close()


def test_red_stays_red_when_a_camera_is_opened_again(tmp_path: Path) -> None:
    camera = video_camera(write_video(tmp_path / "v.avi"))
    for _ in range(2):
        camera.open()
        assert is_red(camera.read().image)
    camera.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A folder over HTTP."""
    write_video(tmp_path / "v.avi")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_http_url_gives_frames_in_bgr_and_a_lost_stream_is_an_error(site: str) -> None:
    camera = video_camera(f"{site}/v.avi")
    camera.open()
    assert is_red(camera.read().image)
    with pytest.raises(CameraError, match="no frame"):
        read_on(camera, 20)
    camera.close()
    camera.open()
    assert is_red(camera.read().image)
    camera.close()


@pytest.mark.parametrize(
    "source", ["/dev/video987", "no/such/file.mp4", "987", "rtsp://127.0.0.1:9/x", "http://127.0.0.1:9/x"]
)
def test_source_that_is_not_there_is_a_lost_camera(source: str) -> None:
    with pytest.raises(CameraError, match=r"987|no/such/file|127\.0\.0\.1:9"):
        video_camera(source).open()


def test_passwords_in_a_url_are_never_shown() -> None:
    camera = video_camera("rtsp://admin:hunter2@127.0.0.1:9/stream")
    assert "hunter2" not in camera.describe()
    with pytest.raises(CameraError) as caught:
        camera.open()
    assert "hunter2" not in str(caught.value)


def test_a_camera_of_another_size_than_asked_for_is_refused(tmp_path: Path) -> None:
    camera = video_camera(write_video(tmp_path / "v.avi"), width=1920, height=1080)
    camera.open()
    with pytest.raises(CameraError, match=r"gives 64x48.*1920x1080"):
        camera.read()
    camera.close()


def test_a_grey_camera_becomes_three_equal_channels() -> None:
    grey = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    image = device("/dev/video987")._checked(grey)
    assert image.shape == (48, 64, 3)
    assert (image == grey[..., None]).all()


def test_make_camera_follows_the_type(tmp_path: Path) -> None:
    assert isinstance(make_camera(FolderCameraConfig(type="folder", path=tmp_path)), FolderCamera)
    assert isinstance(make_camera(VideoCameraConfig(type="video", source="0")), VideoCamera)


class Driver:
    """A V4L2 driver's controls as OpenCV shows them: set() answers True whatever becomes of the value."""

    def __init__(self, ignored: frozenset[int] = frozenset(), step: float = 1.0) -> None:
        self.values: dict[int, float] = {}
        self._ignored = ignored
        self._step = step

    def set(self, key: int, value: float, /) -> bool:
        if key not in self._ignored:
            self.values[key] = round(value / self._step) * self._step
        return True

    def get(self, key: int, /) -> float:
        return self.values.get(key, -1.0)


class JpegDriver(Driver):
    """A V4L2 driver that gives motion JPEG, as OpenCV hands its bytes on."""

    def __init__(self, *frames: bytes) -> None:
        super().__init__()
        self._frames = list(frames)

    def read(self) -> tuple[bool, Image]:
        return True, np.frombuffer(self._frames.pop(0), np.uint8)[np.newaxis]


def test_a_torn_frame_of_a_motion_jpeg_device_is_in_fault() -> None:
    whole = cv2.imencode(".jpg", flat(RED_BGR))[1].tobytes()
    camera = device("/dev/null")
    camera._capture, camera._gives_jpeg = JpegDriver(whole, whole[:-30], whole), True  # type: ignore[assignment]
    shots = [camera.read() for _ in range(3)]
    assert ["torn" in shot.fault for shot in shots] == [False, True, False]
    assert is_red(shots[2].image)


CONTROLS = {"exposure": 157.0, "gain": 12.0, "white_balance_k": 4600.0}


def test_exposure_gain_and_white_balance_are_set_by_hand() -> None:
    driver = Driver()
    device("/dev/v4l/by-id/camera", **CONTROLS)._control(driver)
    assert driver.values == {
        cv2.CAP_PROP_AUTO_EXPOSURE: 1.0,
        cv2.CAP_PROP_EXPOSURE: 157.0,
        cv2.CAP_PROP_GAIN: 12.0,
        cv2.CAP_PROP_AUTO_WB: 0.0,
        cv2.CAP_PROP_WB_TEMPERATURE: 4600.0,
    }


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("exposure", cv2.CAP_PROP_EXPOSURE),
        ("gain", cv2.CAP_PROP_GAIN),
        ("white_balance_k", cv2.CAP_PROP_WB_TEMPERATURE),
    ],
)
def test_a_control_that_the_driver_did_not_take_is_a_camera_fault(name: str, key: int) -> None:
    camera = device("/dev/v4l/by-id/camera", **CONTROLS)
    with pytest.raises(CameraError, match=rf"camera\.{name} is -1, asked was"):
        camera._control(Driver(ignored=frozenset({key})))


def test_a_driver_may_round_to_its_steps_but_not_further() -> None:
    device("0", white_balance_k=4605)._control(Driver(step=10))
    with pytest.raises(CameraError, match="white_balance_k is 4000"):
        device("0", white_balance_k=4400)._control(Driver(step=1000))


def test_without_controls_nothing_is_touched() -> None:
    driver = Driver()
    device("0")._control(driver)
    assert driver.values == {}


@pytest.mark.parametrize("source", ["rtsp://camera/1", "film.mp4"])
def test_controls_of_what_has_none_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="gain can only be set on a V4L2 device"):
        video_camera(source, gain=3)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("0", True), ("/dev/v4l/by-id/x", True), ("rtsp://camera/1", True), ("http://camera", True), ("a.mp4", False)],
)
def test_repeats_are_a_fault_of_real_cameras_only(source: str, expected: bool) -> None:
    assert repeats_mean_frozen(VideoCameraConfig(type="video", source=source)) is expected
    assert not repeats_mean_frozen(FolderCameraConfig(type="folder", path=Path("camera")))
