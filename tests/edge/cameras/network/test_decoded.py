import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras import CameraError, Shot, make_camera
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.network import decoder
from edge.cameras.network.decoded import DecodedCamera
from edge.cameras.network.decoder import HELD_BACK, Damage
from edge.config.cameras import VideoCameraConfig
from tests.edge.cameras.network.server import picture

SIZE = (320, 240)


def film(path: Path, codec: str = "mp4v", size: tuple[int, int] = SIZE, frames: int = 60) -> Path:
    """Write a picture that moves, with a sensor's noise."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25.0, size)
    noise = np.random.default_rng(0)
    still = picture(1, *size).astype(float)
    for number in range(frames):
        moved = np.roll(still, 4 * number, axis=1) + noise.normal(0, 4, still.shape)
        writer.write(np.clip(moved, 0, 255).astype(np.uint8))
    writer.release()
    return path


def camera_of(path: Path | str, **more: object) -> DecodedCamera:
    camera = make_camera(VideoCameraConfig.model_validate({"type": "video", "source": str(path), "fps": 900.0, **more}))
    assert isinstance(camera, DecodedCamera)
    return camera


def shots(camera: DecodedCamera) -> Iterator[Shot]:
    """Give what the camera gives until it ends."""
    camera.open()
    try:
        while True:
            yield camera.read()
    except CameraError as error:
        yield Shot(np.zeros((1, 1, 3), np.uint8), None, str(error))
    finally:
        camera.close()


@pytest.mark.parametrize(("codec", "name"), [("mp4v", "a.avi"), ("mp4v", "a.ts"), ("MJPG", "a.avi"), ("mpg2", "a.ts")])
def test_a_whole_film_has_no_fault(tmp_path: Path, codec: str, name: str) -> None:
    *seen, end = shots(camera_of(film(tmp_path / name, codec)))
    assert len(seen) == 60
    assert not [shot.fault for shot in seen if shot.fault]
    assert "ended" in end.fault
    assert np.abs(seen[0].image.astype(int) - picture(1, *SIZE)).mean() < 12


@pytest.mark.parametrize("kind", ["noise", "cut"])
@pytest.mark.parametrize(("codec", "name"), [("mp4v", "a.ts"), ("mpg2", "a.ts"), ("MJPG", "a.avi")])
def test_a_damaged_film_is_in_fault_until_a_later_key_frame(tmp_path: Path, codec: str, name: str, kind: str) -> None:
    path = film(tmp_path / name, codec)
    data = bytearray(path.read_bytes())
    begin, length = len(data) * 4 // 10, 150
    noise = np.random.default_rng(0).integers(0, 255, length, dtype=np.uint8).tobytes()
    data[begin : begin + length] = noise if kind == "noise" else b"" if name.endswith("ts") else bytes(length)
    path.write_bytes(data)
    *seen, _ = shots(camera_of(path))
    faults = [number for number, shot in enumerate(seen) if shot.fault]
    assert faults
    assert faults == list(range(faults[0], faults[-1] + 1))
    assert 5 < faults[0] < 40
    assert faults[-1] < len(seen) - 1, "a later picture is whole"


@pytest.mark.parametrize(("codec", "name"), [("mp4v", "a.ts"), ("mpg2", "a.ts")])
def test_a_film_that_changes_its_size_is_opened_again_and_refused(tmp_path: Path, codec: str, name: str) -> None:
    one, other = film(tmp_path / f"1{name}", codec), film(tmp_path / f"2{name}", codec, (160, 120))
    joined = tmp_path / name
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    *seen, end = shots(camera_of(joined))
    assert "became another one" in end.fault
    assert all(shot.image.shape == (240, 320, 3) for shot in seen)
    assert len([shot for shot in seen if not shot.fault]) <= 61


LOGGED = st.sampled_from(
    [
        "",
        "[OPENCV:FFMPEG:48] nal_unit_type: 1\n",
        "[OPENCV:FFMPEG:16] Error at MB: 12\n",
        "[OPENCV:FFMPEG:32] concealing 3 DC, 3 AC, 3 MV errors in P frame\n",
        "[OPENCV:FFMPEG:24] RTP: missed 3 packets\n",
    ]
)


@settings(deadline=None)
@given(told=st.lists(st.tuples(LOGGED, st.sampled_from("IPB")), max_size=90))
def test_no_frame_passes_between_damage_and_a_key_frame_that_is_surely_later(told: list[tuple[str, str]]) -> None:
    damage = Damage()
    last, whole = -1, False
    for number, (said, kind) in enumerate(told):
        fault = damage.fault(said, kind)
        if said and "nal" not in said:
            last, whole = number, False
        elif kind == "I" and (last < 0 or number - last > HELD_BACK):
            whole = True
        assert bool(fault) is not whole


def test_a_decoder_that_dies_is_a_camera_fault_and_the_next_frames_come_from_another_one(tmp_path: Path) -> None:
    camera, slot = camera_of(film(tmp_path / "a.avi"), loop=True, fps=50.0), FrameSlot()
    capture = Capture(camera, slot)
    capture.start()
    try:
        assert slot.newer_than(time.monotonic(), 30.0) is not None
        assert camera._process is not None
        os.kill(camera._process.pid, signal.SIGSEGV)
        time.sleep(0.2)
        frame = slot.newer_than(time.monotonic(), 30.0)
        assert frame is not None
        assert not frame.fault
    finally:
        capture.stop(10.0)


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.network.decoded.GRACE_S", -2.9)
    camera = camera_of(film(tmp_path / "a.avi", frames=200))
    camera.open()
    process = camera._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(CameraError, match="no frame in time"):
        [camera.read() for _ in range(200)]
    camera.close()
    assert process.poll() == -signal.SIGKILL


def test_a_decoder_takes_no_more_memory_than_it_may() -> None:
    program = f"import runpy, sys; runpy.run_path({decoder.__file__!r})['main'](); bytearray(3 * 1024**3)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=b'{"source": "nothing", "loop": false}\n',
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"cannot be opened" in done.stdout


def test_the_source_is_no_argument_of_the_decoder(tmp_path: Path) -> None:
    camera = camera_of(film(tmp_path / "hunter2.avi"))
    camera.open()
    assert camera._process is not None
    arguments = Path(f"/proc/{camera._process.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{camera._process.pid}/environ").read_bytes()
    camera.close()
    assert b"decoder.py" in arguments
    assert b"hunter2" not in arguments + environment
