"""The output through GPIO: each part gives one pulse on the line of its verdict."""

from __future__ import annotations

import threading
import time
from math import inf

from edge.config.outputs import GpioOutputConfig
from edge.core.types import Inspection, Verdict
from edge.core.worker import Worker
from edge.line.gpio_chip import Chip
from edge.line.outputs import Output

THREAD = "gpio-pulse"


class GpioOutput(Output):
    """An output on GPIO lines. Shutdown value: every line inactive, or with safe = "error" the ERROR line active."""

    def __init__(self, chip: Chip, config: GpioOutputConfig) -> None:
        """Ask for the lines and make them safe; raises LineError when a line cannot be had."""
        self._lines = {Verdict.OK: config.ok_line, Verdict.NG: config.ng_line, Verdict.ERROR: config.error_line}
        self._pulse_s = config.pulse_ms / 1e3
        held = config.error_line if config.safe == "error" else None
        self._safe_lines = () if held is None else (held,)
        self.name = f"gpio {chip.name}"
        self._changed = threading.Condition()
        self._ends_at: float | None = None  # of the pulse that runs, monotonic s
        self._closing = False
        self._driven = chip.drive(config.lines, config.active_low)
        self.safe()
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    def show(self, inspection: Inspection, until: float = inf) -> float:
        """Begin the pulse before this returns, unless it would be late; cut short a pulse that still runs."""
        line = self._lines[inspection.verdict]
        self.told += 1
        with self._changed:
            late = time.monotonic() > until
            self._driven.set(() if line is None or late else (line,))
            told_at = time.monotonic()
            self._ends_at = told_at + self._pulse_s
            self._changed.notify()
        return told_at

    def safe(self) -> None:
        with self._changed:
            self._ends_at = None
            self._driven.set(self._safe_lines)

    def check(self) -> None:
        self._worker.check()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._worker.join(1.0)
        try:
            self.safe()
        finally:
            self._driven.close()

    def _run(self) -> None:
        """End each pulse in time."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                if self._ends_at is not None and now >= self._ends_at:
                    self._ends_at = None
                    self._driven.set(())
                self._changed.wait(None if self._ends_at is None else self._ends_at - now)
