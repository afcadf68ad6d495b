"""A camera's HTTP server that sends exactly the bytes that a test gives it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from edge.core.types import Image

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


class Server:
    """Answers each connection by a function of the request's head and the connection."""

    def __init__(self, answer: Callable[[bytes, socket.socket], None]) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.heads: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            self.heads.append(head)
            try:
                self._answer(head, client)
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def serving(answer: bytes | Callable[[bytes, socket.socket], None]) -> Iterator[Server]:
    """Serve so long."""
    server = Server((lambda _, client: client.sendall(answer)) if isinstance(answer, bytes) else answer)
    try:
        yield server
    finally:
        server.close()


def picture(seed: int = 0, width: int = 160, height: int = 120) -> Image:
    """Return a smooth random (height, width, 3) picture."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def jpeg(seed: int = 0, width: int = 160, height: int = 120, *options: int) -> bytes:
    return cv2.imencode(".jpg", picture(seed, width, height), list(options))[1].tobytes()


def part(body: bytes, *, length: int | None = -1, more: bytes = b"", mark: bytes = b"--frame") -> bytes:
    """Return one part; length -1 is the body's own, None sends none."""
    said = len(body) if length == -1 else length
    count = b"" if said is None else b"Content-Length: %d\r\n" % said
    return mark + b"\r\nContent-Type: image/jpeg\r\n" + count + more + b"\r\n" + body + b"\r\n"
