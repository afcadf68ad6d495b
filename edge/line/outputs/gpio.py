"""The output through GPIO: each part gives one pulse of full length on the line of its verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from math import inf

from edge.config.outputs import GpioOutputConfig
from edge.core.types import Inspection, Verdict
from edge.core.worker import Worker
from edge.line.gpio_chip import Chip
from edge.line.outputs import Output, OutputError

THREAD = "gpio-pulse"


class GpioOutput(Output):
    """An output on GPIO lines. Shutdown value: every line inactive, or with safe = "error" the ERROR line active.

    Between two pulses every line is inactive for gap_ms, so that each part is an edge of its own.
    """

    def __init__(self, chip: Chip, config: GpioOutputConfig) -> None:
        """Ask for the lines and make them safe; raises LineError when a line cannot be had."""
        self._lines = {Verdict.OK: config.ok_line, Verdict.NG: config.ng_line, Verdict.ERROR: config.error_line}
        self._pulse_s, self._gap_s = config.pulse_ms / 1e3, config.gap_ms / 1e3
        held = config.error_line if config.safe == "error" else None
        self._safe_lines = () if held is None else (held,)
        self.name = f"gpio {chip.name}"
        self._changed = threading.Condition()
        self._active: tuple[int, ...] = ()
        self._rest: tuple[int, ...] = ()  # active when no pulse runs
        self._ends_at: float | None = None  # of the pulse that runs, monotonic s
        self._quiet_at = 0.0  # since when no line is active, monotonic s
        self._closing = False
        self._driven = chip.drive(config.lines, config.active_low)
        self.safe()
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    def show(self, inspection: Inspection, until: float = inf) -> float:
        """Begin the pulse before this returns; a verdict that would be late gives the pulse of ERROR.

        A pulse that still runs is cut short: free() says that there is none.
        """
        self.told += 1
        with self._changed:
            self._rest = ()
            if self._active:
                self._set(())
            time.sleep(max(0.0, self._quiet_at + self._gap_s - time.monotonic()))  # only after a line that was held
            late = time.monotonic() > until
            line = self._lines[Verdict.ERROR if late else inspection.verdict]
            self._set(() if line is None else (line,))
            told_at = time.monotonic()
            self._ends_at = told_at + self._pulse_s
            self._changed.notify()
        return told_at

    def by_hand(self, verdict: Verdict) -> None:
        """Give one pulse of this verdict's line; raises OutputError while another one runs."""
        with self._changed:
            line = self._lines[verdict]
            if line is None:
                raise OutputError(f"{self.name}: no line is set for {verdict}")
            if not self.free():
                raise OutputError(f"{self.name}: a pulse still runs; try again")
            self._rest = ()
            self._set((line,))
            self._ends_at = time.monotonic() + self._pulse_s
            self._changed.notify()

    def ready(self, accepts: bool) -> None:
        """Let go of an ERROR line that is held, as soon as a part is in work: its verdict needs an edge."""
        with self._changed:
            if not accepts and self._ends_at is None and self._active:
                self._rest = ()
                self._set(())

    def free(self) -> bool:
        """Return True when no pulse runs and the gap after the last one is over."""
        with self._changed:
            quiet = not self._active or self._active == self._safe_lines
            return quiet and self._ends_at is None and time.monotonic() >= self._quiet_at + self._gap_s

    def safe(self) -> None:
        """Withdraw an OK at once. A pulse that rejects keeps its full length, and the safe level follows it."""
        with self._changed:
            self._rest = self._safe_lines
            withdraws = self._lines[Verdict.OK] in self._active
            if withdraws or self._ends_at is None:
                self._go_to_rest()
                self._changed.notify()

    def check(self) -> None:
        self._worker.check()

    def close(self) -> None:
        """Go safe; a pulse that rejects is over when this returns."""
        try:
            self.safe()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify()
            self._worker.join(2 * self._pulse_s + 1.0)
            try:
                self._driven.set(self._safe_lines)
            finally:
                self._driven.close()

    def _set(self, lines: Sequence[int]) -> None:
        """Make these lines active and no other; raises LineError, and then nothing counts as changed."""
        self._driven.set(lines)
        if self._active and not lines:
            self._quiet_at = time.monotonic()
        self._active = tuple(lines)

    def _go_to_rest(self) -> None:
        """End a pulse. An ERROR line that is held from now on stays so for the length of a pulse at least."""
        held = self._active == self._rest
        self._set(self._rest)
        self._ends_at = None if held or not self._rest else time.monotonic() + self._pulse_s

    def _run(self) -> None:
        """End each pulse in time, and the thread when the last one is over."""
        with self._changed:
            while not (self._closing and self._ends_at is None):
                now = time.monotonic()
                if self._ends_at is not None and now >= self._ends_at:
                    self._go_to_rest()
                else:
                    self._changed.wait(None if self._ends_at is None else self._ends_at - now)
