"""The shipped configuration without a pause, as a line in full use would have it: does it stay as fast as it began?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edge.commands.acceptance.sensors import Reading, Sensors
from edge.commands.bench.rig import BLOCK, make_rig, ready_camera
from edge.core.types import Image
from edge.inference.bundle import Bundle

ROWS = 120


def endure(bundle: Bundle, images: list[Image], minutes: float, progress: Callable[[str], None]) -> dict[str, Any]:
    """Inspect with the shipped configuration without a pause, and watch latency, heat, clock, throttling and power.

    Returns one row for each of about 120 stretches of time, what cannot be read here, and how the last tenth compares
    with the first.
    """
    sensors, rows = Sensors(), list[dict[str, Any]]()
    with ready_camera(images) as (camera, slot):
        rig = make_rig(bundle, "openvino", "int8", camera, slot)
        began, before = time.monotonic(), sensors.read()
        first = before
        while time.monotonic() - began < minutes * 60 or not rows:
            progress(f"soak, {(time.monotonic() - began) / 60:.1f} of {minutes:g} min")
            start = time.monotonic()
            totals = [timing.total_ms for timing in rig.run(BLOCK)]
            while time.monotonic() - start < minutes * 60 / ROWS:
                totals += [timing.total_ms for timing in rig.run(BLOCK)]
            after = sensors.read()
            rows.append(_row(time.monotonic() - began, time.monotonic() - start, totals, before, after))
            before = after
    progress("")
    tenth = max(1, len(rows) // 10)
    first_ms, last_ms = ([row["p50_ms"] for row in part] for part in (rows[:tenth], rows[-tenth:]))
    throttled = None if first.throttled is None or before.throttled is None else before.throttled - first.throttled
    return {
        "minutes": minutes,
        "rows": rows,
        "last_over_first": float(np.median(last_ms) / np.median(first_ms)),
        "throttled": throttled,
        "unreadable": sensors.unreadable(),
    }


def _row(at_s: float, took_s: float, totals: list[float], before: Reading, after: Reading) -> dict[str, Any]:
    used_j = None if after.energy_j is None or before.energy_j is None else after.energy_j - before.energy_j
    return {
        "minute": at_s / 60,
        "n": len(totals),
        "p50_ms": float(np.median(totals)),
        "p99_ms": float(np.percentile(totals, 99, method="higher")),
        "temperature_c": after.temperature_c,
        "frequency_mhz": after.frequency_mhz,
        "power_w": None if used_j is None else used_j / took_s,
    }
