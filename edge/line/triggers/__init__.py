"""The Trigger port: what says that a part is in view. One module per kind of trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge.core.types import Inspection


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """One part to be judged."""

    id: str
    at: float  # monotonic s; the deadline counts from here


class Trigger(Protocol):
    """Waited for by the inspection loop only. What wait() returns was accepted, and must get its inspection."""

    @property
    def overruns(self) -> int:
        """Triggers that came while a part was being judged, and so got no verdict."""

    def open(self) -> None:
        """Accept triggers: the loop begins."""

    def wait(self, timeout_s: float) -> TriggerEvent | None:
        """The next trigger, or None when none came within timeout_s. Until finish(), others are overruns."""

    def finish(self, inspection: Inspection) -> None:
        """The outputs are set: answer whoever triggered, and accept the next trigger."""

    def check(self) -> None:
        """Raise WorkerError when a thread that listens for triggers is dead."""

    def close(self) -> None:
        """Accept no more, and let go of the device; one that was accepted can still be waited for."""

    def describe(self) -> str:
        """One line for a person."""
