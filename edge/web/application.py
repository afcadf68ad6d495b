"""The Flask application, put together; nothing happens here but wiring."""

from __future__ import annotations

import secrets

from flask import Flask

from edge.config import StationConfig
from edge.preprocess import MAX_FILE_BYTES
from edge.web import api, commands, errors, export, guard, metrics, pages, pictures
from edge.web.station import Station
from edge.web.trial import Trials

FORM_OVERHEAD_BYTES = 16 * 1024  # multipart headers around a file of the largest size


def create_app(config: StationConfig) -> Flask:
    """The page of one station. The key that signs its cookie is made here and lives as long as the process."""
    app = Flask(__name__, template_folder="templates", static_folder="static")
    app.config.update(
        SECRET_KEY=secrets.token_bytes(32),
        MAX_CONTENT_LENGTH=MAX_FILE_BYTES + FORM_OVERHEAD_BYTES,
        SESSION_COOKIE_NAME="linewatch_page",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it, its base class does not
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    station = Station(config)
    app.extensions["linewatch_station"] = station
    app.extensions["linewatch_trials"] = Trials(station)
    guard.install(app, config.page.host)
    errors.install(app)
    for module in (pages, api, commands, export, metrics, pictures):
        app.register_blueprint(module.blueprint)
    return app
