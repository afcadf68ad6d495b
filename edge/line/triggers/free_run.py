"""The trigger at a steady rate, whatever is in view."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.core.types import Inspection
from edge.line.triggers import TriggerEvent


class FreeRun:
    """A trigger on a fixed grid, so that delays do not add up; a missed tick is counted, never made up for."""

    def __init__(
        self,
        rate_hz: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.overruns = 0
        self._period_s = 1.0 / rate_hz
        self._rate_hz = rate_hz
        self._clock = clock
        self._sleep = sleep
        self._due: float | None = None  # the grid begins with the first wait
        self._count = 0
        self._closed = False
        self._admits: Callable[[], bool] = lambda: True
        self._tell: Callable[[bool], None] = lambda accepted: None

    def open(
        self, admits: Callable[[], bool] = lambda: True, tell: Callable[[bool], None] = lambda accepted: None
    ) -> None:
        """Take no tick while admits() is False. The grid begins with the first wait."""
        self._admits, self._tell = admits, tell

    def wait(self, timeout_s: float) -> TriggerEvent | None:
        if self._closed:
            return None
        now = self._clock()
        if self._due is None:
            self._due = now
        if self._due > now:
            self._sleep(min(timeout_s, self._due - now))
            now = self._clock()
            if self._due > now:
                return None
        missed = int((now - self._due) / self._period_s)
        self.overruns += missed
        self._due += (missed + 1) * self._period_s
        admitted = self._admits()
        self._tell(admitted)
        if not admitted:
            self.overruns += 1
            return None
        self._count += 1
        return TriggerEvent(f"free-run-{self._count}", now, is_part=False)

    def between_parts(self, step: Callable[[], bool]) -> bool:
        return step()

    def finish(self, inspection: Inspection) -> None:
        """Do nothing: nobody waits for the verdict of a tick."""

    def check(self) -> None:
        """Do nothing: there is no thread that could die."""

    def close(self) -> None:
        self._closed = True

    def describe(self) -> str:
        return f"free run {self._rate_hz:g} Hz"
