"""The history as CSV: `edge log export` and the page's /history.csv write the same table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from edge.core.types import Inspection

HEADER = (
    "id", "at", "trigger_id", "verdict", "reason", "score", "threshold", "defect_probability", "regions",
    "total_ms", "bundle", "bundle_digest", "detail",
)  # fmt: skip
ROWS_AT_ONCE = 500


def as_csv(rows: Iterable[Inspection], line_end: str = "\r\n") -> Iterator[str]:
    """Yield the header and then the lines, in pieces of some kilobytes as the rows come.

    Times are in UTC, and numbers in full.
    """
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator=line_end)
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
        row.id, at, text_cell(row.trigger_id), row.verdict.value, row.reason.value, row.score, row.threshold,
        row.defect_probability, len(row.regions), row.timings.total_ms, text_cell(row.bundle), row.bundle_digest,
        text_cell(row.detail),
    ]  # fmt: skip


def text_cell(text: str) -> str:
    """Return the text with an apostrophe in front when a spreadsheet would take it for a formula and compute it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
