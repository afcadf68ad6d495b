"""A stream or a video file that FFmpeg decodes, seen from the engine: the decoder is a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from edge.cameras import CameraError, Shot
from edge.cameras.clock import clock_of
from edge.cameras.network import decoder
from edge.cameras.network.decoder import ENDED, FAILED, HEAD, LOG_LEVEL, OPEN_TIMEOUT_MS, READ_TIMEOUT_MS
from edge.cameras.picture import picture_of, unfit
from edge.config.cameras import VideoCameraConfig, without_secrets
from edge.core.types import Image, finite, one_line

FILE_FPS = 25.0  # of a video file that does not say
MAX_WORDS = 1000  # bytes
MAX_BYTES = 200 * 1024 * 1024  # of one picture
PIPE_BYTES = 1024 * 1024
STARTS_WITHIN_S = 20.0  # Python and OpenCV, on a slow device
GRACE_S = 2.0  # beyond FFmpeg's own limit, which it may not keep


class DecodedCamera:
    """One decoder process for each opening: one that crashes, hangs or grows is ended and made again."""

    def __init__(self, config: VideoCameraConfig) -> None:
        self._config = config
        self._clock = clock_of(config)
        self._shown = without_secrets(config.source)
        self._process: subprocess.Popen[bytes] | None = None
        self._size = ""
        self._fps = FILE_FPS
        self._due: float | None = None
        self._ended = False

    def open(self) -> None:
        self.close()
        if self._ended:
            raise self._error("the video ended; set camera.loop = true, or restart the engine")
        if self._config.is_file and not Path(self._config.source).exists():
            raise self._error("no such file; check camera.source")
        self._clock = clock_of(self._config)
        try:
            self._process = _start(self._config)
        except OSError as error:
            raise self._error(f"its decoder cannot be started ({one_line(error)})") from None
        try:
            fps = self._record(time.monotonic() + STARTS_WITHIN_S + OPEN_TIMEOUT_MS / 1e3)[3]
        except CameraError:
            self.close()
            raise
        self._fps = fps if fps > 0 else FILE_FPS

    def read(self) -> Shot:
        if self._process is None:
            raise self._error("not open")
        due = self._pace() if self._config.is_file else 0.0
        width, height, fault, stamp_s, data = self._record(time.monotonic() + READ_TIMEOUT_MS / 1e3 + GRACE_S)
        arrived_at = time.monotonic()
        if behind := self._clock.fault():
            raise self._error(behind)
        exposed_after = due if self._config.is_file else self._clock.exposed_after(arrived_at, finite(stamp_s))
        if height == 0:
            image, fault = picture_of(data.tobytes())
        else:
            image = data.reshape(height, width, 3)
        return Shot(self._checked(image, fault), exposed_after, fault)

    def _checked(self, image: Image, fault: str) -> Image:
        """Return a picture of the size that station.toml asks for; raises CameraError for another one."""
        height, width = image.shape[:2]
        wanted = (self._config.width or width, self._config.height or height)
        if not fault and (width, height) != wanted:
            raise self._error(f"gives {width}x{height}, camera.width and height ask for {wanted[0]}x{wanted[1]}")
        self._size = f" {width}x{height}"
        return image

    def _pace(self) -> float:
        """Hold a file to its frame rate, a slow reader gets the next frame at once; returns when the frame was due."""
        now = time.monotonic()
        if self._due is not None and self._due > now:
            time.sleep(self._due - now)
        due = max(now, self._due or now)
        self._due = due + 1.0 / (self._config.fps or self._fps)
        return due

    def _record(self, until: float) -> tuple[int, int, str, float, Image]:
        """Return width, height, fault, stamp and bytes of what the decoder says next; raises CameraError."""
        kind, width, height, stamp_s, words, size = HEAD.unpack(self._bytes(HEAD.size, until).data)
        if words > MAX_WORDS or size > MAX_BYTES or (height and size != width * height * 3):
            raise self._error("its decoder failed; it is started again")
        said = self._bytes(words, until).tobytes().decode("utf-8", "replace")
        if kind == FAILED:
            raise self._failed(said)
        if height and (odd := unfit(width, height)):
            raise self._error(odd)
        return width, height, said, stamp_s, self._bytes(size, until)

    def _bytes(self, count: int, until: float) -> Image:
        """Return so many bytes of the decoder; raises CameraError when it ends, or at the time `until`."""
        if self._process is None or self._process.stdout is None:
            raise self._error("not open")
        data, pipe = np.empty(count, np.uint8), self._process.stdout.fileno()
        view = data.data
        while len(view):
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise self._error("no frame in time; check the camera and the network")
            got = os.readv(pipe, [view])
            if got == 0:
                raise self._error(f"its decoder ended ({_end_of(self._process)}); it is started again")
            view = view[got:]
        return data

    def _failed(self, said: str) -> CameraError:
        if said != ENDED:
            return self._error(said)
        if not self._config.is_file:
            return self._error("no frame; check the camera and the network")
        self._ended = True
        return self._error("the video ended; set camera.loop = true, or restart the engine")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        self._process = None
        self._due = None

    def describe(self) -> str:
        return f"{self._shown}{self._size}"

    def _error(self, fact: str) -> CameraError:
        return CameraError(f"camera {self._shown}: {fact}")


def _end_of(process: subprocess.Popen[bytes]) -> str:
    """Say how a decoder ended; one that closed its pipe and goes on is killed."""
    try:
        status = process.wait(1.0)
    except subprocess.TimeoutExpired:
        return "killed"
    return f"signal {-status}" if status < 0 else f"status {status}"


def _start(config: VideoCameraConfig) -> subprocess.Popen[bytes]:
    """Start a decoder and tell it the source, not as an argument: everybody on the machine can read those."""
    # Over UDP a busy network tears frames, and a torn frame looks like a defect.
    options = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp", "OPENCV_FFMPEG_LOGLEVEL": LOG_LEVEL}
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin, open(writing, "wb") as request:
        request.write(json.dumps({"source": config.source, "loop": config.loop}).encode() + b"\n")
        process = subprocess.Popen(
            [sys.executable, "-P", decoder.__file__],
            bufsize=0,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **options},
            start_new_session=True,
        )
    if process.stdout is not None:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process
