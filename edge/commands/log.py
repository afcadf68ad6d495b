"""`edge log`: show the last verdicts or commands, export the history as CSV, or verify that nobody changed it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.cli import Removed
from edge.core.types import Inspection, Verdict
from edge.history.audit import AUDIT, AuditLog, AuditRow
from edge.history.csv_export import as_csv
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.reading.proof import chain_proof

AUDIT_COLUMNS = ("id", "at", "who", "role", "via", "address", "station", "what", "from -> to", "outcome")
COLUMNS = ("id", "at", "verdict", "reason", "score", "threshold", "defect_probability", "total_ms", "detail")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
    parser.add_argument(
        "action", nargs="?", choices=("show", "verify", "export", "audit", "verify-audit"), default="show",
        help="show the last ones (default), verify the chain of all, or export as CSV; audit: who gave which command",
    )  # fmt: skip
    parser.add_argument("-n", "--last", type=int, default=20, metavar="N", help="show: how many (20)")
    parser.add_argument("--csv", action=Removed, instead="`edge log export` writes CSV")
    parser.add_argument("--from", type=_time, dest="start", metavar="TIME", help="export: from 2026-01-31[T06:00], UTC")
    parser.add_argument("--to", type=_time, dest="end", metavar="TIME", help="export: before this time")
    parser.add_argument("--verdict", type=Verdict, choices=list(Verdict), help="export: only these")
    parser.add_argument("--expect", type=_noted, metavar="ID:HASH", help="verify: an end that was noted earlier")


def run(arguments: argparse.Namespace) -> int:
    """Show, export or verify the history; raises EdgeError with one line."""
    config = load_config(arguments.config)
    if arguments.action in {"audit", "verify-audit"}:
        _audit(config, arguments)
        return 0
    with _opened(config) as events:
        if arguments.action == "verify":
            _verify(events, arguments.expect)
        elif arguments.action == "export":
            for piece in as_csv(events.between(arguments.start, arguments.end, arguments.verdict), "\n"):
                sys.stdout.write(piece)
        else:
            _show(events.recent(max(0, arguments.last))[::-1])
    return 0


def _audit(config: StationConfig, arguments: argparse.Namespace) -> None:
    if not (config.page_dir / AUDIT).exists():
        raise HistoryError(f"{config.page_dir / AUDIT}: no audit yet; it begins with the first command")
    audit = AuditLog(config.page_dir, read_only=True)
    try:
        if arguments.action == "verify-audit":
            last_id, last_hash = audit.verify()
            _compare(arguments.expect, audit.hash_of, audit.path)
            sys.stdout.write(
                f"{last_id} rows of the audit, none altered, missing or put in; it ends with {last_id}:{last_hash}\n"
            )
        else:
            rows = audit.recent(max(0, arguments.last))[::-1]
            _table([AUDIT_COLUMNS, *(_deed(row) for row in rows)])
    finally:
        audit.close()


def _deed(row: AuditRow) -> tuple[str, ...]:
    deed = row.deed
    who = deed.who or ("(nobody is set up)" if deed.via == "open" else "(nobody)")
    change = f"{deed.before} -> {deed.after}" if deed.before and deed.after else deed.before or deed.after
    at = row.at.isoformat(timespec="milliseconds")
    return (str(row.id), at, who, deed.role, deed.via, deed.address, deed.station, deed.what, change, deed.outcome)


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
    words = chain_proof(events)
    _compare(noted, events.hash_of, events.path)
    sys.stdout.write(f"{words}\n")


def _compare(noted: tuple[int, str] | None, hash_of: Callable[[int], str | None], path: Path) -> None:
    """Raise HistoryError unless the row that was noted has the hash that was noted."""
    if noted is not None and hash_of(noted[0]) != noted[1]:
        raise HistoryError(
            f"{path}: row {noted[0]} is not the one whose hash was noted; see docs/how-to/troubleshoot.md"
        )


def _show(rows: list[Inspection]) -> None:
    _table([COLUMNS, *(_cells(row) for row in rows)])


def _table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
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
