"""Motion JPEG over HTTP, as IP cameras send it: each picture is decoded from its own bytes, strictly."""

from __future__ import annotations

import time
from contextlib import closing

from edge.cameras import Camera, CameraError, Shot
from edge.cameras.clock import clock_of
from edge.cameras.network.connection import HttpStream, open_stream
from edge.cameras.network.multipart import Part, Parts, PartsError, boundary_of
from edge.cameras.picture import TORN, picture_of
from edge.config.cameras import VideoCameraConfig, without_secrets
from edge.core.types import finite

READ_TIMEOUT_S = 3.0
_OTHER = ("text/", "application/json", "application/xml")  # parts that a camera sends between its pictures


class HttpCamera:
    """Reads multipart/x-mixed-replace itself, and leaves any other stream to another camera of the same source."""

    def __init__(self, config: VideoCameraConfig, otherwise: Camera) -> None:
        self._config = config
        self._otherwise = otherwise
        self._shown = without_secrets(config.source)
        self._stream: HttpStream | None = None
        self._parts: Parts | None = None
        self._is_other = False
        self._clock = clock_of(config)
        self._until = 0.0
        self._size = ""

    def open(self) -> None:
        self.close()
        stream = open_stream(self._config.source)
        boundary = boundary_of(stream.content_type)
        if boundary is None:
            with closing(stream):
                self._is_other = True
            self._otherwise.open()
            return
        self._is_other = False
        self._clock = clock_of(self._config)
        self._stream = stream
        self._parts = Parts(boundary, lambda: stream.read(self._until))

    def read(self) -> Shot:
        if self._is_other:
            return self._otherwise.read()
        if self._parts is None:
            raise self._error("not open")
        self._until = time.monotonic() + READ_TIMEOUT_S
        try:
            part = self._parts.next()
            while part.headers.get("content-type", "").lower().startswith(_OTHER):
                part = self._parts.next()
        except (PartsError, OSError) as error:
            words = "nothing came in time" if isinstance(error, TimeoutError) else error
            raise self._error(f"no frame ({words}); check the camera and the network") from None
        return self._shot(part, self._clock.exposed_after(time.monotonic(), _stamp_s(part)))

    def _shot(self, part: Part, exposed_after: float | None) -> Shot:
        if behind := self._clock.fault():
            raise self._error(behind)
        image, fault = picture_of(part.body)
        if part.torn:
            fault = TORN
        height, width = image.shape[:2]
        wanted = (self._config.width or width, self._config.height or height)
        if not fault and (width, height) != wanted:
            raise self._error(f"gives {width}x{height}, camera.width and height ask for {wanted[0]}x{wanted[1]}")
        self._size = f" {width}x{height}"
        return Shot(image, exposed_after, fault)

    def close(self) -> None:
        self._otherwise.close()
        if self._stream is not None:
            self._stream.close()
        self._stream = self._parts = None

    def describe(self) -> str:
        return self._otherwise.describe() if self._is_other else f"{self._shown}{self._size}"

    def _error(self, fact: str) -> CameraError:
        return CameraError(f"camera {self._shown}: {fact}")


def _stamp_s(part: Part) -> float | None:
    """Return the camera's own time of a picture, of any epoch, as mjpg-streamer and others send it."""
    try:
        stamp_s = float(part.headers.get("x-timestamp", ""))
    except ValueError:
        return None
    return finite(stamp_s)
