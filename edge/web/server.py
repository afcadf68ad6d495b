"""waitress around the page: bind, serve until told to stop, stop cleanly."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType

import waitress

from edge.config import StationConfig
from edge.types import EdgeError
from edge.web.application import create_app

THREADS = 8
MAX_CONNECTIONS = 64
# More than the page takes, so that a file somewhat too large is refused in words; far more is cut off at once.
MAX_BODY_BYTES = 128 * 1024 * 1024


class WebError(EdgeError):
    """The page cannot be served."""


def serve(config: StationConfig) -> None:
    """Serve the page on config.page until SIGTERM or SIGINT; returns after the requests in flight.

    Must be called in the main thread. Raises WebError when the address cannot be used.
    """
    host, port = config.page.host, config.page.port
    logging.getLogger("waitress").setLevel(logging.ERROR)  # its banner and queue notices say nothing to an operator
    try:
        server = waitress.create_server(
            create_app(config),
            host=host,
            port=port,
            threads=THREADS,
            connection_limit=MAX_CONNECTIONS,
            max_request_body_size=MAX_BODY_BYTES,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
    except ValueError:  # how waitress says that the name does not resolve
        raise WebError(f"page.host: {host!r} is not an address of this computer; use 127.0.0.1") from None
    except OSError as error:
        reason = error.strerror or error
        raise WebError(f"the page cannot use {host}:{port} ({reason}); set another page.port or page.host") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        server.run()
    finally:
        server.close()


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)  # waitress takes it as the word to finish the requests in flight and return
