"""The Flask applications, put together; nothing happens here but wiring."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.inference.preprocess import MAX_FILE_BYTES
from edge.web import guard
from edge.web.station import Station
from edge.web.trial import Trials
from edge.web.views import api, commands, downloads, errors, export, monitoring, overview, pages
from edge.web.views.overview import Hall

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

FORM_OVERHEAD_BYTES = 16 * 1024  # multipart headers around a file of the largest size


def create_page(config: StationConfig) -> WSGIApplication:
    """The page of this station, or an overview with a page for each where page.stations names others.

    Raises ConfigError when one of their files cannot be used.
    """
    others = [load_config(path) for path in config.page.stations]
    if not others:
        return create_app(config)
    key = secrets.token_bytes(32)  # one cookie for all: they share a host
    hall = Hall(Station(one) for one in (config, *others))
    top = _flask(key)
    top.extensions["linewatch_hall"] = hall
    guard.install(top, config.page.host)
    errors.install(top)
    top.register_blueprint(overview.blueprint)
    below = {place: _station_app(station, key, config.page.host) for place, station in hall.stations.items()}
    for app in below.values():
        app.config["OVERVIEW"] = "/"
    return DispatcherMiddleware(top, {place: app.wsgi_app for place, app in below.items()})


def create_app(config: StationConfig) -> Flask:
    """The page of one station. The key that signs its cookie is made here and lives as long as the process."""
    return _station_app(Station(config), secrets.token_bytes(32), config.page.host)


def _station_app(station: Station, key: bytes, host: str) -> Flask:
    app = _flask(key)
    app.extensions["linewatch_station"] = station
    app.extensions["linewatch_trials"] = Trials(station)
    guard.install(app, host)
    errors.install(app)
    for module in (pages, api, commands, export, monitoring, downloads):
        app.register_blueprint(module.blueprint)
    return app


def _flask(key: bytes) -> Flask:
    app = Flask(__name__, template_folder="templates", static_folder="static")
    app.config.update(
        SECRET_KEY=key,
        MAX_CONTENT_LENGTH=MAX_FILE_BYTES + FORM_OVERHEAD_BYTES,
        SESSION_COOKIE_NAME="linewatch_page",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        OVERVIEW=None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it, its base class does not
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    return app
