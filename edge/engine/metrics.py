"""Counts, percentiles and Prometheus series of the inspections since the engine started."""

from __future__ import annotations

from collections import Counter as Tallies
from collections import deque
from functools import partial

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from edge.core.types import Inspection
from edge.exchange.health import LATENCY_EDGES_S, Health, Latency, State

LATENCY_WINDOW = 1000  # inspections over which the percentiles are taken


class Tally:
    """The counts since the engine started."""

    def __init__(self) -> None:
        self.counts: Tallies[str] = Tallies()  # by verdict
        self.reasons: Tallies[str] = Tallies()  # by "VERDICT/reason"
        self.last: Inspection | None = None
        self._totals_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def add(self, inspection: Inspection) -> None:
        """Count one inspection."""
        self.counts[inspection.verdict.value] += 1
        self.reasons[f"{inspection.verdict}/{inspection.reason}"] += 1
        self._totals_ms.append(inspection.timings.total_ms)
        self.last = inspection

    def latency(self) -> Latency | None:
        """Return percentiles of trigger to output over the last LATENCY_WINDOW inspections; None before the first."""
        if not self._totals_ms:
            return None
        p50, p95, p99, highest = (round(float(v), 3) for v in np.percentile(self._totals_ms, (50, 95, 99, 100)))
        return Latency(n=len(self._totals_ms), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=highest)


class Metrics:
    """The facts of health.json as Prometheus series, in a registry of their own."""

    def __init__(self, bundle: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        own = self._registry = CollectorRegistry()
        self._inspections = Counter("linewatch_inspections", "Parts judged", ["verdict", "reason"], registry=own)
        self._latency = Histogram(
            "linewatch_latency_seconds", "Trigger to output", registry=own, buckets=LATENCY_EDGES_S
        )
        self._overruns = Counter("linewatch_trigger_overruns", "Triggers missed while judging a part", registry=own)
        self._dropped = Counter("linewatch_images_dropped", "Pictures not stored", registry=own)
        self._frame_age = Gauge("linewatch_frame_age_seconds", "Age of the newest frame", registry=own)
        self._camera_up = Gauge("linewatch_camera_up", "1 while the camera gives frames", registry=own)
        self._queue = Gauge("linewatch_recorder_queue", "Rows not yet in the history", registry=own)
        self._storage = Gauge("linewatch_storage_fault", "1 while pictures cannot be stored", registry=own)
        outputs = partial(Gauge, labelnames=["output"], registry=own)
        self._output_up = outputs("linewatch_output_up", "1 while the output's receiver takes what it is told")
        self._output_waiting = outputs("linewatch_output_waiting", "Messages kept until their receiver has them")
        self._output_told = outputs("linewatch_output_told", "Verdicts that the output was told since the start")
        self._drift = Gauge("linewatch_drift_alarm", "1 since OK parts score unlike the held-out ones", registry=own)
        self._bundle = Info("linewatch_bundle", "The bundle that judges", registry=own)
        self.judged_by(bundle)
        self._seen = {"overruns": 0, "dropped": 0}

    def judged_by(self, bundle: str) -> None:
        """Name the bundle that judges from now on by its title."""
        self._bundle.info({"bundle": bundle})

    def add(self, inspection: Inspection) -> None:
        """Count one inspection."""
        self._inspections.labels(inspection.verdict.value, inspection.reason.value).inc()
        self._latency.observe(inspection.timings.total_ms / 1e3)

    def text(self, health: Health, overruns: int) -> bytes:
        """Return the exposition text of now; overruns and dropped pictures are totals, which only grow."""
        self._overruns.inc(overruns - self._seen["overruns"])
        self._dropped.inc(health.images_dropped - self._seen["dropped"])
        self._seen = {"overruns": overruns, "dropped": health.images_dropped}
        self._frame_age.set(float("nan") if health.frame_age_ms is None else health.frame_age_ms / 1e3)
        self._camera_up.set(health.state is not State.CAMERA_FAULT)
        self._queue.set(health.recorder_queue)
        self._storage.set(health.storage_fault is not None)
        self._drift.set(health.drift is not None and health.drift.alarm)
        for output in health.outputs:
            self._output_up.labels(output.name).set(output.up)
            self._output_waiting.labels(output.name).set(output.waiting)
            self._output_told.labels(output.name).set(output.told)
        return prometheus_client.generate_latest(self._registry)
