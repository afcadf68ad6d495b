"""Files to load: the live picture, stored pictures, and the history as a table for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from flask import Blueprint, Response, abort, g, request, send_file

from edge.core.types import Inspection, Verdict
from edge.history.csv_export import as_csv
from edge.history.rows import Selection
from edge.web.guard import Turn
from edge.web.review.export import zipped
from edge.web.review.likeness import good_references, running_bundle
from edge.web.station import Station, current_station
from edge.web.views.api import MAX_ID
from edge.web.views.parameters import flag, selection, verdict

Piece = TypeVar("Piece", str, bytes)
blueprint = Blueprint("downloads", __name__)
CSV_TYPE = "text/csv; charset=utf-8"
MAX_REFERENCE = 9999
SMALL_BYTES = 128 * 1024  # a picture up to this size is read at once, which costs less than sending it as a file
KEPT_S = 24 * 3600  # a picture of a bundle never changes


@blueprint.get("/live.jpg")
def live() -> Response:
    """Send the newest frame with heatmap and outline, or untouched with ?raw=1. An unchanged picture answers 304."""
    path = current_station().latest_picture(raw=flag("raw", False))
    return _jpeg(path, "private, no-cache", "there is no live picture yet; the engine writes one with its first part")


@blueprint.get("/shown/<id>/live.jpg")
def held(id: str) -> Response:  # noqa: A002  # as the document names it
    """Send the live picture that /api/status gave out a moment ago."""
    found = current_station().held(flag("raw", False), id)
    if found is None:
        abort(404, "this live picture is not held any more; ask for the status again")
    return Response(found.jpeg, mimetype="image/jpeg", headers={"Cache-Control": "no-store"})


@blueprint.get(f"/pictures/<int(max={MAX_ID}):inspection_id>/<any(frame, heat, thumb, class):kind>")
def stored(inspection_id: int, kind: str) -> Response:
    """Send one stored picture: kind is frame, heat, thumb or class.

    A browser that holds one asks whether it is still this one: the part of this number may be one of another history.
    """
    path = current_station().picture(inspection_id, kind)
    missing = f"the {kind} picture of inspection {inspection_id} is not stored (any more)"
    if path is None:
        abort(404, missing)
    return _jpeg(path, "private, no-cache", missing)


@blueprint.get(f"/references/<digest>/<int(max={MAX_REFERENCE}):number>")
def reference(digest: str, number: int) -> Response:
    """Send a good reference picture of the bundle that judges, by the first 12 digits of its digest and its place."""
    bundle = running_bundle(current_station())
    if bundle is None or bundle.digest[:12] != digest or number not in good_references(bundle):
        abort(404, "the bundle that judges has no such good reference; reload the page")
    response = send_file(bundle.file(bundle.manifest.references[number].file), conditional=True, etag=True)
    response.headers["Cache-Control"] = f"private, max-age={KEPT_S}, immutable"
    return response


@blueprint.get("/history.csv")
def history() -> Response:
    """Send all rows that from, to, verdict and reason choose, oldest first, while they are read; times in UTC."""
    station = current_station()
    wanted, chosen = verdict(), selection()
    with station.history():
        pass  # a history that cannot be read is refused here, before the first byte is sent
    turn: Turn = g.turn
    turn.kept = True  # rows are read for as long as the reader takes them
    response = Response(_until_read(as_csv(_rows(station, wanted, chosen)), turn), content_type=CSV_TYPE)
    response.call_on_close(turn.give)
    response.headers["Content-Disposition"] = "attachment; filename=linewatch-history.csv"
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/reviewed.zip")
def reviewed() -> Response:
    """Send the answered parts as a data set in MVTec layout, while it is made; nothing is written on the station."""
    station = current_station()
    with station.reviews() as store:
        found = store.standing() if store else []
    if not found:
        abort(404, "no part has an answer yet; answer some on the page Review")
    turn: Turn = g.turn
    turn.kept = True
    response = Response(_until_read(zipped(station, found), turn), content_type="application/zip")
    response.call_on_close(turn.give)
    response.headers["Content-Disposition"] = "attachment; filename=linewatch-reviewed.zip"
    response.headers["Cache-Control"] = "no-store"
    return response


def _jpeg(path: Path, cache: str, missing: str) -> Response:
    """Send the file as it is at this moment: the engine may replace or delete it at any time."""
    try:
        if path.stat().st_size > SMALL_BYTES:
            response = send_file(path, mimetype="image/jpeg", conditional=True, etag=True)
        else:
            response = Response(path.read_bytes(), mimetype="image/jpeg")
            response.add_etag()
            response.make_conditional(request)
    except FileNotFoundError:
        abort(404, missing)
    response.headers["Cache-Control"] = cache
    return response


def _until_read(pieces: Iterator[Piece], turn: Turn) -> Iterator[Piece]:
    try:
        yield from pieces
    finally:
        turn.give()


def _rows(station: Station, wanted: Verdict | None, chosen: Selection) -> Iterator[Inspection]:
    with station.history() as log:
        if log is not None:
            yield from log.between(chosen.start, chosen.end, wanted, chosen.reason)
