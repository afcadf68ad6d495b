"""The engine: wiring and shutdown. Nothing is decided here."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from edge.cameras import make_camera, repeats_mean_frozen
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.latency import timing_doubts, with_latency
from edge.config.load import check_files, load_config
from edge.config.station import StationConfig
from edge.core.files import own_folders, set_aside
from edge.core.types import one_line
from edge.core.worker import Worker
from edge.engine import EngineError
from edge.engine.drift import DriftWatch
from edge.engine.loop import IDLE_S, Loop, Stop
from edge.engine.page_process import PageProcess
from edge.engine.recipes import Recipes
from edge.engine.recorder import Recorder
from edge.engine.station import RunningStation
from edge.engine.status import StatusWriter, sd_notify
from edge.exchange.health import HEALTH, LATEST, LATEST_RAW, METRICS, Health, State, write_health
from edge.exchange.requests import RequestServer
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from edge.history.pictures import highest_picture
from edge.inference.cpu import cpu_tier
from edge.line.wiring import open_line

FIRST_FRAME_WITHIN_S = 5.0  # READY does not wait longer for a camera: a lost one is a state, not a failed start
THREAD = "stop"
MIGRATION_S = 3600
STOP_WITHIN_S = 8.0  # less than TimeoutStopSec in systemd/linewatch-engine.service, and than WatchdogSec
# A trigger waits twice so long for a thread that holds the interpreter: with another one busy, hand-over took 2.1 ms in
# the middle with 1 ms, 0.6 ms with 0.2 ms, and the busy one got as much done.
SWITCH_S = 0.0002

log = logging.getLogger(__name__)


class _Part(Protocol):
    """A part of the engine that is started and stopped."""

    @property
    def start(self) -> Callable[[], None]:
        """Start the part."""

    @property
    def stop(self) -> Callable[[], None]:
        """Stop the part."""


P = TypeVar("P", bound=_Part)


class _LastWord:
    """The last entry in health.json, written when all else is closed: why the engine stopped, or did not start."""

    def __init__(self, config: StationConfig) -> None:
        self.status: StatusWriter | None = None  # None until the engine's parts are open
        self._config = config

    def __call__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        detail = one_line(error) if isinstance(error, Exception) else ""
        if self.status is not None:
            self.status.write(State.STOPPED, detail)
        elif error is not None:
            with suppress(OSError):  # the error that is on its way says more
                write_health(self._config.run_dir, _never_ran(self._config, detail))

    def end_in_time(self, closed: threading.Event) -> None:
        """End the process when closing takes too long; what is not stored is accounted for by the next start."""
        if closed.wait(STOP_WITHIN_S):
            return
        error = EngineError(f"the stop took longer than {STOP_WITHIN_S:g} s: a disk or a network does not answer")
        log.error("%s; rows that are not stored get ERROR/engine_died at the next start", error)
        with suppress(OSError):
            self(None, error, None)
        os._exit(1)


def _never_ran(config: StationConfig, detail: str) -> Health:
    """Return the entry of an engine that stopped before it could inspect."""
    now = datetime.now(UTC)
    return Health(
        station=config.name, state=State.STOPPED, detail=detail, pid=os.getpid(), written_at=now, started_at=now,
        bundle=config.bundle.name, bundle_path=str(config.bundle), threshold=0.0, runtime=config.inspection.runtime,
        cpu_tier=cpu_tier(), camera=config.camera.type, camera_fps=0.0, frame_age_ms=None, trigger=config.trigger.type,
        deadline_ms=config.inspection.deadline_ms, counts=dict.fromkeys(("OK", "NG", "ERROR"), 0), reasons={},
        latency=None, last_id=0, last_verdict=None, last_reason=None, recorder_queue=0, images_dropped=0,
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
    parser.add_argument("--no-page", action="store_true", help="the page is started by someone else, or not at all")


def run(arguments: argparse.Namespace) -> int:
    """Run the engine as `edge run` does; returns the exit status."""
    run_engine(arguments.config, with_page=not arguments.no_page)
    if any(isinstance(thread, Worker) for thread in threading.enumerate()):
        # One verifies a bundle, or hangs in a driver: taking the libraries down under it would end in a signal.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    return 0


def run_engine(config_file: Path, with_page: bool = True) -> None:
    """Inspect until SIGTERM or SIGINT; raises EdgeError with one line when it cannot."""
    stop = Stop()
    sys.setswitchinterval(SWITCH_S)
    config = with_latency(load_config(config_file))
    check_files(config)
    for doubt in timing_doubts(config):
        log.warning("%s", doubt)
    page = PageProcess(config_file, config.page, config.page_dir) if with_page else None
    try:
        with own_folders(config.state_dir, config.run_dir), ExitStack() as stack:
            _clear(config)
            _run(config, page, stop, stack)
    except OSError as error:
        what = error.filename or "the engine"
        raise EngineError(f"{what}: {error.strerror or error}; check the path, its owner and the space left") from error


def _clear(config: StationConfig) -> None:
    """Remove what an engine that was killed left, and set aside what lies in the way of the engine's files."""
    run_dir, state_dir = config.run_dir, config.state_dir
    for path in (run_dir / HEALTH, run_dir / METRICS, *state_dir.glob("drift-*.json")):
        set_aside(path)
    for leftover in (run_dir / LATEST, run_dir / LATEST_RAW, *run_dir.glob(".*.tmp"), *state_dir.glob(".*.tmp")):
        if set_aside(leftover) is None:
            leftover.unlink(missing_ok=True)


def _run(config: StationConfig, page: PageProcess | None, stop: Stop, stack: ExitStack) -> None:
    last_word = _LastWord(config)
    closed = threading.Event()
    in_time = Worker(THREAD, lambda: last_word.end_in_time(closed))
    stack.callback(closed.set)
    stack.push(last_word)
    requests = _started(RequestServer(config.run_dir), stack)  # first, so it is closed last: outputs are safe before
    station = _open(config, page, stack)
    stack.callback(in_time.start)
    status = last_word.status = StatusWriter(station)
    loop = Loop(station, requests, status, page, stop)
    gc.collect()
    gc.freeze()  # what lives as long as the engine is never searched for garbage again
    if _wait_until_ready(station, status, page, stop):
        loop.open()
        status.write_now()  # whoever reads READY and asks the page finds it running
        sys.stdout.write(f"READY {page.url}\n" if page else "READY\n")
        sys.stdout.flush()
        title, camera = station.bundle.title, station.capture.camera.describe()
        log.info("ready: %s, %s, %s", title, camera, station.line.trigger.describe())
        sd_notify(f"READY=1\nSTATUS=inspecting with {title}")
        loop.run()
    sd_notify("STOPPING=1")
    log.info("stopping")


def _open(config: StationConfig, page: PageProcess | None, stack: ExitStack) -> RunningStation:
    """Open every part, the line last, and register each for closing in the line that opens it.

    The stack closes in reverse: outputs first, then camera, recorder, page and history.
    """
    recipes = Recipes(config)
    events = stack.enter_context(closing(EventLog(config.events_db, before_migration=_take_time)))
    ids = stack.enter_context(closing(Ids(events, config.run_dir, seen=highest_picture(config.images_dir))))
    if page is not None:
        _started(page, stack)
    bundle, watched = recipes.active.bundle, config.inspection.watch_drift
    drift = DriftWatch(bundle, events, config.state_dir) if watched else None
    recorder = _started(Recorder(events, config.images_dir, config.run_dir, config.storage, drift), stack)
    frozen_frames = config.quality.frozen_frames if repeats_mean_frozen(config.camera) else 0
    capture = _started(Capture(make_camera(config.camera), FrameSlot(), frozen_frames), stack)
    line = stack.enter_context(closing(open_line(config)))
    ids.go_on_after(max(output.last_reported() for output in line.outputs))
    return RunningStation(config, recipes, ids, recorder, capture, line)


def _take_time() -> None:
    """Tell systemd that the start takes longer: ten million rows of an older schema take minutes."""
    sd_notify(f"EXTEND_TIMEOUT_USEC={MIGRATION_S * 1_000_000}\nSTATUS=bringing the history up to date, once")


def _started(part: P, stack: ExitStack) -> P:
    """Start a part and have the stack stop it."""
    part.start()
    stack.callback(part.stop)
    return part


def _wait_until_ready(station: RunningStation, status: StatusWriter, page: PageProcess | None, stop: Stop) -> bool:
    """Wait for the page and, for a while, for the first frame; False when told to stop meanwhile."""
    give_up = time.monotonic() + FIRST_FRAME_WITHIN_S
    page_answers = page is None
    while not stop.wanted:
        station.check()
        status.beat(starting=True)
        page_answers = page_answers or (page is not None and page.answers())
        if page_answers and (station.capture.slot.newest() is not None or time.monotonic() > give_up):
            return True
        time.sleep(IDLE_S)
    return False
