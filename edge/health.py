"""What the engine says of itself: health.json for the page, Prometheus text, and words to systemd."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.files import write_atomically
from edge.types import EdgeError

HEALTH = "health.json"
METRICS = "metrics.prom"
LATEST = "latest.jpg"  # the newest frame with heatmap and outline
LATEST_RAW = "latest_raw.jpg"  # the same frame, untouched
REQUESTS = "requests"
STALE_AFTER_S = 3.0  # the engine writes health.json at least every second


class HealthError(EdgeError):
    """health.json is not there or cannot be read."""


class State(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    CAMERA_FAULT = "camera_fault"
    STOPPED = "stopped"


class Latency(BaseModel):
    """Trigger to output over the last inspections, milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


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


def sd_notify(message: str) -> bool:
    """Tell systemd READY=1, WATCHDOG=1, STATUS=...; False when nobody listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(message.encode(), address)
    return True
