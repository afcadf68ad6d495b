"""The page as a child process of the engine: started with it, restarted when it dies, gone when the engine is gone.

Beside it runs `edge bundle attend` for as long as the page wishes something. On a station systemd starts both.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from edge.config.station import PageConfig
from edge.engine import EngineError
from edge.exchange.bundle_desk import wish_waits

BACKOFF_S = (1.0, 30.0)
ATTEND_EVERY_S = 0.5
STARTS_WITHIN_S = 30.0
PORT_FREE_WITHIN_S = 2.0  # the page of an engine that was killed goes within a second

log = logging.getLogger(__name__)


class PageProcess:
    """`python -m edge page`, seen from the engine."""

    def __init__(self, config_file: Path, page: PageConfig, wishes: Path | None = None) -> None:
        """wishes: where the page leaves its wishes about bundles; None: nobody here carries them out."""
        self._config_file = config_file
        self._page = page
        self._wishes = wishes
        self._desk: subprocess.Popen[bytes] | None = None
        self._attended_at = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._backoff_s = BACKOFF_S[0]
        self._started_at = 0.0
        self._restart_at: float | None = None

    @property
    def url(self) -> str:
        """The page's address in a browser."""
        host = f"[{self._page.host}]" if ":" in self._page.host else self._page.host
        return f"{self._page.scheme}://{host}:{self._page.port}"

    def start(self) -> None:
        """Start the child; raises EngineError when its port is taken, before anything is started."""
        self._check_port()
        self._spawn()

    def _check_port(self) -> None:
        give_up = time.monotonic() + PORT_FREE_WITHIN_S
        while (problem := _cannot_bind(self._page)) is not None:
            if time.monotonic() > give_up:
                address = f"{self._page.host}:{self._page.port}"
                raise EngineError(f"the page cannot use {address} ({problem}); set another page.port or page.host")
            time.sleep(0.1)

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "edge", "page", "--config", str(self._config_file)]
        # A group of its own: Ctrl-C in the terminal reaches the engine only, which then stops the page. No session of
        # its own: Linux gives each session the same share of the CPU (autogroup), whatever the page's priority is.
        self._child = subprocess.Popen([*command, "--engine-pid", str(os.getpid())], process_group=0)
        self._started_at = time.monotonic()
        self._restart_at = None

    def answers(self) -> bool:
        """Return True when /healthz answers; raises EngineError when the page died or takes too long to start."""
        if self._child is None or self._child.poll() is not None:
            raise EngineError("the page stopped while starting; its message is above")
        if time.monotonic() - self._started_at > STARTS_WITHIN_S:
            raise EngineError(f"the page did not answer within {STARTS_WITHIN_S:g} s; start it alone to see why")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._page.host, self._page.host)  # noqa: S104
        connection = http.client.HTTPConnection(host, self._page.port, timeout=2.0)
        if self._page.tls:
            whoever = ssl.create_default_context()  # the child's own certificate: it is asked whether it lives, no more
            whoever.check_hostname, whoever.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, self._page.port, timeout=2.0, context=whoever)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def check(self) -> None:
        """Start the page again, with a back-off, when it died; call it from the main loop."""
        now = time.monotonic()
        if now - self._attended_at > ATTEND_EVERY_S:
            self._attended_at = now
            self._attend()
        if self._child is not None and (status := self._child.poll()) is not None:
            shortest, longest = BACKOFF_S
            lasted = now - self._started_at
            self._backoff_s = shortest if lasted > longest else min(2 * self._backoff_s, longest)
            self._child = None
            self._restart_at = now + self._backoff_s
            log.error("the page died (exit status %s); starting it again in %g s", status, self._backoff_s)
        elif self._restart_at is not None and now >= self._restart_at:
            self._spawn()

    def _attend(self) -> None:
        """Have a wish of the page about bundles carried out, by one process at a time."""
        free = self._desk is None or self._desk.poll() is not None
        if free and self._wishes is not None and wish_waits(self._wishes):
            command = [sys.executable, "-m", "edge", "bundle", "attend", "--config", str(self._config_file)]
            self._desk = subprocess.Popen(command, process_group=0)

    def stop(self) -> None:
        """End the children that there are."""
        for child in (self._child, self._desk):
            if child is None:
                continue
            child.terminate()
            try:
                child.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._child = self._desk = None


def _cannot_bind(page: PageConfig) -> str | None:
    """Return why the page's address cannot be used; None when it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(page.host, page.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None
