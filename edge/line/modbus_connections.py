"""The connections of the Modbus TCP server: so many at once, none silent for ever, none with an unread pile."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from typing import Any, cast

from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler

MAX_CONNECTIONS = 32
SPEAKS_WITHIN_S = 10.0  # a connection that never asked anything
SILENT_FOR_S = 600.0  # a connection that asked something once
POLLS_WITHIN_S = 5.0  # a client that asks so often keeps its place
LOOKS_EVERY_S = 1.0
MAX_QUESTIONS = 64  # of one client that are not answered yet
PIECE = 64  # bytes that are looked at together; a question has 12 or so
UNREAD_BYTES = 16384  # of answers that wait for a client, in the kernel and again here: more than 60 of the longest
# A client whose cable is cut is found within a minute, however seldom it asks.
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}

log = logging.getLogger(__name__)


class Connection(ServerRequestHandler):
    """One client of the server."""

    def __init__(self, owner: BoundedServer) -> None:
        super().__init__(owner, None, None, None)  # type: ignore[no-untyped-call]
        self._owner = owner
        self._asked: deque[ModbusPDU] = deque()
        self.spoke = False  # True when one request was whole
        self.heard_at = time.monotonic()  # of the last whole request, or of the connection's start

    def callback_connected(self) -> None:
        super().callback_connected()
        peer = cast(asyncio.Transport, self.transport).get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            peer.setsockopt(socket.IPPROTO_TCP, option, value)
        self._owner.make_room(self)

    def data_received(self, data: bytes) -> None:
        """Take every question in the data: pymodbus takes one at a time, and would drop the others."""
        for start in range(0, len(data), PIECE):
            super().data_received(data[start : start + PIECE])
            left = 0
            while self.transport and self.recv_buffer and len(self.recv_buffer) != left:
                left = len(self.recv_buffer)
                super().data_received(b"")

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        used = int(super().callback_data(data, addr))
        if self.last_pdu:
            self.spoke, self.heard_at = True, time.monotonic()
            self._asked.append(self.last_pdu)
            if len(self._asked) > MAX_QUESTIONS:
                self.hang_up()
        return used

    async def handle_request(self) -> None:
        """Answer the oldest question; pymodbus would answer the newest one, once for each."""
        if self._asked:
            self.last_pdu = self._asked.popleft()
            await super().handle_request()  # type: ignore[no-untyped-call]

    def send(self, data: bytes, addr: tuple[Any, ...] | None = None) -> None:
        if self.transport and cast(asyncio.Transport, self.transport).get_write_buffer_size() > UNREAD_BYTES:
            self.hang_up()
            return
        begun = self.recv_buffer  # of the next question; pymodbus drops it
        super().send(data, addr)
        self.recv_buffer = begun

    def due(self, now: float) -> bool:
        """Return True when the client was silent for too long."""
        return now - self.heard_at > (SILENT_FOR_S if self.spoke else SPEAKS_WITHIN_S)

    def hang_up(self) -> None:
        """End the connection at once, whether or not the client reads."""
        transport = cast("asyncio.Transport | None", self.transport)
        self.close()
        if transport is not None:
            transport.abort()


class BoundedServer(ModbusTcpServer):
    """A server with a bounded number of connections, so that no number of clients takes the engine's files.

    When there are too many, one goes that never asked anything, or else the one that is silent for longest. A PLC that
    polls keeps its place; when every one polls, the newest goes.
    """

    _full = False

    def callback_new_connection(self) -> Connection:
        return Connection(self)

    def make_room(self, newest: Connection) -> None:
        """End the least active connection when there are too many."""
        found = self._connections()
        if len(found) > MAX_CONNECTIONS:
            if not self._full:
                log.warning("modbus: more than %d connections; the least active ones are ended", MAX_CONNECTIONS)
            self._full = True
            least = min((one for one in found if one is not newest), key=lambda one: (one.spoke, one.heard_at))
            polls = least.spoke and newest.heard_at - least.heard_at < POLLS_WITHIN_S
            (newest if polls else least).hang_up()

    async def end_the_silent(self) -> None:
        """Look for connections that are silent for too long, for ever."""
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            now = time.monotonic()
            for connection in self._connections():
                if connection.due(now):
                    connection.hang_up()
            if self._full and len(self._connections()) < MAX_CONNECTIONS:
                self._full = False

    def _connections(self) -> list[Connection]:
        return [cast(Connection, one) for one in self.active_connections.values()]
