"""The engine: wiring and shutdown. Nothing is decided here."""

from __future__ import annotations

import fcntl
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from edge.bundle import Bundle, open_bundle
from edge.cameras import make_camera
from edge.capture import Capture, FrameSlot
from edge.config import StationConfig, load_config
from edge.detector import Detector, check_references
from edge.eventlog import EventLog
from edge.health import LATEST, LATEST_RAW, REQUESTS, State, sd_notify
from edge.inspector import Inspector
from edge.outputs.memory import MemoryOutput
from edge.page import PageProcess
from edge.recorder import Recorder
from edge.reporter import Engine, Reporter
from edge.requests import RequestBox
from edge.triggers import make_trigger
from edge.types import EdgeError

FIRST_FRAME_WITHIN_S = 5.0  # READY does not wait longer for a camera: a lost one is a state, not a failed start
IDLE_S = 0.05  # how long one wait for a trigger may last, so how soon a stop or an upload is noticed
REFERENCE_ROUNDS = 3  # a machine that is still booting may be slow once
LOCK = "engine.lock"

ExitCallback = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]

log = logging.getLogger(__name__)


class DaemonError(EdgeError):
    """The engine cannot start, or cannot go on."""


class Stop:
    """Set by a signal handler, asked by the loops."""

    def __init__(self) -> None:
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup a closed terminal is no reason
            signal.signal(signal.SIGHUP, self._set)

    def _set(self, _number: int, _frame: object) -> None:
        self.wanted = True


def run(config_file: Path, with_page: bool = True) -> None:
    """Inspect until SIGTERM or SIGINT; raises EdgeError with one line when it cannot."""
    stop = Stop()
    sys.setswitchinterval(0.001)  # the inspection waits at most so long for a thread that holds the interpreter
    config = load_config(config_file)
    page = PageProcess(config_file, config.page) if with_page else None
    try:
        with _own_folders(config), ExitStack() as stack:
            _run(config, page, stop, stack)
    except OSError as error:
        what = error.filename or "the engine"
        raise DaemonError(f"{what}: {error.strerror or error}; check the path, its owner and the space left") from error


@contextmanager
def _own_folders(config: StationConfig) -> Iterator[None]:
    """Make both folders, keep a second engine out of them, and clear what a killed one left. Raises DaemonError."""
    with ExitStack() as stack:
        for folder in (config.state_dir, config.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DaemonError(f"{folder}: another engine uses it; stop that one first") from None
        for leftover in (config.run_dir / LATEST, config.run_dir / LATEST_RAW, *config.run_dir.glob(".*.tmp")):
            leftover.unlink(missing_ok=True)
        yield


def _run(config: StationConfig, page: PageProcess | None, stop: Stop, stack: ExitStack) -> None:
    """Start everything in the order of its need; the stack undoes it in reverse: outputs first, history last."""
    bundle = open_bundle(config.bundle)
    detector = _ready_detector(bundle, config)
    events = EventLog(config.events_db)
    stack.callback(events.close)
    last_id = events.last_id()
    engine = _engine(config, bundle, events)
    box = RequestBox(config.run_dir / REQUESTS)
    box.clear()
    reporter = Reporter(engine, last_id)
    if page is not None:
        stack.callback(page.stop)
        page.start()
    stack.push(_goodbye(reporter))
    engine.recorder.start()
    stack.callback(engine.recorder.stop)
    engine.capture.start()
    stack.callback(engine.capture.stop)
    stack.callback(engine.trigger.close)
    output = MemoryOutput()
    stack.callback(output.close)
    threshold, deadline_ms = bundle.manifest.threshold.value, config.inspection.deadline_ms
    inspector = Inspector(engine.capture.slot, detector, [output], threshold, deadline_ms, bundle.title, last_id)
    gc.collect()
    gc.freeze()  # what lives as long as the engine is never searched for garbage again
    if _wait_until_ready(engine, reporter, page, stop):
        reporter.write_now()  # whoever reads READY and asks the page finds it running
        sys.stdout.write(f"READY {page.url}\n" if page else "READY\n")
        sys.stdout.flush()
        log.info("ready: %s, %s, %s", bundle.title, engine.capture.camera.describe(), engine.trigger.describe())
        sd_notify(f"READY=1\nSTATUS=inspecting with {bundle.title}")
        _inspect_until_stopped(engine, inspector, detector, box, reporter, page, stop)
    sd_notify("STOPPING=1")
    log.info("stopping")


def _ready_detector(bundle: Bundle, config: StationConfig) -> Detector:
    """A warm detector that reproduced the bundle's references on this CPU in time; raises DaemonError."""
    settings = config.inspection
    detector = Detector.from_bundle(bundle, settings.runtime, threads=settings.threads)
    check_references(detector, bundle)  # the first inferences are slower than any later one
    slowest_ms = 0.0
    for _ in range(REFERENCE_ROUNDS):
        checks = check_references(detector, bundle)
        for check in checks:
            if not check.passed:
                raise DaemonError(
                    f"{bundle.path}: {check.file} scores {check.score:g} on this CPU, expected {check.expected:g} "
                    f"within {check.tolerance:g}; try inspection.runtime, or pack a bundle for this CPU"
                )
        slowest_ms = max(check.infer_ms for check in checks)
        if slowest_ms <= settings.deadline_ms:
            return detector
    raise DaemonError(
        f"{bundle.path}: an inspection takes {slowest_ms:.0f} ms on this CPU, inspection.deadline_ms is "
        f"{settings.deadline_ms:g}; use a smaller input, a faster CPU or a longer deadline"
    )


def _engine(config: StationConfig, bundle: Bundle, events: EventLog) -> Engine:
    max_bytes = config.storage.max_image_mb * 1_000_000
    return Engine(
        config=config,
        bundle=bundle,
        capture=Capture(make_camera(config.camera), FrameSlot()),
        recorder=Recorder(events, bundle.manifest.input, config.images_dir, config.run_dir, max_bytes),
        trigger=make_trigger(config.trigger),
    )


def _goodbye(reporter: Reporter) -> ExitCallback:
    """The last word in health.json: why the engine stopped."""

    def say(_kind: object, error: BaseException | None, _trace: object) -> None:
        reporter.write(State.STOPPED, "" if error is None else str(error))

    return say


def _wait_until_ready(engine: Engine, reporter: Reporter, page: PageProcess | None, stop: Stop) -> bool:
    """Wait for the page and, for a while, for the first frame; False when told to stop meanwhile."""
    give_up = time.monotonic() + FIRST_FRAME_WITHIN_S
    page_answers = page is None
    while not stop.wanted:
        engine.check()
        reporter.beat(starting=True)
        page_answers = page_answers or (page is not None and page.answers())
        if page_answers and (engine.capture.slot.newest() is not None or time.monotonic() > give_up):
            return True
        time.sleep(IDLE_S)
    return False


def _inspect_until_stopped(
    engine: Engine,
    inspector: Inspector,
    detector: Detector,
    box: RequestBox,
    reporter: Reporter,
    page: PageProcess | None,
    stop: Stop,
) -> None:
    """The inspection loop: verdict and output first, everything else between two parts."""
    threshold, title = engine.bundle.manifest.threshold.value, engine.bundle.title
    while not stop.wanted:
        engine.check()
        event = engine.trigger.wait(IDLE_S)
        if event is not None:
            inspection = inspector.inspect(event)
            engine.recorder.put(inspection)
            reporter.add(inspection)
        box.answer_next(detector.predict_prepared, threshold, title)
        reporter.beat()
        if page is not None:
            page.check()
