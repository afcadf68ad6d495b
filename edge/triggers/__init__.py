"""The Trigger port: what says that a part is in view. One module per kind of trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge.config import TriggerConfig


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """One part to be judged."""

    id: str
    at: float  # monotonic s; the deadline counts from here


class Trigger(Protocol):
    """Waited for by the inspection loop only."""

    overruns: int  # triggers that came while a part was being judged, and so got no verdict

    def wait(self, timeout_s: float) -> TriggerEvent | None:
        """The next trigger, or None when none came within timeout_s."""

    def close(self) -> None:
        """Let go of the device."""

    def describe(self) -> str:
        """One line for a person."""


def make_trigger(config: TriggerConfig) -> Trigger:
    """The trigger of a [trigger] section."""
    from edge.triggers.free_run import FreeRun

    return FreeRun(config.rate_hz)
