"""The JSON interface, for the page's own scripts and for other programs alike."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from flask import Blueprint, Response, abort, jsonify, request

from edge.core.types import Inspection
from edge.history.rows import Selection
from edge.web.access.bodies import RETRY_AFTER_S
from edge.web.access.gate import record
from edge.web.facts import Facts, inspection_facts, lasting, station_facts
from edge.web.review.likeness import reference_facts
from edge.web.service.trial import TrialError, current_trials
from edge.web.shift.report import last_hours, numbers_of, shift_in_numbers
from edge.web.station import Station, current_station
from edge.web.views.parameters import flag, moment, number, selection, verdict

blueprint = Blueprint("api", __name__, url_prefix="/api")
MAX_LIMIT = 200
MAX_DAYS = 31
SHIFT_HOURS = 8
MAX_ID = 2**63 - 1  # what a row's number can be


@blueprint.after_request
def never_stored(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@blueprint.get("/status")
def status() -> Response:
    """Answer with the engine's state, the last verdict, its picture and the counters of one moment.

    With ?raw=1 the picture is the untouched one, and with ?inline=1 it is in the answer itself. Who sends the ETag that
    they got in If-None-Match gets 304 while a person would see nothing new.
    """
    station, raw, inline = current_station(), flag("raw", False), flag("inline", False)
    return station.answers.give(station.stamp(), lambda: station_facts(station, raw, inline), lasting)


@blueprint.get("/inspections")
def inspections() -> Response:
    """List rows, newest first. limit 1..200, before and after bound the id; verdict, reason, from and to filter.

    With ?inline=1 the small picture of each row is in the answer itself.
    """
    limit, inline = number("limit", 50, 1, MAX_LIMIT), flag("inline", False)
    before = number("before", 0, 1, MAX_ID) if "before" in request.args else None
    after = number("after", 0, 0, MAX_ID)
    wanted, chosen = verdict(), selection()
    station = current_station()

    def facts() -> Facts:
        with station.history() as log:
            rows = log.recent(limit + 1, before, wanted, chosen, after) if log else []
        found = [inspection_facts(row, station, inline) for row in rows[:limit]]
        return {"inspections": found, "next_before": rows[limit - 1].id if len(rows) > limit else None}

    return station.answers.give(station.rows_stamp(), facts)


@blueprint.get(f"/inspections/<int(max={MAX_ID}):inspection_id>")
def inspection(inspection_id: int) -> Response:
    """Answer with one row by its number."""
    station = current_station()
    return jsonify(inspection_facts(_row(station, inspection_id), station))


@blueprint.get(f"/inspections/<int(max={MAX_ID}):inspection_id>/reference")
def reference(inspection_id: int) -> Response:
    """Answer with the good picture that looks most like this part's; `address` is null when there is none."""
    station = current_station()
    return jsonify(reference_facts(station, _row(station, inspection_id)))


def _row(station: Station, inspection_id: int) -> Inspection:
    with station.history() as log:
        row = log.get(inspection_id) if log else None
    if row is None:
        abort(404, f"there is no inspection {inspection_id} in the history")
    return row


@blueprint.get("/report")
def shift_report() -> Response:
    """Report verdicts, scores and latencies from `from` to before `to`; the last 8 hours by default.

    verdict and reason choose rows as in the list.
    """
    wanted, reason = verdict(), selection().reason
    start, end = last_hours(SHIFT_HOURS)
    start, end = moment("from") or start, moment("to") or end
    if not timedelta(0) < end - start <= timedelta(days=MAX_DAYS):
        abort(400, f"to: must be later than from, by at most {MAX_DAYS} days")
    station = current_station()
    with station.history() as log:
        chosen = Selection(start, end, reason)
        facts = (
            numbers_of(log, chosen, wanted, start, end) if log else shift_in_numbers((), start, end) | {"sampled": None}
        )
        every = wanted is None and reason is None
        of = facts["total"] if every or log is None else sum(log.tally(Selection(start, end)).values())
    return jsonify(facts | {"of": of, "deadline_ms": station.config.inspection.deadline_ms})


@blueprint.post("/inspect")
def inspect() -> Response | tuple[Response, int]:
    """Judge the uploaded multipart field `image`; with ?heatmap=0 the answer carries no picture.

    A trial: nothing is told to the line and nothing is stored.
    """
    heatmap = flag("heatmap", True)
    files = request.files.getlist("image")
    if len(files) != 1:
        abort(400, f"image: send exactly one file in this multipart field, got {len(files)}")
    record("trial of an image")
    try:
        return jsonify(current_trials().inspect(files[0].read(), "image", heatmap))
    except TrialError as error:
        answer = jsonify(error=str(error))
        if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            answer.headers["Retry-After"] = str(RETRY_AFTER_S)
        return answer, error.status
