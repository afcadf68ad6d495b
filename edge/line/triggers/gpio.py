"""The trigger on a GPIO line, e.g. of a light barrier."""

from __future__ import annotations

from edge.core.worker import Worker
from edge.line.gpio_chip import Chip, SignalEdge
from edge.line.triggers.gate import Gate

THREAD = "gpio-trigger"
WAIT_S = 0.2  # how soon close() is noticed


class Debounce:
    """A filter that lets the first edge through at once, and no edge that follows another within the window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._last: float | None = None

    def passes(self, at: float) -> bool:
        """Return True when an edge is no bounce; at: its time in seconds, never going back."""
        bounce = self._last is not None and at - self._last < self._window_s
        self._last = at
        return not bounce


class GpioTrigger:
    """A source that offers one trigger for each edge, with the kernel's time, which no waiting thread makes late."""

    def __init__(self, gate: Gate, chip: Chip, line: int, edge: SignalEdge, debounce_ms: float) -> None:
        self._gate = gate
        self._name = f"GPIO {chip.name} line {line}, {edge} edge"
        self._debounce = Debounce(debounce_ms / 1e3)
        self._edges = chip.watch(line, edge)
        self._closing = False
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    def check(self) -> None:
        self._worker.check()

    def close(self) -> None:
        self._closing = True
        self._worker.join(5 * WAIT_S)
        self._edges.close()

    def describe(self) -> str:
        return self._name

    def _run(self) -> None:
        while not self._closing:
            for at in self._edges.wait(WAIT_S):
                if self._debounce.passes(at):
                    self._gate.offer("gpio", at)
