"""A V4L2 device, which OpenCV opens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge.cameras import CameraError, Shot
from edge.cameras.clock import clock_of
from edge.cameras.network.decoder import MOTION_JPEG
from edge.cameras.picture import picture_of
from edge.config.cameras import VideoCameraConfig
from edge.core.types import Image, one_line

STAMP_WITHIN_S = 10.0  # a driver's timestamp that is older, or lies ahead, is not of the monotonic clock
V4L2_EXPOSURE_MANUAL = 1.0  # V4L2_EXPOSURE_MANUAL of the kernel's videodev2.h
CONTROL_STEP = 0.02  # a driver rounds to its steps; more than this share is not what was asked for
# The libraries would print a line of their own at each failed attempt; CameraError says it once.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class Controls(Protocol):
    """The part of cv2.VideoCapture that sets a camera's controls."""

    def set(self, key: int, value: float, /) -> bool:
        """False when the driver refuses."""

    def get(self, key: int, /) -> float:
        """The value in use."""


class VideoCamera:
    """One OpenCV capture. Each open() makes a new handle: a handle whose camera was unplugged never recovers."""

    def __init__(self, config: VideoCameraConfig) -> None:
        self._config = config
        source = config.source
        self._path = Path(f"/dev/video{source}" if source.isdigit() else source)
        self._clock = clock_of(config)
        self._capture: cv2.VideoCapture | None = None
        self._size: tuple[int, int] | None = None
        self._gives_jpeg = False

    def open(self) -> None:
        self.close()
        if not self._path.exists():
            raise self._error("no such device; check the cable and camera.source")
        self._clock = clock_of(self._config)
        self._capture = self._open_capture()
        if not self._capture.isOpened():
            self.close()
            raise self._error("cannot be opened; check the camera and camera.source")
        # A decoder fills what a torn frame lacks in silence: ask motion JPEG for its bytes.
        is_jpeg = int(self._capture.get(cv2.CAP_PROP_FOURCC)) in MOTION_JPEG
        self._gives_jpeg = is_jpeg and self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        try:
            self._control(self._capture)
        except CameraError:
            self.close()
            raise

    def _open_capture(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_V4L2)
        wanted = {
            cv2.CAP_PROP_FRAME_WIDTH: self._config.width,
            cv2.CAP_PROP_FRAME_HEIGHT: self._config.height,
            cv2.CAP_PROP_FPS: self._config.fps,
        }
        for key, value in wanted.items():
            if value is not None:
                capture.set(key, float(value))
        return capture

    def _control(self, capture: Controls) -> None:
        """Set exposure, gain and white balance by hand and read each back; raises CameraError on a mismatch."""
        config = self._config
        manual: list[tuple[str, float | None, int, tuple[int, float] | None]] = [
            ("exposure", config.exposure, cv2.CAP_PROP_EXPOSURE, (cv2.CAP_PROP_AUTO_EXPOSURE, V4L2_EXPOSURE_MANUAL)),
            ("gain", config.gain, cv2.CAP_PROP_GAIN, None),
            ("white_balance_k", config.white_balance_k, cv2.CAP_PROP_WB_TEMPERATURE, (cv2.CAP_PROP_AUTO_WB, 0.0)),
        ]
        for name, value, key, automatic in manual:
            if value is None:
                continue
            if automatic is not None:
                capture.set(*automatic)
            capture.set(key, value)
            found = capture.get(key)
            if abs(found - value) > max(CONTROL_STEP * abs(value), 1e-6):
                raise self._error(f"camera.{name} is {found:g}, asked was {value:g}; see v4l2-ctl --list-ctrls")

    def read(self) -> Shot:
        if self._capture is None:
            raise self._error("not open")
        if not self._path.exists():
            # read() can go on repeating the last frame of a camera that is no longer there.
            raise self._error("is gone; check the cable")
        try:
            got, image = self._capture.read()
        except (cv2.error, MemoryError) as error:
            raise self._error(f"gives a frame that cannot be read ({one_line(error, 120)}); check the camera") from None
        if not got:
            raise self._error("no frame; check the camera and its cable")
        if behind := self._clock.fault():
            raise self._error(behind)
        exposed_after = self._exposed_after(self._capture, time.monotonic())
        if self._gives_jpeg:
            picture, fault = picture_of(np.asarray(image).tobytes())
            return Shot(picture if fault else self._checked(picture), exposed_after, fault)
        return Shot(self._checked(np.asarray(image)), exposed_after)

    def _exposed_after(self, capture: Controls, now: float) -> float | None:
        """Return a time after which the exposure of the frame just read began; None when nothing proves one.

        V4L2 stamps a buffer when its frame ends or begins, in monotonic time; an exposure takes one period at most.
        """
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        fps = capture.get(cv2.CAP_PROP_FPS) or self._config.fps
        if fps is not None and fps > 0 and 0.0 <= now - stamp_s < STAMP_WITHIN_S:
            return stamp_s - 1.0 / fps
        return self._clock.exposed_after(now)

    def _checked(self, image: Image) -> Image:
        """Always (H, W, 3) uint8 BGR, always of the size that station.toml asks for."""
        if image.ndim == 2 or image.shape[2] == 1:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
        if image.dtype != np.uint8 or image.shape[2] != 3:
            raise self._error(f"gives {image.shape} {image.dtype}, not 8-bit colour; choose another pixel format")
        height, width = image.shape[:2]
        wanted = (self._config.width or width, self._config.height or height)
        if (width, height) != wanted:
            raise self._error(f"gives {width}x{height}, camera.width and height ask for {wanted[0]}x{wanted[1]}")
        self._size = (width, height)
        return image

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def describe(self) -> str:
        size = "" if self._size is None else f" {self._size[0]}x{self._size[1]}"
        return f"{self._path}{size}"

    def _error(self, fact: str) -> CameraError:
        return CameraError(f"camera {self._path}: {fact}")
