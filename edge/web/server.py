"""The page's applications and its process: put together, bound, served until told to stop."""

from __future__ import annotations

import argparse
import io
import logging
import os
import secrets
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from flask import Flask, Request
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from edge.config.load import load_config
from edge.config.station import PageConfig, StationConfig
from edge.core.types import EdgeError
from edge.web import guard
from edge.web.access import gate
from edge.web.access.bodies import MAX_BODY_BYTES
from edge.web.access.certificate import tls_context
from edge.web.access.connections import Server
from edge.web.access.gate import Access
from edge.web.access.tls import TlsFront
from edge.web.service import views as service
from edge.web.service.checks import Checks
from edge.web.service.trial import Trials
from edge.web.setup import bundles, commissioning
from edge.web.setup.upload import Upload
from edge.web.shift import views as shift
from edge.web.station import Station
from edge.web.views import (
    api,
    commands,
    downloads,
    errors,
    limit,
    monitoring,
    openapi,
    overview,
    pages,
    people,
    reviews,
)
from edge.web.views.overview import Hall
from edge.web.wording import language

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREAD = "engine-watch"
THREADS = 8
NICENESS = 19  # the page takes what the inspection leaves of the CPU

log = logging.getLogger(__name__)


class WebError(EdgeError):
    """The page cannot be served."""


class InMemory(Request):
    """A request whose files are never put on the disk; the connections bound how large they are together."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


class Cookies(SecureCookieSessionInterface):
    """The signed cookies of an application, whose key never changes: one signer serves all requests."""

    def __init__(self) -> None:
        self._signer: URLSafeTimedSerializer | None = None

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return the signer; threads may share it."""
        if self._signer is None:
            self._signer = super().get_signing_serializer(app)
        return self._signer


class Page(Flask):
    """The application of one station, or of the overview."""

    request_class = InMemory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
    parser.add_argument("--engine-pid", type=int, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page as `edge page` does; returns the exit status."""
    config = load_config(arguments.config)
    if arguments.engine_pid is not None:
        follow_engine(arguments.engine_pid)
    serve(config)
    return 0


def create_page(config: StationConfig, access: Access | None = None) -> WSGIApplication:
    """Return the page of this station, or an overview with a page for each station that page.stations names.

    Raises ConfigError when one of their files cannot be used.
    """
    others = [load_config(path) for path in config.page.stations]
    if not others:
        return create_app(config, access)
    key = secrets.token_bytes(32)  # one cookie for all: they share a host
    access = access or Access.of(config)  # and one list of people
    hall = Hall(Station(one) for one in (config, *others))
    top = _flask(key, config.page.tls)
    top.extensions["linewatch_hall"] = hall
    guard.install(top, config.page.host)
    gate.install(top, access, config.name)
    language.install(top, config)
    errors.install(top)
    for module in (overview, people):
        top.register_blueprint(module.blueprint)
    slow = guard.slow_turns()
    below = {place: _station_app(station, key, config.page, slow, access) for place, station in hall.stations.items()}
    for app in below.values():
        app.config["OVERVIEW"] = "/"
    return DispatcherMiddleware(top, {place: app.wsgi_app for place, app in below.items()})


def create_app(config: StationConfig, access: Access | None = None) -> Flask:
    """Return the page of one station. The key that signs its cookie lives as long as the process."""
    key, slow = secrets.token_bytes(32), guard.slow_turns()
    return _station_app(Station(config), key, config.page, slow, access or Access.of(config))


def _station_app(
    station: Station, key: bytes, page: PageConfig, slow: threading.BoundedSemaphore, access: Access
) -> Flask:
    app = _flask(key, page.tls)
    app.extensions["linewatch_station"] = station
    app.extensions["linewatch_trials"] = Trials(station)
    app.extensions["linewatch_upload"] = Upload(station.config)
    app.extensions["linewatch_checks"] = Checks(station)
    guard.install(app, page.host)
    gate.install(app, access, station.config.name)
    language.install(app, station.config)
    guard.few_at_once(app, slow)
    errors.install(app)
    later = (shift, service, bundles, commissioning)
    for module in (pages, api, commands, monitoring, downloads, openapi, people, reviews, limit, *later):
        app.register_blueprint(module.blueprint)
    return app


def _flask(key: bytes, tls: bool) -> Flask:
    app = Page(__name__, template_folder="templates", static_folder="static")
    app.session_interface = Cookies()
    app.config.update(
        SECRET_KEY=key,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SESSION_COOKIE_NAME="linewatch_page",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=tls,
        OVERVIEW=None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it, its base class does not
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    return app


def serve(config: StationConfig) -> None:
    """Serve the page on config.page until SIGTERM or SIGINT; returns after the requests in flight.

    Must be called in the main thread. Raises WebError when the address cannot be used,
    ConfigError when a file of page.stations cannot.
    """
    access = Access.of(config)
    code = gate.check_people(access, config.page.host)
    if code is not None:
        log.info("nobody is set up, so the page asks nobody who they are; code for the first engineer: %s", code)
    page = create_page(config, access)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # its banner and queue notices say nothing to an operator
    with _listen(config.page.host, config.page.port) as listener:
        server = Server(page, listener, THREADS, config.page.scheme)
        if config.page.tls:
            context, shown = tls_context(config)
            access.fingerprint = shown
            log.info("the page's certificate has the SHA-256 fingerprint %s", shown)
            TlsFront(listener, context, server.take).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            server.run()
        finally:
            server.close()


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; IPv4 comes first where the host has both."""
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


def follow_engine(engine_pid: int) -> None:
    """Lower this process's priority below the engine's, and end it when the engine is gone, however it ended."""
    os.nice(NICENESS)
    with suppress(OSError):  # a sandbox may know no such policy; the priority and the quota remain
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # it never interrupts a thread of the engine

    def watch() -> None:
        with suppress(ProcessLookupError):  # gone already
            engine = os.pidfd_open(engine_pid)
            if os.getppid() == engine_pid:
                select.select([engine], [], [])  # returns when it has ended: a person is told without delay
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name=THREAD, daemon=True).start()
