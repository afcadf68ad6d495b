"""A network camera for `edge chaos` and for trials; on demand it goes wrong in many ways."""

from __future__ import annotations

import http.server
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum, auto

import cv2
import numpy as np

from edge.core.types import Image

PERIOD_S = 0.02
NOISE = 3.0  # of the sensor, grey levels
MEGABYTE = 1024 * 1024
ENDLESS_BYTES = 2048 * MEGABYTE


class Mood(Enum):
    """The behaviour of the camera at the moment."""

    LIVE = auto()
    FROZEN = auto()  # one and the same frame, again and again
    STALLED = auto()  # the connection stays, nothing comes
    TORN = auto()  # a part of each picture's bytes is missing
    LARGER = auto()  # pictures of twice the width and height
    ODD = auto()  # pictures of 2 x 60000
    ENDLESS = auto()  # one picture of 2 GB


class MjpegCamera:
    """Serves one picture with a sensor's noise as motion JPEG over HTTP on the loopback."""

    def __init__(self, image: Image) -> None:
        self.mood = Mood.LIVE
        self._image = image
        self._noise = np.random.default_rng(0)
        self._running = True
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._server = mjpeg_server(self.frames, 0)
        self.port = int(self._server.server_address[1])
        self._serving: Future[None] = self._pool.submit(self._server.serve_forever, 0.05)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/camera.mjpg"

    def vanish(self) -> None:
        """End all connections and answer nobody, as when the plug is pulled."""
        self._running = False
        self._server.shutdown()
        self._server.server_close()
        self._serving.result()

    def come_back(self) -> None:
        """Serve again at the same address."""
        self._running = True
        self._server = mjpeg_server(self.frames, self.port)
        self._serving = self._pool.submit(self._server.serve_forever, 0.05)

    def close(self) -> None:
        if self._running:
            self.vanish()
        self._pool.shutdown()

    def frames(self, stream: http.server.BaseHTTPRequestHandler) -> None:
        """Write frames until the camera vanishes or the client leaves."""
        data = self._jpeg()
        while self._running:
            mood = self.mood
            if mood is not Mood.FROZEN:
                data = self._jpeg()
            if mood is Mood.ENDLESS:
                _send_endless(stream)
            elif mood is not Mood.STALLED:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n"
                head += f"X-Timestamp: {time.monotonic():.6f}\r\n\r\n"
                stream.wfile.write(head.encode() + data + b"\r\n")
            time.sleep(PERIOD_S)

    def _jpeg(self) -> bytes:
        """Return the picture with new noise; torn, larger or odd when the camera is in that mood."""
        image = self._image
        if self.mood is Mood.LARGER:
            image = np.asarray(cv2.resize(image, None, fx=2, fy=2), np.uint8)
        if self.mood is Mood.ODD:
            image = np.asarray(cv2.resize(image, (2, 60000)), np.uint8)
        noisy = np.clip(image + self._noise.normal(0, NOISE, image.shape), 0, 255)
        _, encoded = cv2.imencode(".jpg", noisy.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
        data = encoded.tobytes()
        if self.mood is Mood.TORN:
            begin = int(self._noise.uniform(0.3, 0.95) * len(data))
            return data[:begin] + data[begin + len(data) // 20 :]
        return data


def _send_endless(stream: http.server.BaseHTTPRequestHandler) -> None:
    """Announce a picture of 2 GB and send it."""
    stream.wfile.write(f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {ENDLESS_BYTES}\r\n\r\n".encode())
    for _ in range(ENDLESS_BYTES // MEGABYTE):
        stream.wfile.write(bytes(MEGABYTE))


def mjpeg_server(
    frames: Callable[[http.server.BaseHTTPRequestHandler], None], port: int
) -> http.server.ThreadingHTTPServer:
    """Return a server on a port of the loopback, 0 for a free one, whose every connection `frames` writes to."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                frames(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is http.server's
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=True)
    server.daemon_threads = True
    return server
