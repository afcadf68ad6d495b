"""The Output port: one way to tell the line. Every output rejects until it is told OK."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf

from edge.core.types import Inspection, Verdict
from edge.line import LineError


class OutputError(LineError):
    """The line could not be told."""


@dataclass(frozen=True, slots=True)
class OutputState:
    """The state of one output, for health.json."""

    name: str  # e.g. "mqtt broker.local:8883"
    up: bool = True
    detail: str = ""  # one line: why it is down
    waiting: int = 0  # messages kept until they are taken
    told: int = 0  # verdicts that it was told since the start


class Output(ABC):
    """One way to the line; in its safe state (reject) from construction on. Nothing here waits for a network.

    A new output sets `name`, and writes show() and safe(). By default nothing is kept, and there is nothing to check.
    """

    name = "output"  # for health and log
    reports = False  # True for a record of what was decided: told after the outputs that move parts, and moves none
    told = 0  # verdicts since the start

    @abstractmethod
    def show(self, inspection: Inspection, until: float = inf) -> float:
        """Tell the verdict of one part, once; only Verdict.OK releases it. Raises OutputError.

        Returns when it was told, monotonic s. What comes after `until` releases nothing, not for a moment: who
        reads the output sees ERROR, as the row says.
        """

    def by_hand(self, verdict: Verdict) -> None:
        """Show a verdict of no part, to test the wires; safe() ends it. Raises OutputError.

        Called only while every part is ERROR anyway, and between two parts.
        """
        raise OutputError(f"{self.name}: moves nothing, so there is nothing to set by hand")

    @abstractmethod
    def safe(self) -> None:
        """Reject, whatever was told before: at start, stop and every fault."""

    def ready(self, accepts: bool) -> None:
        """Hear that a part is in work (False), or that the next trigger is accepted (True).

        From False until show() nothing releases, and a release of an earlier part is taken back. False comes twice:
        from the thread of the trigger, then from the loop.
        """

    def passed(self) -> None:
        """Hear that a trigger was refused between two parts: a release that is out is no release of that part.

        Called in the trigger's thread.
        """

    def free(self) -> bool:
        """Return True when the next verdict would be told as an action of its own; else its trigger is refused.

        Asked in the trigger's thread: it must not wait for a part.
        """
        return True

    def beat(self, overruns: int) -> None:
        """Hear that the inspection loop goes round; overruns: the triggers that were refused since the start."""

    def able(self) -> None:
        """Raise OutputError when the next verdict could not be told; asked before any output is told of a part."""

    def check(self) -> None:
        """Raise WorkerError when a thread is dead."""

    def last_reported(self) -> int:
        """Return the highest id that a record is known to have at the start, in whichever history; 0 when unknown."""
        return 0

    def state(self) -> OutputState:
        """Return the state for health.json."""
        return OutputState(self.name, told=self.told)

    def leave(self) -> None:
        """Hear that the station stops, before any output is closed: what takes time begins now."""

    def close(self) -> None:
        """Go safe, then let go of the device."""
        self.safe()
