"""The gate between triggers from any thread and the inspection loop: one part at a time, none queued."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from edge.core.types import Inspection
from edge.line.triggers import TriggerEvent


class Gate:
    """A gate that accepts one trigger, hands it over at once, and refuses all others until its part is judged."""

    def __init__(self) -> None:
        self.overruns = 0
        self._changed = threading.Condition()
        self._open = False
        self._admits: Callable[[], bool] = lambda: True
        self._tell: Callable[[bool], None] = lambda accepted: None
        self._arriving = False  # a trigger was accepted, and the outputs hear of it before the loop does
        self._pending: TriggerEvent | None = None
        self._verdict: Future[Inspection] | None = None  # of the part that was accepted and is not yet judged
        self._count = 0

    def open(
        self, admits: Callable[[], bool] = lambda: True, tell: Callable[[bool], None] = lambda accepted: None
    ) -> None:
        """Accept triggers from now on: somebody judges their parts. Trigger.open says what the two calls are for."""
        with self._changed:
            self._admits, self._tell = admits, tell
            self._open = True

    def offer(self, kind: str, at: float | None = None) -> Future[Inspection] | None:
        """Offer a trigger of now, or of the monotonic second `at`; return its verdict to come, None for an overrun."""
        with self._changed:
            if self._verdict is not None:
                self.overruns += 1
                return None
            verdict = self._take()
        self._tell(verdict is not None)  # without the lock: an output may be waiting for this very gate
        if verdict is not None:
            self._hand_over(kind, at)
        return verdict

    def _take(self) -> Future[Inspection] | None:
        """Accept or refuse a trigger between two parts."""
        if not (self._open and self._admits()):
            self.overruns += 1
            return None
        self._arriving = True
        self._verdict = Future()
        return self._verdict

    def _hand_over(self, kind: str, at: float | None) -> None:
        with self._changed:
            self._count += 1
            self._pending = TriggerEvent(f"{kind}-{self._count}", time.monotonic() if at is None else at)
            self._arriving = False
            self._changed.notify_all()

    def refuse(self) -> None:
        """Count an overrun that a source found by itself."""
        with self._changed:
            self.overruns += 1

    def wait(self, timeout_s: float) -> TriggerEvent | None:
        """Return the accepted trigger, within microseconds of the offer."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending is not None, timeout_s)
            self._changed.wait_for(lambda: not self._arriving)
            event, self._pending = self._pending, None
            return event

    def between_parts(self, step: Callable[[], bool]) -> bool:
        """Return step(), during which no trigger is accepted; False without it when a part waits to be judged."""
        with self._changed:
            return self._verdict is None and step()

    def finish(self, inspection: Inspection) -> None:
        """Answer whoever triggered, and accept the next trigger."""
        with self._changed:
            verdict, self._verdict = self._verdict, None
        if verdict is not None:
            verdict.set_result(inspection)

    def close(self) -> None:
        """Refuse whatever comes; what was accepted can still be waited for and finished."""
        with self._changed:
            self._open = False


class Source(Protocol):
    """One thing that offers triggers to a gate."""

    def check(self) -> None:
        """Raise WorkerError when its thread is dead."""

    def close(self) -> None:
        """Offer no more; called once."""

    def describe(self) -> str:
        """Return one line that names the source to a person."""


class GatedTrigger:
    """The Trigger of a station that waits for events: any number of sources, one gate."""

    def __init__(self, gate: Gate, sources: Sequence[Source]) -> None:
        self._gate = gate
        self._sources = sources
        self._closed = False

    @property
    def overruns(self) -> int:
        return self._gate.overruns

    def open(
        self, admits: Callable[[], bool] = lambda: True, tell: Callable[[bool], None] = lambda accepted: None
    ) -> None:
        self._gate.open(admits, tell)

    def wait(self, timeout_s: float) -> TriggerEvent | None:
        return self._gate.wait(timeout_s)

    def between_parts(self, step: Callable[[], bool]) -> bool:
        return self._gate.between_parts(step)

    def finish(self, inspection: Inspection) -> None:
        self._gate.finish(inspection)

    def check(self) -> None:
        for source in self._sources:
            source.check()

    def close(self) -> None:
        """Close the gate and its sources; a second call does nothing."""
        self._gate.close()
        if not self._closed:
            self._closed = True
            for source in self._sources:
                source.close()

    def describe(self) -> str:
        return ", ".join(source.describe() for source in self._sources)
