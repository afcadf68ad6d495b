"""The engine's account of itself in run_dir: the schema of health.json, its file, and the names of the others."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.core.files import read_plain, write_atomically
from edge.core.types import Reason, Verdict
from edge.exchange import ExchangeError

HEALTH = "health.json"
MAX_HEALTH_BYTES = 1024 * 1024
METRICS = "metrics.prom"
LATEST = "latest.jpg"  # the newest frame with heatmap and outline
LATEST_RAW = "latest_raw.jpg"  # the same frame, untouched
# The engine writes health.json four times a second, but not while it judges, which takes as long as the deadline.
STALE_AFTER_S = 1.5  # so that the page, which asks twice a second, tells a hanging engine within two seconds
UNHEARD_S = 0.6  # beyond a deadline that is longer than that allows
LATENCY_EDGES_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


class State(StrEnum):
    """The state of the engine in its own words."""

    STARTING = "starting"
    RUNNING = "running"
    CAMERA_FAULT = "camera_fault"
    FAULT = "fault"  # the self-test failed: every part is ERROR until one passes
    COMMISSIONING = "commissioning"  # an engineer sets the station up: every part is ERROR
    STOPPED = "stopped"


class Latency(BaseModel):
    """The time from trigger to output over the last inspections, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Drift(BaseModel):
    """The answer of the drift test: do parts still score like those that the threshold was set on?"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    alarm: bool
    since: datetime | None = None  # UTC, when the scores began to differ; only with an alarm
    detail: str = ""  # one line for a person
    parts: int = 0  # how many the test has seen since it was last reset


class OutputHealth(BaseModel):
    """The state of one output to the line, as the engine sees it."""

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


class StoredPictures(BaseModel):
    """The pictures on the disk: how far they reach back, and how much room they take."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mb: float
    oldest_ok: int | None  # number of the oldest OK part whose pictures are stored
    oldest_other: int | None  # the same of NG and ERROR parts


class Sight(BaseModel):
    """What the camera sees now, in the values of the picture check. They cost a few thousand samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    at: datetime  # UTC, of the frame
    width: int
    height: int
    focus: float  # variance of the Laplacian
    exposure: float  # mean, grey levels
    clipped: float  # share of the picture that is white
    refused: str | None = None  # why this frame would not be judged
    commissioned_focus: float | None = None  # of the baseline
    commissioned_exposure: float | None = None


class DryPart(BaseModel):
    """One part of a dry run: the line was told ERROR, whatever the model found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: int
    would: Verdict
    reason: Reason
    total_ms: float  # from trigger to output


class ByHand(BaseModel):
    """The last time that an output was set by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    output: str
    verdict: Verdict | None  # None: the safe state
    at: datetime


class Commissioning(BaseModel):
    """The set-up of a station by an engineer, for as long as it lasts."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    who: str
    since: datetime
    baseline_at: datetime | None = None  # that was taken in this set-up
    baseline_detail: str = ""  # what was stored, or why nothing was
    baseline_runs: bool = False
    trials: list[DryPart] = []  # the last ones, oldest first
    by_hand: list[ByHand] = []  # the last of each output and verdict


class Health(BaseModel):
    """A snapshot of the engine, written four times a second and after inspections."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    station: str
    state: State
    detail: str  # one line for a person, e.g. why the camera is in fault
    pid: int
    written_at: datetime  # UTC; older than stale_after_s: the engine is dead or hangs
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
    own_limit: str | None = None  # who set the threshold that judges, when and why; None: the bundle's own judges
    limit_fault: str | None = None  # why the last change of the threshold was refused
    limits_decided: int = 0  # how many changes were taken or refused since the engine started
    bundle_change: str | None = None  # the last bundle that took another one's place under the same recipe
    signed_by: str | None = None  # the key that vouches for the bundle in use
    unsigned: bool = False  # nobody vouches for it, and station.toml takes such bundles
    recipes: list[str] = []  # what POST /api/recipe may switch to, the one in use included
    commissioned: bool | None = None  # False: the picture's quality is not yet compared with a baseline
    quality_fault: str | None = None  # why pictures are refused now, for as long as they are
    drift: Drift | None = None
    storage_fault: str | None = None  # why pictures are not kept; rows go on
    pictures: StoredPictures | None = None
    outputs: list[OutputHealth] = []
    self_test: SelfTest | None = None
    commissioning: Commissioning | None = None
    sight: Sight | None = None  # while the station is commissioned, or its camera is in fault

    @property
    def stale_after_s(self) -> float:
        """The age in s beyond which the engine is dead or hangs."""
        return max(STALE_AFTER_S, UNHEARD_S + self.deadline_ms / 1e3)


def write_health(run_dir: Path, health: Health) -> None:
    """Replace health.json in one step; raises OSError."""
    write_atomically(run_dir / HEALTH, health.model_dump_json().encode(), durable=False)


def read_health(run_dir: Path) -> Health:
    """Return the last snapshot; raises ExchangeError when there is none."""
    path = run_dir / HEALTH
    try:
        return Health.model_validate_json(read_plain(path, MAX_HEALTH_BYTES))
    except FileNotFoundError:
        raise ExchangeError("the engine has not started yet; start it with `python -m edge run`") from None
    except (OSError, ValidationError) as error:
        raise ExchangeError(f"{path}: cannot be read ({error}); restart the engine") from error
