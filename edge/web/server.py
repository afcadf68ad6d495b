"""waitress around the page: bind, serve until told to stop, stop cleanly."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from types import FrameType

import waitress

from edge.config.station import StationConfig
from edge.core.types import EdgeError
from edge.web.application import create_page

THREADS = 8
MAX_CONNECTIONS = 64
# More than the page takes, so that a file somewhat too large is refused in words; far more is cut off at once.
MAX_BODY_BYTES = 128 * 1024 * 1024


class WebError(EdgeError):
    """The page cannot be served."""


def serve(config: StationConfig) -> None:
    """Serve the page on config.page until SIGTERM or SIGINT; returns after the requests in flight.

    Must be called in the main thread. Raises WebError when the address cannot be used,
    ConfigError when a file of page.stations cannot.
    """
    page = create_page(config)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # its banner and queue notices say nothing to an operator
    with _listen(config.page.host, config.page.port) as listener:
        server = waitress.create_server(
            page,
            sockets=[listener],
            threads=THREADS,
            connection_limit=MAX_CONNECTIONS,
            max_request_body_size=MAX_BODY_BYTES,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            server.run()
        finally:
            server.close()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, IPv4 where the name has both."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise WebError(f"page.host: {host!r} is not the name of a computer; use 127.0.0.1") from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
    try:
        return socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise WebError(f"the page cannot use {host}:{port} ({reason}); set another page.port or page.host") from None


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)  # waitress takes it as the word to finish the requests in flight and return
