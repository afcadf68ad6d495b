"""The Trigger port: it says that a part is in view. Each kind of trigger has a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.core.types import Inspection


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """One part to be judged."""

    id: str
    at: float  # monotonic s; the deadline counts from here
    is_part: bool = True  # False: a tick, which says nothing about what is in view


class Trigger(Protocol):
    """A source of triggers, used by the inspection loop only. A trigger that wait() returns must get its inspection."""

    @property
    def overruns(self) -> int:
        """The number of triggers that were refused, so got no verdict: a part was in work, or none could be taken."""

    def open(
        self, admits: Callable[[], bool] = lambda: True, tell: Callable[[bool], None] = lambda accepted: None
    ) -> None:
        """Accept triggers from now on; the loop calls this when it begins.

        admits: asked at each trigger, in any thread; False refuses it. It must neither wait nor trigger.
        tell: called in the trigger's thread, before the loop hears: True for a trigger that is accepted, False for
        one that is refused between two parts. A trigger that is refused during a part is only counted.
        """

    def wait(self, timeout_s: float) -> TriggerEvent | None:
        """Return the next trigger, or None when none came within timeout_s. Until finish(), others are overruns."""

    def between_parts(self, step: Callable[[], bool]) -> bool:
        """Return step(), during which no trigger is accepted; False without it when a part waits to be judged.

        step must wait for nothing that a trigger's thread holds.
        """

    def finish(self, inspection: Inspection) -> None:
        """Answer whoever triggered, and accept the next trigger; the outputs are set."""

    def check(self) -> None:
        """Raise WorkerError when a thread that listens for triggers is dead."""

    def close(self) -> None:
        """Accept no more, and let go of the device; one that was accepted can still be waited for."""

    def describe(self) -> str:
        """Return one line that names the trigger to a person."""
