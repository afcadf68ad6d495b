"""`edge log`: show the last verdicts, export the history as CSV, or verify that nobody changed it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.cli import Removed
from edge.core.types import Inspection, Verdict
from edge.history.csv_export import as_csv
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog

COLUMNS = ("id", "at", "verdict", "reason", "score", "threshold", "defect_probability", "total_ms", "detail")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
    parser.add_argument(
        "action", nargs="?", choices=("show", "verify", "export"), default="show",
        help="show the last ones (default), verify the chain of all, or export as CSV",
    )  # fmt: skip
    parser.add_argument("-n", "--last", type=int, default=20, metavar="N", help="show: how many (20)")
    parser.add_argument("--csv", action=Removed, instead="`edge log export` writes CSV")
    parser.add_argument("--from", type=_time, dest="start", metavar="TIME", help="export: from 2026-01-31[T06:00], UTC")
    parser.add_argument("--to", type=_time, dest="end", metavar="TIME", help="export: before this time")
    parser.add_argument("--verdict", type=Verdict, choices=list(Verdict), help="export: only these")
    parser.add_argument("--expect", type=_noted, metavar="ID:HASH", help="verify: an end that was noted earlier")


def run(arguments: argparse.Namespace) -> int:
    """Show, export or verify the history; raises EdgeError with one line."""
    with _opened(load_config(arguments.config)) as events:
        if arguments.action == "verify":
            _verify(events, arguments.expect)
        elif arguments.action == "export":
            for piece in as_csv(events.between(arguments.start, arguments.end, arguments.verdict), "\n"):
                sys.stdout.write(piece)
        else:
            _show(events.recent(max(0, arguments.last))[::-1])
    return 0


@contextmanager
def _opened(config: StationConfig) -> Iterator[EventLog]:
    if not config.events_db.exists():
        raise HistoryError(f"{config.events_db}: no history yet; it begins with the first part")
    events = EventLog(config.events_db, read_only=True)
    try:
        yield events
    finally:
        events.close()


def _verify(events: EventLog, noted: tuple[int, str] | None) -> None:
    head = events.verify()
    if noted is not None and events.hash_of(noted[0]) != noted[1]:
        raise HistoryError(
            f"{events.path}: row {noted[0]} is not the one whose hash was noted; see docs/how-to/troubleshoot.md"
        )
    lost = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in events.lost())
    missing = f"; the verdicts of the ids {lost} were lost with a part of the history" if lost else ""
    end = f"{head.last_id}:{head.last_hash}"
    sys.stdout.write(f"{head.counts.total} rows, none altered, missing or put in{missing}; the chain ends with {end}\n")


def _show(rows: list[Inspection]) -> None:
    lines = [list(COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        padded = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(f"{padded.rstrip()}\n")


def _cells(row: Inspection) -> list[str]:
    numbers = (row.score, row.threshold, row.defect_probability)
    return [
        str(row.id),
        row.at.isoformat(timespec="milliseconds"),
        row.verdict.value,
        row.reason.value,
        *("" if number is None else f"{number:.4f}" for number in numbers),
        f"{row.timings.total_ms:.1f}",
        row.detail,
    ]


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 2026-01-31 or 2026-01-31T06:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _noted(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(\d+):([0-9a-f]{64})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID:HASH, as `edge log verify` prints it")
    return int(found[1]), found[2]
