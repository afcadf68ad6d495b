"""The engine's account of itself while it runs: health.json, metrics.prom and systemd's watchdog."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from edge.cameras.quality import sight_of
from edge.core.files import write_atomically
from edge.core.types import Inspection, Verdict
from edge.engine.metrics import Metrics, Tally
from edge.engine.station import RunningStation
from edge.exchange.health import METRICS, Health, OutputHealth, Sight, State, StoredPictures, write_health
from edge.history.pictures import Stock
from edge.inference.cpu import cpu_tier
from edge.inference.usable import unusable

EVERY_S = 0.25  # at the latest: the page tells a silent engine within two seconds
NOT_WITHIN_S = 0.1  # at a high rate the files follow the parts at 10 Hz

log = logging.getLogger(__name__)


class StatusWriter:
    """Writes health.json and metrics.prom and beats the watchdog; called from the inspection loop only."""

    def __init__(self, station: RunningStation) -> None:
        self._station = station
        self._tally = Tally()
        self._metrics = Metrics(station.bundle.title)
        self._started_at = datetime.now(UTC)
        self._last_id = station.ids.last
        self._tier = cpu_tier()
        self._written_at = 0.0
        self._viewed = 0  # seq of the last frame that was shown without a part
        self._news = False
        self._full = False

    def add(self, inspection: Inspection) -> None:
        """Count one inspection; its output is already set."""
        self._tally.add(inspection)
        self._metrics.add(inspection)
        self._last_id = inspection.id
        self._news = True

    def switched(self) -> None:
        """Say at once that another bundle judges, or that one was refused."""
        self._metrics.judged_by(self._station.bundle.title)
        self.write_now()

    def beat(self, starting: bool = False) -> None:
        """Write what is due; call it each time round the loop."""
        silent_s = time.monotonic() - self._written_at
        if silent_s >= EVERY_S or (self._news and silent_s >= NOT_WITHIN_S):
            self.write_now(starting)
            sd_notify("WATCHDOG=1")

    def write_now(self, starting: bool = False) -> None:
        """Write both files, with the state that the camera gives."""
        status = self._station.capture.status()
        recipes = self._station.recipes
        detail = status.detail or recipes.active.check.fault or ""
        state = State.CAMERA_FAULT if detail else State.RUNNING
        if recipes.refusal is not None:
            state, detail = State.FAULT, recipes.refusal
        elif state is State.RUNNING and self._station.set_up.engineer is not None:
            state, detail = State.COMMISSIONING, f"{self._station.set_up.engineer} sets the station up"
        self._show_view(state)
        self.write(State.STARTING if starting else state, detail)

    def _show_view(self, state: State) -> None:
        """Show what the camera sees during its fault, in which no part's picture tells how the lens stands now."""
        frame = self._station.capture.slot.newest() if self._watched(state) else None
        if frame is not None and frame.seq != self._viewed:
            self._viewed = frame.seq
            self._station.recorder.show_view(frame.image)

    def _watched(self, state: State) -> bool:
        """Say whether somebody wants to see what the camera sees, and no part."""
        return state is State.CAMERA_FAULT or self._station.set_up.engineer is not None

    def _sight(self, state: State) -> Sight | None:
        frame = self._station.capture.slot.newest() if self._watched(state) else None
        if frame is None:
            return None
        focus, exposure, clipped = sight_of(frame.image)
        baseline = self._station.recipes.active.check.baseline
        return Sight(
            at=frame.wall_time, width=frame.image.shape[1], height=frame.image.shape[0], focus=round(focus, 2),
            exposure=round(exposure, 2), clipped=round(clipped, 4),
            refused=frame.fault or unusable(frame.image) or None,
            commissioned_focus=None if baseline is None else baseline.focus,
            commissioned_exposure=None if baseline is None else baseline.exposure,
        )  # fmt: skip

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
        run_dir, overruns = self._station.config.run_dir, self._station.line.trigger.overruns
        write_health(run_dir, health)
        write_atomically(run_dir / METRICS, self._metrics.text(health, overruns), durable=False)

    def _health(self, state: State, detail: str) -> Health:
        station, tally = self._station, self._tally
        config, bundle = station.config, station.bundle
        status = station.capture.status()
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
            threshold=station.recipes.active.limits.threshold,
            runtime=config.inspection.runtime,
            cpu_tier=self._tier,
            camera=station.capture.camera.describe(),
            camera_fps=round(status.fps, 2),
            frame_age_ms=None if status.frame_age_s is None else round(status.frame_age_s * 1e3, 1),
            deadline_ms=config.inspection.deadline_ms,
            counts={verdict.value: tally.counts[verdict.value] for verdict in Verdict},
            reasons=dict(tally.reasons),
            latency=tally.latency(),
            last_id=self._last_id,
            last_verdict=last.verdict.value if last else None,
            last_reason=last.reason.value if last else None,
            recorder_queue=station.recorder.waiting(),
            images_dropped=station.recorder.images_dropped,
            **self._line(),
            **self._recipes(),
            commissioned=station.recipes.active.check.commissioned,
            quality_fault=station.recipes.active.check.fault,
            drift=station.recorder.drift(bundle),
            storage_fault=station.recorder.storage_fault,
            pictures=_pictures(station.recorder.pictures()),
            commissioning=station.set_up.facts(),
            sight=self._sight(state),
        )

    def _recipes(self) -> dict[str, Any]:
        """Return the facts of the recipes."""
        recipes = self._station.recipes
        return {
            "recipe": recipes.active.name,
            "recipe_pending": recipes.pending,
            "recipe_fault": recipes.fault,
            "own_limit": recipes.active.own_limit,
            "limit_fault": recipes.limit_fault,
            "limits_decided": recipes.limits_decided,
            "recipes": list(recipes.bundles),
            "bundle_change": recipes.bundle_change,
            "signed_by": recipes.active.signed_by,
            "unsigned": recipes.active.signed_by is None,
            "self_test": recipes.self_test,
        }

    def _line(self) -> dict[str, Any]:
        """Return the facts of trigger and outputs."""
        line = self._station.line
        return {
            "trigger": line.trigger.describe(),
            "overruns": line.trigger.overruns,
            "software_trigger": self._station.config.trigger.page_button,
            "outputs": [OutputHealth(**asdict(output.state())) for output in line.outputs],
        }


def _pictures(stock: Stock) -> StoredPictures:
    return StoredPictures(mb=round(stock.bytes / 1e6, 1), oldest_ok=stock.oldest_ok, oldest_other=stock.oldest_other)


def sd_notify(message: str) -> bool:
    """Tell systemd READY=1, WATCHDOG=1, STATUS=...; False when nobody listens or reads (sd_notify(3)).

    A socket that is gone is no reason to stop: systemd, which is gone with it, decides what becomes of the engine.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)  # a listener that does not read must not hold up a part
        try:
            sock.sendto(message.encode(), address)
        except OSError:
            return False
    return True
