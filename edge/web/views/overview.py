"""One page over several engines: a tile for each engine, and its own page below /stations/NAME."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, render_template

from edge import __version__
from edge.web.answers import Answers
from edge.web.facts import station_view
from edge.web.guard import csrf_token
from edge.web.service.notices import notices
from edge.web.station import Station
from edge.web.views.monitoring import CONTENT_TYPE, up_lines

blueprint = Blueprint("overview", __name__)
PREFIX = "/stations/"


class Hall:
    """The stations of this page by their place in the address."""

    def __init__(self, stations: Iterable[Station]) -> None:
        self.instance = secrets.token_hex(8)
        self.answers = Answers()
        self.stations: dict[str, Station] = {}
        for station in stations:
            self.stations[self._place(station.config.name)] = station

    def _place(self, name: str) -> str:
        """Make an address of the name's letters and digits; a second station of that name gets a number."""
        word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "station"
        number = 2
        place = word
        while PREFIX + place in self.stations:
            place, number = f"{word}-{number}", number + 1
        return PREFIX + place


@blueprint.get("/")
def overview() -> Response:
    """Show all stations at a glance, kept fresh by static/overview.js."""
    response = Response(render_template("overview.html", stations=_tiles(), token=csrf_token()))
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/api/stations")
def stations() -> Response:
    """Answer with the state of every station and the address of its own page; 304 as at /api/status."""
    hall = _hall()
    stamps = tuple(station.stamp() for station in hall.stations.values())

    def facts() -> dict[str, Any]:
        return {"version": __version__, "instance": hall.instance, "stations": _tiles()}

    return hall.answers.give(stamps, facts, _lasting)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer whether each engine lives; its own numbers are at /stations/NAME/metrics."""
    engines = {place: station.engine() for place, station in _hall().stations.items()}
    response = Response(up_lines(engines), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 as long as the page works; each engine's state is a word inside."""
    engines = {place: station.engine().state.value for place, station in _hall().stations.items()}
    response = jsonify(page="ok", engines=engines)
    response.headers["Cache-Control"] = "no-store"
    return response


def _hall() -> Hall:
    return cast("Hall", current_app.extensions["linewatch_hall"])


def _lasting(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts without when a living engine was seen last."""
    return facts | {
        "stations": [tile | {"last_seen": tile["alive"] or tile["last_seen"]} for tile in facts["stations"]]
    }


def _tiles() -> list[dict[str, Any]]:
    return [_tile(place, station) for place, station in _hall().stations.items()]


def _tile(place: str, station: Station) -> dict[str, Any]:
    seen = station_view(station)
    health = seen.engine.health
    return {
        "name": health.station if health else station.config.name,
        "path": place,
        "display": seen.words.facts(),
        "alive": seen.engine.alive,
        "live": seen.now,  # whether the picture is of now
        "detail": seen.latest.detail if seen.latest else seen.engine.detail,
        "last_seen": seen.engine.last_seen.isoformat(timespec="seconds") if seen.engine.last_seen else None,
        "part": seen.latest.id if seen.latest else None,
        "counts": health.counts if health else {"OK": 0, "NG": 0, "ERROR": 0},
        "p99_ms": health.latency.p99_ms if health and health.latency else None,
        "deadline_ms": station.config.inspection.deadline_ms,
        "notices": [n.title for n in notices(health) if n.level != "hint"] if health and seen.engine.alive else [],
        # Of the part on show; a new picture has a new address, so that the browser fetches each one once.
        "picture": f"{place}/shown/{seen.picture.key}/live.jpg" if seen.picture else None,
    }
