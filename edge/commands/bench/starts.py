"""The time that a station needs from the start of its process, measured on a real engine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.commands import CommandError
from edge.commands.acceptance.station import EngineProcess, TrialStation
from edge.inference.bundle import Bundle

ROUNDS = 3
PARTS = 20  # judged before its memory is read


def measure_starts(bundle: Bundle, progress: Callable[[str], None]) -> dict[str, Any]:
    """Return the seconds to READY and to the first verdict of `edge run`, and its memory in MB.

    The first start is not counted: after it the files are in the kernel's cache. Raises CommandError when the engine
    does not come up.
    """
    found: dict[str, Any] = {"ready_s": [], "first_verdict_s": []}
    with tempfile.TemporaryDirectory() as folder:
        station = TrialStation(Path(folder) / "station", bundle)
        _start(station)
        for number in range(ROUNDS):
            progress(f"start {number + 1} of {ROUNDS}")
            ready_s, first_s, found["rss_mb"] = _start(station)
            found["ready_s"].append(ready_s)
            found["first_verdict_s"].append(first_s)
    progress("")
    return found


def _start(station: TrialStation) -> tuple[float, float, float]:
    began = time.monotonic()
    with EngineProcess(station) as engine:
        if not engine.ready():
            raise CommandError("the engine is not READY within the time; see `edge check` for the bundle")
        ready_s = time.monotonic() - began
        if station.trigger() is None:
            raise CommandError("the engine gives no verdict; see `edge check` for the bundle")
        first_s = time.monotonic() - began
        for _ in range(PARTS):
            station.trigger()
        rss_mb = engine.rss_mb()
        engine.stop()
    return ready_s, first_s, rss_mb
