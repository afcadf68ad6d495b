"""The connections of the page: every body, every peer and the page's own use of the CPU has a bound.

A request is admitted or refused by its head, before a byte of its body is kept. Bodies are kept in memory, never in
a file. A peer that stops moving is let go, and when all places are taken the one that has asked for nothing goes.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

from edge.inference.preprocess import MAX_FILE_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_CONNECTIONS = 160  # a browser opens six: twenty tablets, and room
UPLOADS = 3  # at once, so that most of the threads stay free
FORM_OVERHEAD_BYTES = 16 * 1024  # multipart headers around a file of the largest size
MAX_BODY_BYTES = MAX_FILE_BYTES + FORM_OVERHEAD_BYTES
PIECE_BYTES = 4 * 1024 * 1024  # of an uploaded bundle
UPLOAD_PATHS = {"/api/inspect": MAX_BODY_BYTES, "/api/bundles/upload": PIECE_BYTES}  # and what each may bring
SMALL_BODY_BYTES = 16 * 1024  # any request may bring so much
MAX_HEAD_BYTES = 32 * 1024
ROOM_BYTES = 80 * 1024 * 1024  # of all bodies together: one of the largest, or several photos
SENT_ON_BYTES = 128 * 1024 * 1024  # a refused body up to this size is read and thrown away, so that the words arrive
WAITING_BYTES = 512 * 1024  # of an answer that its reader has not taken yet
IDLE_S = 15
PATIENCE_S = 8.0
SLOWEST_BYTES_PER_S = 8 * 1024
RETRY_AFTER_S = 2
CPU_SHARE = 0.5  # of one core, over time
CPU_BURST_S = 1.0
LONGEST_PAUSE_S = 1.0


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


class CpuQuota:
    """Keeps the page to a share of one core, whatever asks it: a flood waits, and the inspection does not."""

    def __init__(self, share: float = CPU_SHARE, burst_s: float = CPU_BURST_S) -> None:
        self._lock = threading.Lock()
        self._share, self._burst_s = share, burst_s
        self._credit_s = burst_s
        self._at, self._used = time.monotonic(), time.process_time()

    def pause_s(self) -> float:
        """Return how long the next request has to wait, in s."""
        with self._lock:
            at, used = time.monotonic(), time.process_time()
            earned = (at - self._at) * self._share - (used - self._used)
            self._credit_s = min(self._burst_s, self._credit_s + earned)
            self._at, self._used = at, used
            return min(LONGEST_PAUSE_S, max(0.0, -self._credit_s / self._share))


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


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    def __init__(self, server: Server, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None) -> None:  # noqa: A002
        self.served_at = 0.0  # monotonic s, of the last whole request
        self._moved = 0  # bytes, both ways
        self._phase: tuple[object, ...] = ()
        self._mark = (0.0, 0)
        super().__init__(server, sock, addr, adj, map)

    def parser_class(self, adj: Adjustments) -> Parser:
        """Begin a request."""
        return Parser(adj, self.server.room)

    def recv(self, buffer_size: int) -> bytes:
        data: bytes = super().recv(buffer_size)
        self._moved += len(data)
        return data

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close)
        self._moved += sent
        return sent

    def service(self) -> None:
        """Carry out one request, when the page has CPU time left for it."""
        pause_s = self.server.quota.pause_s()
        if pause_s > 0:
            time.sleep(pause_s)
        super().service()
        self.served_at = time.monotonic()

    def handle_close(self) -> None:
        """Close the connection; a body that was on its way gives its room back."""
        super().handle_close()
        if self.request is not None:
            self.request.close()

    def writable(self) -> bool:
        """Return whether the loop has to send or to close; it would turn in circles for what a thread is sending."""
        if not self.requests or self.will_close or self.close_when_flushed:
            return bool(super().writable())
        waits: bool = self.total_outbufs_len > 0 and self.outbuf_lock.acquire(blocking=False)
        if waits:  # no thread is sending: the peer takes no more just now
            self.outbuf_lock.release()
        return waits

    def stands_still(self, now: float) -> bool:
        """Return whether a request or an answer has hardly moved for PATIENCE_S. now: monotonic s."""
        request, answering = self.request, self.total_outbufs_len > 0
        phase = (request, self.served_at, answering)
        if (request is None and not answering) or phase != self._phase:
            self._phase, self._mark = phase, (now, self._moved)
            return False
        since, before = self._mark
        if now - since < PATIENCE_S:
            return False
        self._mark = (now, self._moved)
        return self._moved - before < SLOWEST_BYTES_PER_S * PATIENCE_S

    def expel(self) -> None:
        """End the connection from the loop; a thread that waits for its reader goes on."""
        self.will_close = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """The page's server."""

    channel_class = Channel

    def __init__(
        self, application: WSGIApplication, listener: socket.socket, threads: int, scheme: str = "http"
    ) -> None:
        """Serve on a listening socket, from run() on; with https somebody else accepts there and calls take()."""
        self.room, self.quota = Room(), CpuQuota()
        self._fronted = scheme == "https"
        adj = Adjustments(
            sockets=[listener],
            threads=threads,
            connection_limit=2 * MAX_CONNECTIONS,  # the bound is handle_accept; this one stops accepting
            max_request_body_size=SENT_ON_BYTES + 1,  # what Parser lets through is smaller
            max_request_header_size=MAX_HEAD_BYTES,
            inbuf_overflow=2 * MAX_BODY_BYTES,  # never into a file
            outbuf_high_watermark=WAITING_BYTES,
            channel_timeout=IDLE_S,
            cleanup_interval=1,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
            ident=None,
            url_scheme=scheme,
        )
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(adj.threads)
        info = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(
            application, {}, True, listener, dispatcher=dispatcher, adj=adj, sockinfo=info, bind_socket=False
        )

    def readable(self) -> bool:
        """Return whether this server accepts connections itself; the loop asks it all the time."""
        accepts: bool = super().readable()
        return accepts and not self._fronted

    def take(self, peer: socket.socket, address: Any) -> None:
        """Serve a connection that somebody else accepted, from the loop; may be called from any thread."""

        def begin() -> None:
            self._make_room()
            self.channel_class(self, peer, address, self.adj, map=self._map)

        self.trigger.pull_trigger(begin)

    def handle_accept(self) -> None:
        """Take a connection."""
        self._make_room()
        super().handle_accept()

    def _make_room(self) -> None:
        """Let a connection go when all places are taken: the one that was served longest ago, or never."""
        idle = [channel for channel in self.active_channels.values() if not channel.requests and not channel.will_close]
        if len(self.active_channels) >= MAX_CONNECTIONS and idle:
            min(idle, key=lambda channel: (channel.served_at, channel.creation_time)).expel()

    def maintenance(self, now: float) -> None:
        """Let idle connections go, and those that stand still."""
        super().maintenance(now)
        moment = time.monotonic()
        for channel in list(self.active_channels.values()):
            if channel.stands_still(moment):
                channel.expel()
