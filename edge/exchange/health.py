"""What the engine says of itself: health.json for the page, Prometheus text, and words to systemd."""

from __future__ import annotations

import os
import socket
from collections import Counter as Tallies
from collections import deque
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from pydantic import BaseModel, ConfigDict, ValidationError

from edge.core.files import write_atomically
from edge.core.types import EdgeError, Inspection

HEALTH = "health.json"
METRICS = "metrics.prom"
LATEST = "latest.jpg"  # the newest frame with heatmap and outline
LATEST_RAW = "latest_raw.jpg"  # the same frame, untouched
REQUESTS = "requests"
STALE_AFTER_S = 3.0  # the engine writes health.json at least every second
LATENCY_WINDOW = 1000  # inspections over which the percentiles are taken
LATENCY_EDGES_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


class HealthError(EdgeError):
    """health.json is not there or cannot be read."""


class State(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    CAMERA_FAULT = "camera_fault"
    FAULT = "fault"  # the self-test failed: every part is ERROR until one passes
    STOPPED = "stopped"


class Latency(BaseModel):
    """Trigger to output over the last inspections, milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Drift(BaseModel):
    """Do the running parts still score like those that the threshold was set on?"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    alarm: bool
    since: datetime | None = None  # UTC, when the scores began to differ; only with an alarm
    detail: str = ""  # one line for a person
    parts: int = 0  # how many the test has seen since it was last reset


class OutputHealth(BaseModel):
    """One output to the line, as the engine sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str  # e.g. "mqtt broker.local:8883"
    up: bool
    detail: str = ""  # one line: why it is down
    waiting: int = 0  # messages in its outbox, kept until they are taken
    told: int = 0  # verdicts that it was told since the engine started


class SelfTest(BaseModel):
    """The last run of the bundle's references on this CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    at: datetime  # UTC
    passed: bool
    detail: str = ""


class Health(BaseModel):
    """One snapshot, written by the engine at least once a second and after every inspection."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    station: str
    state: State
    detail: str  # one line for a person, e.g. why the camera is in fault
    pid: int
    written_at: datetime  # UTC; older than STALE_AFTER_S means the engine is dead or hangs
    started_at: datetime
    bundle: str
    bundle_path: str
    threshold: float
    runtime: str
    cpu_tier: str
    camera: str  # e.g. "folder tests/samples" or "/dev/video0 1920x1080"
    camera_fps: float
    frame_age_ms: float | None
    trigger: str  # e.g. "free run 2 Hz"
    deadline_ms: float
    counts: dict[str, int]  # verdict -> inspections since the engine started
    reasons: dict[str, int]  # "VERDICT/reason" -> since the engine started
    latency: Latency | None
    last_id: int
    last_verdict: str | None
    last_reason: str | None
    recorder_queue: int
    images_dropped: int
    # What a station without the part in question leaves as it is; the page then shows nothing of it.
    overruns: int = 0  # triggers refused because a part was being judged
    software_trigger: bool = False  # POST /api/trigger is taken
    recipe: str | None = None  # the recipe in use
    recipe_pending: str | None = None  # the one that is being verified, while `recipe` goes on judging
    recipe_fault: str | None = None  # why the last switch was refused
    recipes: list[str] = []  # what POST /api/recipe may switch to, the one in use included
    commissioned: bool | None = None  # False: the picture's quality is not yet compared with a baseline
    quality_fault: str | None = None  # why pictures are refused now, for as long as they are
    drift: Drift | None = None
    storage_fault: str | None = None  # why pictures are not kept; rows go on
    outputs: list[OutputHealth] = []
    self_test: SelfTest | None = None


def write_health(run_dir: Path, health: Health) -> None:
    write_atomically(run_dir / HEALTH, health.model_dump_json().encode(), durable=False)


def read_health(run_dir: Path) -> Health:
    """The last snapshot; raises HealthError when there is none."""
    path = run_dir / HEALTH
    try:
        return Health.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise HealthError("the engine has not started yet; start it with `python -m edge run`") from None
    except (OSError, ValidationError) as error:
        raise HealthError(f"{path}: cannot be read ({error}); restart the engine") from error


class Tally:
    """What was counted since the engine started."""

    def __init__(self) -> None:
        self.counts: Tallies[str] = Tallies()  # by verdict
        self.reasons: Tallies[str] = Tallies()  # by "VERDICT/reason"
        self.last: Inspection | None = None
        self._totals_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def add(self, inspection: Inspection) -> None:
        self.counts[inspection.verdict.value] += 1
        self.reasons[f"{inspection.verdict}/{inspection.reason}"] += 1
        self._totals_ms.append(inspection.timings.total_ms)
        self.last = inspection

    def latency(self) -> Latency | None:
        """Percentiles of trigger to output over the last LATENCY_WINDOW inspections; None before the first."""
        if not self._totals_ms:
            return None
        p50, p95, p99, highest = (round(float(v), 3) for v in np.percentile(self._totals_ms, (50, 95, 99, 100)))
        return Latency(n=len(self._totals_ms), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=highest)


class Metrics:
    """The same facts for Prometheus, in a registry of their own."""

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
        """Title of the bundle from now on."""
        self._bundle.info({"bundle": bundle})

    def add(self, inspection: Inspection) -> None:
        self._inspections.labels(inspection.verdict.value, inspection.reason.value).inc()
        self._latency.observe(inspection.timings.total_ms / 1e3)

    def text(self, health: Health, overruns: int) -> bytes:
        """Prometheus exposition text of now; overruns and dropped pictures are totals, which only grow."""
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


def sd_notify(message: str) -> bool:
    """Tell systemd READY=1, WATCHDOG=1, STATUS=...; False when nobody listens or reads (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)  # a listener that does not read must not hold up a part
        try:
            sock.sendto(message.encode(), address)
        except BlockingIOError:
            return False
    return True
