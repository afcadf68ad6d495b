"""What the engine tells others while it runs: health.json, metrics.prom and systemd's watchdog."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from edge.cameras.capture import Capture
from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.core.types import Inspection, Verdict
from edge.engine.metrics import Metrics, Tally
from edge.engine.recipes import Recipes
from edge.engine.recorder import Recorder
from edge.exchange.health import METRICS, Health, OutputHealth, State, write_health
from edge.inference.bundle import Bundle
from edge.inference.cpu import cpu_tier
from edge.line.wiring import Line

EVERY_S = 1.0  # at the latest
NOT_WITHIN_S = 0.1  # at a high rate the files follow the parts at 10 Hz

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """The running parts that are asked for their state."""

    config: StationConfig
    recipes: Recipes
    capture: Capture
    recorder: Recorder
    line: Line

    @property
    def bundle(self) -> Bundle:
        """The one that judges now."""
        return self.recipes.active.bundle

    def check(self) -> None:
        """Raise WorkerError when one of the threads is dead."""
        self.capture.worker.check()
        self.recorder.worker.check()
        self.line.check()


class Reporter:
    """Called from the inspection loop only: that is what makes the watchdog's beat worth something."""

    def __init__(self, engine: Engine, last_id: int) -> None:
        self._engine = engine
        self._tally = Tally()
        self._metrics = Metrics(engine.bundle.title)
        self._started_at = datetime.now(UTC)
        self._last_id = last_id
        self._tier = cpu_tier()
        self._written_at = 0.0
        self._news = False
        self._full = False

    def add(self, inspection: Inspection) -> None:
        """Count one inspection; its output is already set."""
        self._tally.add(inspection)
        self._metrics.add(inspection)
        self._last_id = inspection.id
        self._news = True

    def switched(self) -> None:
        """Another bundle judges, or one was refused: say so at once."""
        self._metrics.judged_by(self._engine.bundle.title)
        self.write_now()

    def beat(self, starting: bool = False) -> None:
        """Write what is due; call it each time round the loop."""
        silent_s = time.monotonic() - self._written_at
        if silent_s >= EVERY_S or (self._news and silent_s >= NOT_WITHIN_S):
            self.write_now(starting)
            sd_notify("WATCHDOG=1")

    def write_now(self, starting: bool = False) -> None:
        """Write both files, with the state that the camera gives."""
        status = self._engine.capture.status()
        recipes = self._engine.recipes
        detail = status.detail or recipes.active.gate.fault or ""
        state = State.CAMERA_FAULT if detail else State.RUNNING
        if recipes.refusal is not None:
            state, detail = State.FAULT, recipes.refusal
        self.write(State.STARTING if starting else state, detail)

    def write(self, state: State, detail: str) -> None:
        """Write both files now; raises OSError when run_dir cannot be written, unless it is only full for a while."""
        full = False
        try:
            self._write_files(self._health(state, detail))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            full = True  # the files grow old, which the page tells; parts still get their verdicts and rows
        if full != self._full:
            log.log(logging.ERROR if full else logging.INFO, "run_dir %s", "is full" if full else "has space again")
        self._full = full
        self._written_at = time.monotonic()
        self._news = False

    def _write_files(self, health: Health) -> None:
        run_dir, overruns = self._engine.config.run_dir, self._engine.line.trigger.overruns
        write_health(run_dir, health)
        write_atomically(run_dir / METRICS, self._metrics.text(health, overruns), durable=False)

    def _health(self, state: State, detail: str) -> Health:
        engine, tally = self._engine, self._tally
        config, bundle = engine.config, engine.bundle
        status = engine.capture.status()
        last = tally.last
        return Health(
            station=config.name,
            state=state,
            detail=detail,
            pid=os.getpid(),
            written_at=datetime.now(UTC),
            started_at=self._started_at,
            bundle=bundle.title,
            bundle_path=str(bundle.path),
            threshold=bundle.manifest.threshold.value,
            runtime=config.inspection.runtime,
            cpu_tier=self._tier,
            camera=engine.capture.camera.describe(),
            camera_fps=round(status.fps, 2),
            frame_age_ms=None if status.frame_age_s is None else round(status.frame_age_s * 1e3, 1),
            deadline_ms=config.inspection.deadline_ms,
            counts={verdict.value: tally.counts[verdict.value] for verdict in Verdict},
            reasons=dict(tally.reasons),
            latency=tally.latency(),
            last_id=self._last_id,
            last_verdict=last.verdict.value if last else None,
            last_reason=last.reason.value if last else None,
            recorder_queue=engine.recorder.waiting(),
            images_dropped=engine.recorder.images_dropped,
            **self._line(),
            recipe=engine.recipes.active.name,
            recipe_pending=engine.recipes.pending,
            recipe_fault=engine.recipes.fault,
            recipes=list(engine.recipes.bundles),
            commissioned=engine.recipes.active.gate.commissioned,
            quality_fault=engine.recipes.active.gate.fault,
            drift=engine.recorder.drift(),
            storage_fault=engine.recorder.storage_fault,
            self_test=engine.recipes.self_test,
        )

    def _line(self) -> dict[str, Any]:
        """How the station hears of parts, and whom it tells."""
        line = self._engine.line
        return {
            "trigger": line.trigger.describe(),
            "overruns": line.trigger.overruns,
            "software_trigger": self._engine.config.trigger.page_button,
            "outputs": [OutputHealth(**asdict(output.state())) for output in line.outputs],
        }


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
