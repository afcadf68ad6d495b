"""The history as a table for spreadsheets, sent while it is read."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response

from edge.core.types import Inspection, Verdict
from edge.history.csv_export import as_csv
from edge.history.rows import Selection
from edge.web.station import Station, current_station
from edge.web.views.parameters import selection, verdict

blueprint = Blueprint("export", __name__)


@blueprint.get("/history.csv")
def history() -> Response:
    """All rows that from, to, verdict and reason choose, oldest first; times in UTC."""
    station = current_station()
    wanted, chosen = verdict(), selection()
    with station.history():
        pass  # a history that cannot be read is refused here, before the first byte is sent
    rows = _rows(station, wanted, chosen)
    response = Response(as_csv(rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = "attachment; filename=linewatch-history.csv"
    response.headers["Cache-Control"] = "no-store"
    return response


def _rows(station: Station, wanted: Verdict | None, chosen: Selection) -> Iterator[Inspection]:
    with station.history() as log:
        if log is not None:
            yield from log.between(chosen.start, chosen.end, wanted, chosen.reason)
