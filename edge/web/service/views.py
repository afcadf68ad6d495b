"""The page Service: last faults with their remedies, checks, storage, course, versions, diagnostics."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template

from edge.web.access.gate import record
from edge.web.guard import csrf_token
from edge.web.service.checks import current_checks, replayed
from edge.web.service.diagnostics import diagnostics, file_name, storage_facts, version_facts
from edge.web.service.faults import last_faults
from edge.web.service.trial import TrialError, current_trials
from edge.web.station import current_station
from edge.web.views.api import never_stored
from edge.web.views.reviews import given_fields, given_number

blueprint = Blueprint("service", __name__)
blueprint.after_request(never_stored)


@blueprint.get("/service")
def service_page() -> Response:
    """Show what went wrong and what to do, kept fresh by static/service.js."""
    name = current_station().config.name
    return make_response(render_template("service.html", station=name, s=_facts(), token=csrf_token()))


@blueprint.get("/api/service")
def service() -> Response:
    """Answer with the last faults, storage, versions, and the last check of the history."""
    return jsonify(_facts())


@blueprint.post("/api/verify")
def verify() -> Response | tuple[Response, int]:
    """Begin to follow the chain of the history; /api/service tells the outcome (`verification`)."""
    record("check of the history")
    checks = current_checks()
    if not checks.verify():
        return jsonify(error="a check of the history runs already; wait for its result", **_state()), 409
    return jsonify(_state())


@blueprint.post("/api/replay")
def judge_again() -> Response | tuple[Response, int]:
    """Judge the stored picture of `part` again and compare the scores; nothing is told to the line or stored."""
    part = given_number(given_fields(), "part")
    record("replay", "", f"part {part}")
    try:
        return jsonify(replayed(current_station(), current_trials(), part))
    except TrialError as error:
        return jsonify(error=str(error)), error.status


@blueprint.get("/diagnostics.zip")
def download() -> Response:
    """Send what somebody needs who helps from afar, without a secret."""
    station = current_station()
    response = Response(diagnostics(station), content_type="application/zip")
    response.headers["Content-Disposition"] = f"attachment; filename={file_name()}"
    return response


def _facts() -> dict[str, Any]:
    station = current_station()
    health = station.engine().health
    return {
        "faults": last_faults(station),
        "storage": storage_facts(station, health),
        "versions": version_facts(health),
        **_state(),
        "last_part": health.last_id if health else 0,
    }


def _state() -> dict[str, Any]:
    return {"verification": current_checks().verification()}
