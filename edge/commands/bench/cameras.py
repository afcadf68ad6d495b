"""Several cameras on one computer: real engines side by side, each with its own station, kept busy together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edge.commands import CommandError
from edge.commands.acceptance.station import TrialStation, inspecting
from edge.commands.bench.rig import WARM_UP
from edge.core.types import Verdict
from edge.inference.bundle import Bundle

FPS = 200  # of each camera: a part waits up to 5 ms for its frame


def measure_cameras(
    bundle: Bundle, count: int, images: Path | None, parts: int, seconds: float | None, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Run `count` engines at once and return the latency of each, from trigger to output.

    Each engine judges `parts` parts, or parts for `seconds`, one as soon as the one before is answered. None stops
    before the last one has had its parts, so all figures are of a computer that serves all cameras. Raises CommandError
    when an engine does not start, or does not judge a part.
    """
    progress(f"{count} cameras")
    camera = {
        "type": "folder",
        "path": str(images.resolve()) if images else "camera",
        "fps": FPS,
        "seconds_per_image": 0.1,
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stations = [TrialStation(Path(folder) / f"camera_{k}", bundle, camera=camera) for k in range(1, count + 1)]
        engines = [stack.enter_context(inspecting(station)) for station in stations]
        busy = set(range(count))
        end = time.monotonic() + seconds if seconds else None
        with ThreadPoolExecutor(count) as pool:
            rates = list(pool.map(lambda number: _keep_busy(stations[number], number, busy, parts, end), busy.copy()))
        for engine in engines:
            engine.stop()
        results = [_result(station, rate) for station, rate in zip(stations, rates, strict=True)]
    progress("")
    return results


def _keep_busy(station: TrialStation, number: int, busy: set[int], parts: int, end: float | None) -> float:
    """Trigger a station until every station has had its parts; returns the parts a second."""
    done, began = 0, time.monotonic()
    try:
        while busy:
            if station.trigger() is None:
                raise CommandError("an engine gives no verdict; see `edge check` for the bundle")
            done += 1
            if (time.monotonic() >= end) if end else (done >= parts + WARM_UP):
                busy.discard(number)
    finally:
        busy.discard(number)
    return done / (time.monotonic() - began)


def _result(station: TrialStation, rate: float) -> dict[str, Any]:
    rows = station.rows()[WARM_UP:]
    for row in rows:
        if row.verdict is Verdict.ERROR:
            raise CommandError(f"a part was not judged: {row.reason}: {row.detail}")
    if not rows:
        raise CommandError(f"a camera had no more than {WARM_UP} parts; measure for longer")
    totals = [row.timings.total_ms for row in rows]
    p50, p99 = (float(np.percentile(totals, share, method="higher")) for share in (50, 99))
    return {"n": len(rows), "p50_ms": p50, "p99_ms": p99, "max_ms": max(totals), "parts_per_s": rate}
