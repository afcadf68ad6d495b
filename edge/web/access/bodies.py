"""The bodies of requests: each is admitted or refused by its head, before a byte of it is kept.

Bodies are kept in memory, never in a file, and there is room for some of them only.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import Error

from edge.inference.preprocess import MAX_FILE_BYTES

UPLOADS = 3  # at once, so that most of the threads stay free
FORM_OVERHEAD_BYTES = 16 * 1024  # multipart headers around a file of the largest size
MAX_BODY_BYTES = MAX_FILE_BYTES + FORM_OVERHEAD_BYTES
PIECE_BYTES = 4 * 1024 * 1024  # of an uploaded bundle
UPLOAD_PATHS = {"/api/inspect": MAX_BODY_BYTES, "/api/bundles/upload": PIECE_BYTES}  # and what each may bring
SMALL_BODY_BYTES = 16 * 1024  # any request may bring so much
MAX_HEAD_BYTES = 32 * 1024
ROOM_BYTES = 80 * 1024 * 1024  # of all bodies together: one of the largest, or several photos
SENT_ON_BYTES = 128 * 1024 * 1024  # a refused body up to this size is read and thrown away, so that the words arrive
RETRY_AFTER_S = 2


class RefusalError(Error):  # type: ignore[misc]  # waitress has no types
    """The answer to a request that is refused by its head: one line, as JSON."""

    def __init__(self, code: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.code, self.reason = code, reason

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body."""
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        if self.code == 503:
            headers.append(("Retry-After", str(RETRY_AFTER_S)))
        return f"{self.code} {self.reason}", headers, json.dumps({"error": self.body}).encode()


class Room:
    """The memory for bodies that are on their way or being worked on."""

    def __init__(self, uploads: int = UPLOADS, size: int = ROOM_BYTES) -> None:
        self._lock = threading.Lock()
        self._uploads = uploads
        self._bytes = size

    def take(self, size: int) -> bool:
        """Reserve room for one body of this many bytes; False when there is none now."""
        with self._lock:
            if self._uploads < 1 or self._bytes < size:
                return False
            self._uploads -= 1
            self._bytes -= size
            return True

    def give(self, size: int) -> None:
        """Give back what take() reserved."""
        with self._lock:
            self._uploads += 1
            self._bytes += size


class _Discard:
    """A body's place that keeps nothing."""

    def append(self, data: bytes) -> None:
        pass

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        pass


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """One request on its way in."""

    body_rcv: Any
    body_bytes_received: int
    content_length: int
    expect_continue: bool
    chunked: bool

    def __init__(self, adj: Adjustments, room: Room) -> None:
        super().__init__(adj)
        self._room = room
        self._taken: int | None = None

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head, then admit the body or refuse the request."""
        super().parse_header(header_plus)
        if self.body_rcv is None:
            return
        refusal = self._refusal()
        if refusal is None:
            return
        self.error = refusal
        waits = self.expect_continue or self.chunked or self.content_length > SENT_ON_BYTES
        self.expect_continue = self.chunked = False
        self.body_rcv = None if waits else FixedStreamReceiver(self.content_length, _Discard())
        self.content_length = 0

    def received(self, data: bytes) -> int:
        """Take what came; returns how many bytes of it. A body in chunks tells its size only while it comes."""
        consumed: int = super().received(data)
        if self.chunked and self.body_bytes_received > MAX_BODY_BYTES and self.error is None:
            self.error, self.completed = _too_large(), True
        return consumed

    def _refusal(self) -> RefusalError | None:
        size = MAX_BODY_BYTES if self.chunked else self.content_length
        if size <= SMALL_BODY_BYTES:
            return None
        most = next((most for path, most in UPLOAD_PATHS.items() if self.path.endswith(path)), SMALL_BODY_BYTES)
        if size > most == MAX_BODY_BYTES:
            return _too_large()
        if size > most:
            return RefusalError(413, "Request Entity Too Large", f"this request may bring {most} bytes at most")
        if not self._room.take(size):
            text = "other images are being judged; nothing was done, send this one again in some seconds"
            return RefusalError(503, "Service Unavailable", text)
        self._taken = size
        return None

    def close(self) -> None:
        """Let the body go, and its room."""
        super().close()
        if self._taken is not None:
            self._room.give(self._taken)
            self._taken = None


def _too_large() -> RefusalError:
    text = f"the upload is over the limit of {MAX_FILE_BYTES // 2**20} MiB; send a smaller image"
    return RefusalError(413, "Request Entity Too Large", text)
