"""The engine: wiring and shutdown. Nothing is decided here."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from edge.cameras import make_camera, repeats_mean_frozen
from edge.cameras.capture import Capture, FrameSlot
from edge.config.load import check_files, load_config
from edge.config.station import StationConfig
from edge.core.files import own_folders
from edge.core.types import EdgeError
from edge.engine.inspector import Inspector
from edge.engine.page_process import PageProcess
from edge.engine.recipes import RecipeError, Recipes
from edge.engine.recorder import Recorder
from edge.engine.status import Engine, Reporter, sd_notify
from edge.exchange.health import LATEST, LATEST_RAW, REQUESTS, State
from edge.exchange.requests import Command, RequestBox, Verb
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from edge.line.modbus_server import ModbusServer
from edge.line.triggers import TriggerEvent
from edge.line.wiring import open_line

FIRST_FRAME_WITHIN_S = 5.0  # READY does not wait longer for a camera: a lost one is a state, not a failed start
# A trigger waits twice so long for a thread that holds the interpreter: with another one busy, hand-over took 2.1 ms in
# the middle with 1 ms, 0.6 ms with 0.2 ms, and the busy one got as much done.
SWITCH_S = 0.0002
IDLE_S = 0.05  # how long one wait for a trigger may last, so how soon a stop or an upload is noticed

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
    sys.setswitchinterval(SWITCH_S)
    config = load_config(config_file)
    check_files(config)
    page = PageProcess(config_file, config.page) if with_page else None
    try:
        with own_folders(config.state_dir, config.run_dir), ExitStack() as stack:
            _clear(config)
            _run(config, page, stop, stack)
    except OSError as error:
        what = error.filename or "the engine"
        raise DaemonError(f"{what}: {error.strerror or error}; check the path, its owner and the space left") from error


def _clear(config: StationConfig) -> None:
    """Remove what an engine that was killed left."""
    for leftover in (config.run_dir / LATEST, config.run_dir / LATEST_RAW, *config.run_dir.glob(".*.tmp")):
        leftover.unlink(missing_ok=True)


def _run(config: StationConfig, page: PageProcess | None, stop: Stop, stack: ExitStack) -> None:
    """Start everything in the order of its need; the stack undoes it in reverse: outputs first, history last."""
    recipes = Recipes(config)
    events = EventLog(config.events_db)
    stack.callback(events.close)
    sequence = Ids(events, config.run_dir)
    stack.callback(sequence.close)
    engine = _engine(config, recipes, events)
    box = RequestBox(config.run_dir / REQUESTS)
    box.clear()
    reporter = Reporter(engine, sequence.last)
    if page is not None:
        stack.callback(page.stop)
        page.start()
    stack.push(_goodbye(reporter))
    engine.recorder.judged_by(engine.bundle)
    engine.recorder.start()
    stack.callback(engine.recorder.stop)
    engine.capture.start()
    stack.callback(engine.capture.stop)
    stack.callback(engine.line.close)
    _catch_up(engine, events, sequence.last)
    inspector = _inspector(engine, sequence.next_id)
    gc.collect()
    gc.freeze()  # what lives as long as the engine is never searched for garbage again
    if _wait_until_ready(engine, reporter, page, stop):
        engine.line.trigger.open()
        inspector.ready()
        reporter.write_now()  # whoever reads READY and asks the page finds it running
        sys.stdout.write(f"READY {page.url}\n" if page else "READY\n")
        sys.stdout.flush()
        log.info(
            "ready: %s, %s, %s", engine.bundle.title, engine.capture.camera.describe(), engine.line.trigger.describe()
        )
        sd_notify(f"READY=1\nSTATUS=inspecting with {engine.bundle.title}")
        _inspect_until_stopped(engine, inspector, sequence, box, reporter, page, stop)
    sd_notify("STOPPING=1")
    log.info("stopping")


def _catch_up(engine: Engine, events: EventLog, last_id: int) -> None:
    """Tell the reports of every row that an engine which was killed could not hand over any more."""
    for output in engine.line.outputs:
        reported = output.last_reported() if output.reports else None
        for number in range(last_id if reported is None else reported, last_id):
            row = events.get(number + 1)
            if row is not None:
                output.show(row)


def _engine(config: StationConfig, recipes: Recipes, events: EventLog) -> Engine:
    frozen_frames = config.quality.frozen_frames if repeats_mean_frozen(config.camera) else 0
    drift_dir = config.state_dir if config.inspection.watch_drift else None
    return Engine(
        config=config,
        recipes=recipes,
        capture=Capture(make_camera(config.camera), FrameSlot(), frozen_frames),
        recorder=Recorder(events, config.images_dir, config.run_dir, config.storage, drift_dir),
        line=open_line(config),
    )


def _inspector(engine: Engine, next_id: Callable[[], int]) -> Inspector:
    recipe, deadline_ms = engine.recipes.active, engine.config.inspection.deadline_ms
    threshold, title = recipe.bundle.manifest.threshold.value, recipe.bundle.title
    inspector = Inspector(
        engine.capture.slot, recipe.detector, engine.line.outputs, threshold, deadline_ms, title, next_id
    )
    _adopt(engine, inspector)
    return inspector


def _adopt(engine: Engine, inspector: Inspector) -> None:
    """Judge with the active recipe from now on, or not at all when its self-test failed."""
    recipe = engine.recipes.active
    inspector.use(recipe.detector, recipe.bundle.manifest.threshold.value, recipe.bundle.title, recipe.gate)
    if engine.recipes.refusal is not None:
        inspector.refuse(engine.recipes.refusal)


def _next_part(engine: Engine, sequence: Ids) -> TriggerEvent | None:
    """No part is accepted while so many rows wait for the disk that an id could be given twice."""
    if sequence.has_room():
        return engine.line.trigger.wait(IDLE_S)
    time.sleep(IDLE_S)
    return None


def _serve(engine: Engine, box: RequestBox) -> None:
    """At most one upload and one command between two parts."""
    recipe = engine.recipes.active
    box.answer_next(recipe.detector.predict_prepared, recipe.bundle.manifest.threshold.value, recipe.bundle.title)
    box.obey_next(lambda command: _obey(engine, command))
    if engine.line.modbus is not None:
        _follow_plc(engine, engine.line.modbus)


def _follow_plc(engine: Engine, modbus: ModbusServer) -> None:
    """The recipe that the PLC selects by its number; what cannot be selected leaves RECIPE_ACTIVE as it is."""
    names = list(engine.recipes.bundles)
    wanted = modbus.take_recipe()
    if wanted is not None and wanted < len(names):
        with suppress(RecipeError):  # another one is being verified; the PLC sees that nothing changed
            engine.recipes.select(names[wanted])
    modbus.recipe_active = names.index(engine.recipes.active.name)


def _obey(engine: Engine, command: Command) -> None:
    """Raises EdgeError to refuse."""
    if command.verb is Verb.SWITCH_RECIPE:
        engine.recipes.select(command.recipe or "")
    elif command.verb is Verb.SELF_TEST:
        engine.recipes.retest()


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
    sequence: Ids,
    box: RequestBox,
    reporter: Reporter,
    page: PageProcess | None,
    stop: Stop,
) -> None:
    """The inspection loop: verdict and output first, everything else between two parts."""
    trigger = engine.line.trigger
    while not stop.wanted:
        engine.check()
        event = _next_part(engine, sequence)
        if event is not None:
            _judge(event, engine, inspector, reporter)
        inspector.beat(trigger.overruns)
        _serve(engine, box)
        if engine.recipes.settle():
            engine.recorder.judged_by(engine.bundle)
            _adopt(engine, inspector)
            reporter.switched()
        reporter.beat()
        if page is not None:
            page.check()
    trigger.close()
    event = trigger.wait(0)  # accepted before it closed, so it gets its verdict
    if event is not None:
        _judge(event, engine, inspector, reporter)


def _judge(event: TriggerEvent, engine: Engine, inspector: Inspector, reporter: Reporter) -> None:
    inspection = inspector.inspect(event)
    engine.line.trigger.finish(inspection)
    inspector.ready()  # only now: a PLC may answer within a millisecond
    engine.recorder.put(inspection)
    reporter.add(inspection)
