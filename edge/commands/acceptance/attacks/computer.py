"""Attacks by a computer that stops the engine, or has no time for it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from edge.commands.acceptance.station import TrialStation, broken_sequence, happens, inspecting, late_releases
from edge.commands.evidence import Evidence
from edge.core.types import Reason, Verdict
from edge.inference.bundle import Bundle

STOPS = 20  # SIGSTOPs while a part is being judged


def stopped(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Send SIGSTOP in the middle of the work, as a debugger or a freezing host does, and SIGCONT later."""
    deadline_ms = 200.0
    station, chance = TrialStation(folder, bundle, deadline_ms), random.Random(0)
    with ThreadPoolExecutor(max_workers=1) as line, inspecting(station) as engine:
        for _ in range(STOPS):
            waiting = line.submit(station.trigger)
            time.sleep(chance.uniform(0.001, 0.006))  # by now it waits for a frame or is being judged
            engine.process.send_signal(signal.SIGSTOP)
            time.sleep(1.5 * deadline_ms / 1e3)
            engine.process.send_signal(signal.SIGCONT)
            waiting.result()
        recovered = happens(lambda: station.reason() is Reason.SCORE)
        engine.stop()
    hit = any(row.reason in (Reason.LATE, Reason.NO_FRAME) for row in station.rows())
    _hold_deadline(evidence, f"{STOPS} times SIGSTOP and SIGCONT", station, deadline_ms, recovered and hit)


def hog(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Keep every core busy with something else: late parts are ERROR, never a late OK."""
    deadline_ms = 100.0
    station = TrialStation(folder, bundle, deadline_ms, trigger={"type": "free_run", "rate_hz": 30})
    with inspecting(station) as engine, _hogs():
        time.sleep(4.0)
        engine.stop()
    rows = station.rows()
    _hold_deadline(evidence, f"every core busy, deadline {deadline_ms:g} ms", station, deadline_ms, bool(rows))


@contextmanager
def _hogs() -> Iterator[None]:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in hogs:
            one.kill()
            one.wait()


def _hold_deadline(evidence: Evidence, name: str, station: TrialStation, deadline_ms: float, recovered: bool) -> None:
    rows = station.rows()
    late = late_releases(rows, deadline_ms)
    shown = sum(row.verdict is Verdict.ERROR for row in rows)
    evidence.hold(
        f"{name}: no OK or NG after the deadline",
        not late and recovered and not broken_sequence(rows),
        f"{len(rows)} parts, {shown} of them ERROR" + (f"; late and not ERROR: {late}" if late else ""),
    )
