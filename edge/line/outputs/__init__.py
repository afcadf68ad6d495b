"""The Output port: how the line is told. Every output rejects until it is told OK."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

from edge.core.types import Inspection
from edge.line import LineError


class OutputError(LineError):
    """The line could not be told."""


@dataclass(frozen=True, slots=True)
class OutputState:
    """What health says of one output."""

    name: str  # e.g. "mqtt broker.local:8883"
    up: bool = True
    detail: str = ""  # one line: why it is down
    waiting: int = 0  # messages kept until they are taken
    told: int = 0  # verdicts that it was told since the start


class Output(Protocol):
    """One way to the line; in its safe state (reject) from construction on. Nothing here waits for a network."""

    @property
    def reports(self) -> bool:
        """True for a record of what was decided: told after the outputs that move parts, and moves none."""

    def ready(self, accepts: bool) -> None:
        """False: a part is being judged. True: the next trigger is accepted."""

    def show(self, inspection: Inspection, until: float = inf) -> float:
        """Tell the verdict of one part, once; only Verdict.OK releases it. Raises OutputError.

        Returns when it was told, monotonic s. What comes after `until` releases nothing, not for a moment: who
        reads the output sees ERROR, as the row says.
        """

    def last_reported(self) -> int | None:
        """Of a report: the last inspection that it has for certain. What the history has since then is told again."""

    def safe(self) -> None:
        """Reject, whatever was told before: at start, stop and every fault."""

    def beat(self, overruns: int) -> None:
        """The inspection loop goes round; overruns is how many triggers were refused since the start."""

    def able(self) -> None:
        """Raise OutputError when the next verdict could not be told; asked before any output is told of a part."""

    def check(self) -> None:
        """Raise WorkerError when a thread is dead."""

    def state(self) -> OutputState:
        """For health.json."""

    def close(self) -> None:
        """Go safe, then let go of the device."""
