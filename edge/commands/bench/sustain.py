"""How many parts a second the CPU can do when several are on their way at once, and what that costs in power."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edge.commands.acceptance.sensors import Sensors
from edge.core.types import Image
from edge.inference.bundle import Bundle
from edge.inference.detector import Precision, model_file
from edge.inference.runtimes import Runtime, Settings, sustained


def measure_throughput(
    bundle: Bundle, tensors: Sequence[Image], runtime: Runtime, precision: Precision, seconds: float
) -> dict[str, Any]:
    """Inference only, of prepared tensors, for so many seconds; power of the whole CPU package where it can be read."""
    sensors = Sensors()
    before = sensors.read().energy_j
    began = time.monotonic()
    model, settings = model_file(bundle, runtime, precision), Settings(bf16=precision == "bf16", throughput=True)
    done = sustained(model, runtime, settings, tensors, seconds)
    after, took_s = sensors.read().energy_j, time.monotonic() - began
    power_w = (after - before) / took_s if after is not None and before is not None else None
    return {
        "parts_per_s": done.parts / done.seconds,
        "at_once": done.at_once,
        "seconds": done.seconds,
        "power_w": power_w,
    }
