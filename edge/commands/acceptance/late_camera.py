"""A network camera whose pictures are on their way for a known time: it shows what it is told, late."""

from __future__ import annotations

import http.server
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from edge.commands.acceptance.fake_camera import NOISE, mjpeg_server
from edge.core.types import Image

KEPT = 400  # exposures
POLL_S = 0.002


class LateCamera:
    """Exposes at a steady rate and serves motion JPEG without timestamps over HTTP on the loopback.

    Each picture leaves delay_s after its exposure. While the network is held nothing leaves, and nothing is lost.
    Whoever connects gets the last stored_s seconds first.
    """

    def __init__(self, image: Image, fps: float = 25.0, delay_s: float = 0.0, sigma: float = NOISE) -> None:
        """sigma: of the sensor's noise, grey levels."""
        self.held = False
        self.hangs, self.has_clock = False, False  # the picture repeats, and a clock of 4 x 4 pixels in it goes on
        self.stored_s = 0.0
        self._sigma = sigma
        self._image, self._period_s, self._delay_s = image, 1.0 / fps, delay_s
        self._noise = np.random.default_rng(0)
        self._exposed = image
        self._exposures: deque[tuple[float, bytes]] = deque(maxlen=KEPT)
        self._running = True
        self._connection = 0
        self._server = mjpeg_server(self.frames, 0)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/camera.mjpg"
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._pool.submit(self._expose)
        self._pool.submit(self._server.serve_forever, 0.05)

    def show(self, image: Image) -> float:
        """Have this (H, W, 3) uint8 BGR picture in view; returns monotonic s when it came."""
        self._image = image
        return time.monotonic()

    def cut(self) -> None:
        """End all connections; the camera goes on exposing and answers at once."""
        self._connection += 1

    def close(self) -> None:
        self._running = False
        self._server.shutdown()
        self._server.server_close()
        self._pool.shutdown()

    def _expose(self) -> None:
        due = time.monotonic()
        while self._running:
            time.sleep(max(0.0, due - time.monotonic()))
            exposed = time.monotonic()
            self._exposures.append((exposed, self._jpeg()))
            due = max(due, exposed - self._period_s) + self._period_s

    def _jpeg(self) -> bytes:
        if not self.hangs:
            noisy = np.clip(self._image + self._noise.normal(0, self._sigma, self._image.shape), 0, 255)
            self._exposed = noisy.astype(np.uint8)
        if self.has_clock:
            self._exposed[4:8, 4:8] = self._noise.integers(0, 256, 3)
        return cv2.imencode(".jpg", self._exposed, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()

    def frames(self, stream: http.server.BaseHTTPRequestHandler) -> None:
        """Write pictures when they are due, until the camera closes or the connection is cut."""
        connection, sent = self._connection, time.monotonic() - self._delay_s - self.stored_s
        while self._running and connection == self._connection:
            due = [one for one in list(self._exposures) if sent < one[0] <= time.monotonic() - self._delay_s]
            if self.held or not due:
                time.sleep(POLL_S)
                continue
            for exposed, data in due:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                stream.wfile.write(head.encode() + data + b"\r\n")
                sent = exposed
