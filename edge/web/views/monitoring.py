"""Routes for monitoring: /metrics in the Prometheus text format, /healthz for a probe."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, jsonify

from edge.exchange.health import METRICS
from edge.web.station import EngineView, current_station

blueprint = Blueprint("metrics", __name__)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer whether the engine lives, and with its metrics while it does.

    The numbers of a dead engine are left out: a gauge that stands still looks like one that is steady.
    """
    station = current_station()
    engine = station.engine()
    parts = [up_lines({"": engine})]
    if engine.alive:
        path = station.config.run_dir / METRICS
        parts.append(path.read_text(encoding="utf-8").rstrip("\n") + "\n" if path.is_file() else "")
    response = Response("".join(parts), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def up_lines(engines: Mapping[str, EngineView]) -> str:
    """Return whether each engine lives, as metrics; its station's place becomes a label, an empty place none."""
    lines = [
        "# HELP linewatch_engine_up 1 while the engine reports, 0 when it is dead or silent.",
        "# TYPE linewatch_engine_up gauge",
        *(f"linewatch_engine_up{_label(place)} {int(engine.alive)}" for place, engine in engines.items()),
    ]
    ages = {place: engine.age_s for place, engine in engines.items() if engine.age_s is not None}
    if ages:
        lines += [
            "# HELP linewatch_engine_report_age_seconds Age of the engine's last report.",
            "# TYPE linewatch_engine_report_age_seconds gauge",
            *(f"linewatch_engine_report_age_seconds{_label(place)} {age:.3f}" for place, age in ages.items()),
        ]
    return "\n".join(lines) + "\n"


def _label(place: str) -> str:
    return f'{{station="{place}"}}' if place else ""  # letters, digits, dashes and slashes: nothing to escape


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 as long as the page works; the engine's state is a word inside."""
    response = jsonify(page="ok", engine=current_station().engine().state.value)
    response.headers["Cache-Control"] = "no-store"
    return response
