"""The history as a table for spreadsheets, sent while it is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from flask import Blueprint, Response

from edge.rows import Selection
from edge.types import Inspection, Verdict
from edge.web.selection import selection, verdict
from edge.web.station import Station, current_station

blueprint = Blueprint("export", __name__)
HEADER = (
    "id", "at", "trigger_id", "verdict", "reason", "score", "threshold", "defect_probability", "regions",
    "total_ms", "bundle", "bundle_digest", "detail",
)  # fmt: skip
ROWS_AT_ONCE = 500


@blueprint.get("/history.csv")
def history() -> Response:
    """All rows that from, to, verdict and reason choose, oldest first; times in UTC."""
    station = current_station()
    wanted, chosen = verdict(), selection()
    with station.history():
        pass  # a history that cannot be read is refused here, before the first byte is sent
    rows = _rows(station, wanted, chosen)
    response = Response(_text(rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = "attachment; filename=linewatch-history.csv"
    response.headers["Cache-Control"] = "no-store"
    return response


def _rows(station: Station, wanted: Verdict | None, chosen: Selection) -> Iterator[Inspection]:
    with station.history() as log:
        if log is not None:
            yield from log.between(chosen.start, chosen.end, wanted, chosen.reason)


def _text(rows: Iterator[Inspection]) -> Iterator[str]:
    """The header, then the lines in pieces of some kilobytes."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\r\n")
    table.writerow(HEADER)
    for count, row in enumerate(rows, start=1):
        table.writerow(_line(row))
        if count % ROWS_AT_ONCE == 0:
            yield stream.getvalue()
            stream.seek(0)
            stream.truncate()
    yield stream.getvalue()


def _line(row: Inspection) -> list[object]:
    at = row.at.isoformat(timespec="milliseconds")
    return [
        row.id, at, _text_cell(row.trigger_id), row.verdict.value, row.reason.value, row.score, row.threshold,
        row.defect_probability, len(row.regions), row.timings.total_ms, _text_cell(row.bundle), row.bundle_digest,
        _text_cell(row.detail),
    ]  # fmt: skip


def _text_cell(text: str) -> str:
    """A spreadsheet takes a text that begins like a formula for one, and computes it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
