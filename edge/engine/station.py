"""The open parts of a running engine, and its set-up by an engineer."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edge.cameras.capture import Capture
from edge.cameras.commission import grab
from edge.cameras.quality import Baseline, baseline_of
from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.core.types import EdgeError, Inspection, Reason, Verdict, one_line
from edge.core.worker import Worker
from edge.engine import EngineError
from edge.engine.recipes import Recipes
from edge.engine.recorder import Recorder
from edge.exchange.commands import CommissionWish, Step
from edge.exchange.health import ByHand, Commissioning, DryPart
from edge.history.ids import Ids
from edge.inference.bundle import Bundle
from edge.line.wiring import Line

THREAD = "baseline"
TRIALS = 40  # parts of a dry run that health.json tells
Outcome = Baseline | EngineError


class SetUp:
    """The set-up of a station by an engineer: what was done so far. Used by the main loop only.

    While it lasts every part is ERROR. Only the engineer ends it, or a new start of the engine.
    """

    def __init__(self) -> None:
        self._facts: Commissioning | None = None
        self._worker: Worker | None = None
        self._outcome: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    @property
    def engineer(self) -> str | None:
        """Who sets the station up; None: nobody does."""
        return None if self._facts is None else self._facts.who

    def facts(self) -> Commissioning | None:
        """Return what health.json says of it."""
        return self._facts

    def take(self, wish: CommissionWish, config: StationConfig, capture: Capture, recipe: str) -> None:
        """Begin, take a baseline in a thread, or end; raises EngineError when it is not the time for it."""
        if wish.step is Step.BEGIN:
            since = datetime.now(UTC)
            self._facts = self._facts or Commissioning(who=wish.who, since=since)
            return
        if self._facts is None:
            raise EngineError("the station is not being set up; begin the set-up first")
        if self._worker is not None:
            raise EngineError("a baseline is being taken; wait until it is stored")
        if wish.step is Step.END:
            self._facts = None
            return
        self._note(baseline_runs=True)
        self._worker = Worker(THREAD, lambda: self._outcome.put(_baseline(wish, config, capture, recipe)))
        self._worker.start()

    def settle(self) -> bool:
        """Return True when a baseline was stored since the last call: the recipe has to be loaded again."""
        if self._worker is None:
            return False
        try:
            found = self._outcome.get_nowait()
        except queue.Empty:
            self._worker.check()
            return False
        self._worker = None
        if isinstance(found, EngineError):
            self._note(baseline_runs=False, baseline_detail=f"not stored: {found}")
            return False
        size = f"{found.width}x{found.height}, sharpness {found.focus:.0f}, brightness {found.exposure:.0f}"
        self._note(baseline_runs=False, baseline_at=found.made_at, baseline_detail=f"{found.frames} pictures, {size}")
        return True

    def note_trial(self, inspection: Inspection, would: tuple[Verdict, Reason]) -> None:
        """Note what a part would have got."""
        if self._facts is not None:
            total_ms = round(inspection.timings.total_ms, 2)
            trial = DryPart(id=inspection.id, would=would[0], reason=would[1], total_ms=total_ms)
            self._note(trials=[*self._facts.trials, trial][-TRIALS:])

    def note_by_hand(self, output: str, verdict: Verdict | None) -> None:
        """Note that an output was set by hand."""
        if self._facts is not None:
            kept = [one for one in self._facts.by_hand if (one.output, one.verdict) != (output, verdict)]
            self._note(by_hand=[*kept, ByHand(output=output, verdict=verdict, at=datetime.now(UTC))])

    def _note(self, **facts: object) -> None:
        if self._facts is not None:
            self._facts = self._facts.model_copy(update=facts)


def _baseline(wish: CommissionWish, config: StationConfig, capture: Capture, recipe: str) -> Outcome:
    """Take a baseline and store it, in the thread."""
    try:
        frames = grab(capture.slot, wish.frames, wish.seconds, lambda: capture.status().detail)
        baseline = baseline_of(frames, capture.camera.describe())
        write_atomically(config.baseline(recipe), baseline.model_dump_json(indent=1).encode())
    except EdgeError as error:
        return EngineError(one_line(error))
    except OSError as error:
        return EngineError(f"{error.filename}: {error.strerror or error}")
    return baseline


@dataclass(frozen=True, slots=True)
class RunningStation:
    """The parts that the loop works with and that are asked for their state."""

    config: StationConfig
    recipes: Recipes
    ids: Ids
    recorder: Recorder
    capture: Capture
    line: Line
    set_up: SetUp = field(default_factory=SetUp)

    @property
    def bundle(self) -> Bundle:
        """The bundle that judges now."""
        return self.recipes.active.bundle

    def check(self) -> None:
        """Raise WorkerError when one of the threads is dead."""
        self.capture.worker.check()
        self.recorder.worker.check()
        self.line.check()
