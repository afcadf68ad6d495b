"""TLS in front of the page's server: one thread that encrypts and decrypts, and hands each connection on.

The server sees each connection as if it had accepted it, with its peer's address. So everything that bounds bodies,
slow peers and the number of connections holds here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

THREAD = "page-tls"
HANDSHAKE_WITHIN_S = 5.0
MOST = 192  # connections, those in the middle of a handshake included
PIECE_BYTES = 64 * 1024

Take = Callable[[socket.socket, Any], None]  # serves a plain connection from this peer's address; from any thread


class TlsFront:
    """Accepts TLS on a listening socket and hands plain connections on."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, take: Take) -> None:
        self._listener, self._context, self._take = listener, context, take
        self._open = 0

    def start(self) -> None:
        """Accept from now on, in a thread of its own that ends with the process."""
        self._listener.setblocking(False)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # a peer that breaks off is none of ours
        threading.Thread(target=lambda: asyncio.run(self._accept()), name=THREAD, daemon=True).start()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        while True:
            try:
                peer, address = await loop.sock_accept(self._listener)
            except OSError:  # no descriptor is left, or the peer has gone already
                await asyncio.sleep(0.1)
                continue
            if self._open >= MOST:
                peer.close()
                continue
            self._open += 1
            task = loop.create_task(self._carry(peer, address))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _carry(self, peer: socket.socket, address: Any) -> None:
        """Carry one connection from its handshake to its end."""
        writers: list[asyncio.StreamWriter] = []
        try:
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                outside, out = await self._shake_hands(peer)
                writers.append(out)
                ours, theirs = socket.socketpair()
                self._take(theirs, address)
                inside, into = await asyncio.open_connection(sock=ours, limit=PIECE_BYTES)
                writers.append(into)
                ways = [asyncio.create_task(_pump(outside, into)), asyncio.create_task(_pump(inside, out))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if ways[0].done():  # the peer has said all: what the server still answers is sent
                    await asyncio.wait(ways, timeout=HANDSHAKE_WITHIN_S)
                for way in ways:
                    way.cancel()
        finally:
            self._open -= 1
            for writer in writers:
                writer.close()
            if not writers:
                peer.close()

    async def _shake_hands(self, peer: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=PIECE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            peer,
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
            ssl_shutdown_timeout=1.0,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass bytes on until the source ends; a target that takes none holds the source up."""
    with contextlib.suppress(OSError):
        while data := await source.read(PIECE_BYTES):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
