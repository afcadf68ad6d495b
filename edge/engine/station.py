"""The open parts of a running engine."""

from __future__ import annotations

from dataclasses import dataclass

from edge.cameras.capture import Capture
from edge.config.station import StationConfig
from edge.engine.recipes import Recipes
from edge.engine.recorder import Recorder
from edge.history.ids import Ids
from edge.inference.bundle import Bundle
from edge.line.wiring import Line


@dataclass(frozen=True, slots=True)
class RunningStation:
    """The parts that the loop works with and that are asked for their state."""

    config: StationConfig
    recipes: Recipes
    ids: Ids
    recorder: Recorder
    capture: Capture
    line: Line

    @property
    def bundle(self) -> Bundle:
        """The bundle that judges now."""
        return self.recipes.active.bundle

    def check(self) -> None:
        """Raise WorkerError when one of the threads is dead."""
        self.capture.worker.check()
        self.recorder.worker.check()
        self.line.check()
