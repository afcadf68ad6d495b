"""Attacks on what the engine keeps: a note with nonsense, a history that is deleted, a disk that does not answer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.commands.acceptance.station import TrialStation, happens, inspecting
from edge.commands.evidence import Evidence
from edge.core.types import Reason
from edge.history.ids import MARK
from edge.inference.bundle import Bundle

NOTES = (b"", b"\0" * 100, b"boot history 00000000000999999999\n", b"9" * 500, b"\xff\xfe")
STOPS_WITHIN_S = 10.0  # what systemd allows
HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(600)
"""


def sequence(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Put nonsense into the note of the last id while the engine is away: no id is given twice, none is invented."""
    station, told = TrialStation(folder, bundle), list[int]()
    for note in NOTES:
        with inspecting(station) as engine:
            told += [answer.id or 0 for answer in station.triggers(5)]
            engine.kill()
        (station.config.run_dir / MARK).write_bytes(note)
    with inspecting(station) as engine:
        told += [answer.id or 0 for answer in station.triggers(5)]
        status = engine.stop()
    rows = station.rows()
    evidence.hold(
        "the note of the last id holds nonsense: it starts, no id is given twice, and no rows are invented",
        len(set(told)) == len(told) == 5 * (len(NOTES) + 1) and len(rows) < 1000 and status == 0,
        f"{len(told)} verdicts told, {len(rows)} rows, status {status}",
    )


def deleted(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Delete the history under the running engine, and again while it is away: ids go on."""
    station = TrialStation(folder, bundle)
    with inspecting(station) as engine:
        told = [answer.id or 0 for answer in station.triggers(10)]
        happens(lambda: len(station.rows()) == 10)
        station.config.events_db.unlink()
        told += [answer.id or 0 for answer in station.triggers(10)]
        kept = happens(lambda: len(station.rows()) == len(told))
        engine.kill()
    for path in station.config.events_db.parent.glob(f"{station.config.events_db.name}*"):
        path.unlink()
    with inspecting(station) as engine:
        told += [answer.id or 0 for answer in station.triggers(10)]
        status = engine.stop()
    said = station.said()
    evidence.hold(
        "history deleted, under the engine and while it is away: said in the log, ids go on, none is given twice",
        kept and len(set(told)) == len(told) == 30 and told == sorted(told) and status == 0 and "lost" in said,
        f"{len(told)} verdicts told, ids {told[0]} to {told[-1]}, status {status}",
    )


def stalled(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Let no row be written from some moment on, then stop: the stop is in time, and each id told is accounted for."""
    station = TrialStation(folder, bundle)
    with inspecting(station) as engine:
        told = station.triggers(5)
        happens(lambda: len(station.rows()) == 5)
        with _held(station.config.events_db):
            told += station.triggers(10)
            began = time.monotonic()
            engine.stop()
            took_s = time.monotonic() - began
    with inspecting(station) as engine:
        told += station.triggers(5)
        status = engine.stop()
    rows = {row.id: row for row in station.rows()}
    missing = [answer.id for answer in told if answer.id not in rows]
    died = sum(row.reason is Reason.ENGINE_DIED for row in rows.values())
    evidence.hold(
        f"the disk takes no row and the engine is stopped: it stops within {STOPS_WITHIN_S:g} s, no id is lost",
        took_s <= STOPS_WITHIN_S and not missing and status == 0 and not station.verify(),
        f"stopped after {took_s:.1f} s, {len(told)} verdicts told, {len(missing)} without a row, {died} engine_died",
    )


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Hold the write lock of an SQLite file from another process, as a disk does that answers no write."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE) as other:
        if other.stdout is not None:
            other.stdout.readline()
        try:
            yield
        finally:
            other.kill()
