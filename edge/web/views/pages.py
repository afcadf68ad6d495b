"""The pages for people: the station, and one inspection in full."""

from __future__ import annotations

from flask import Blueprint, Response, abort, make_response, render_template

from edge.core.types import Reason
from edge.web.facts import inspection_facts, station_facts
from edge.web.guard import csrf_token
from edge.web.station import current_station
from edge.web.views.api import MAX_ID
from edge.web.views.parameters import chosen_query, selection, verdict
from edge.web.wording.facts import FACT_NAMES
from edge.web.wording.verdicts import no_picture

blueprint = Blueprint("pages", __name__)
TECHNICAL = ("threshold", "camera_rate", "cpu", "runtime", "recorder")  # of FACT_NAMES: shown behind Details
STAGES = {
    "grab": "Wait for the frame",
    "prepare": "Crop and resize",
    "infer": "Model",
    "decide": "Decide",
    "output": "Tell the line",
}


@blueprint.get("/")
def station() -> Response:
    """Show the station at a glance, kept fresh by static/station.js."""
    facts = station_facts(current_station())
    names = {"fact_names": FACT_NAMES, "technical": TECHNICAL}
    return _page(render_template("station.html", s=facts, token=csrf_token(), **names))


@blueprint.get("/wall")
def wall() -> Response:
    """Show verdict, picture and yield to a whole hall, kept fresh by static/wall.js."""
    return _page(render_template("wall.html", s=station_facts(current_station())))


@blueprint.get("/history")
def history() -> Response:
    """Show rows, charts and the table of any time, filled by static/report.js."""
    here = current_station()
    with here.history() as log:
        chain = log.head() if log else None
    names = {"chain": chain, "reasons": list(Reason), "token": csrf_token()}
    return _page(render_template("history.html", station=here.config.name, **names))


@blueprint.get(f"/inspections/<int(max={MAX_ID}):inspection_id>")
def inspection(inspection_id: int) -> Response:
    """Show one inspection: pictures, facts, timings, marked areas. Older and newer stay inside the filter."""
    here = current_station()
    wanted, chosen = verdict(), selection()
    with here.history() as log:
        row = log.get(inspection_id) if log else None
        older = next(iter(log.recent(1, inspection_id, wanted, chosen)), None) if log else None
        newer = log.next_after(inspection_id, wanted, chosen) if log else None
    if row is None:
        abort(404, f"there is no inspection {inspection_id} in the history")
    facts = inspection_facts(row, here)
    return _page(
        render_template(
            "inspection.html",
            i=facts,
            stages=STAGES,
            no_picture=no_picture(row, here.config.storage.ok_every),
            older_id=older.id if older else None,
            newer_id=newer.id if newer else None,
            filter=chosen_query(),
            station=here.config.name,
            token=csrf_token(),
        )
    )


def _page(html: str) -> Response:
    response = make_response(html)
    response.headers["Cache-Control"] = "no-store"
    return response
