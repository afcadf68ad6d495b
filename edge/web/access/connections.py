"""The connections of the page: every peer and the page's own use of the CPU has a bound, as every body has (bodies.py).

A peer that stops moving is let go, and when all places are taken the one that has asked for nothing goes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from edge.web.access.bodies import MAX_BODY_BYTES, MAX_HEAD_BYTES, SENT_ON_BYTES, Parser, Room

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_CONNECTIONS = 160  # a browser opens six: twenty tablets, and room
WAITING_BYTES = 512 * 1024  # of an answer that its reader has not taken yet
IDLE_S = 15
PATIENCE_S = 8.0
SLOWEST_BYTES_PER_S = 8 * 1024
CPU_SHARE = 0.5  # of one core, over time
CPU_BURST_S = 1.0
LONGEST_PAUSE_S = 1.0


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
