"""GPIO lines behind a small port: libgpiod on a device, memory in demos and tests."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from edge.line import LineError

if TYPE_CHECKING:
    import gpiod

SignalEdge = Literal["rising", "falling"]
FAKE_CHIP = "fake"  # lines in memory: for demos, tests and trials


class Driven(Protocol):
    """Output lines; each is inactive from the request on."""

    def set(self, active: Sequence[int]) -> None:
        """Make these lines active and all others inactive, in one step. Raises LineError."""

    def close(self) -> None:
        """Let go of the lines."""


class Watched(Protocol):
    """One input line."""

    def wait(self, timeout_s: float) -> list[float]:
        """Return the monotonic seconds of the edges since the last call, if one came in time. Raises LineError."""

    def close(self) -> None:
        """Let go of the line."""


class Chip(Protocol):
    """One GPIO chip."""

    name: str

    def drive(self, lines: Sequence[int], active_low: bool) -> Driven:
        """Ask for output lines; raises LineError."""

    def watch(self, line: int, edge: SignalEdge) -> Watched:
        """Ask for an input line; raises LineError."""


def open_chip(name: str) -> Chip:
    """Open `fake`, or a character device such as /dev/gpiochip0."""
    return FakeChip() if name == FAKE_CHIP else GpiodChip(name)


class FakeChip:
    """A chip whose lines are in memory. It remembers every level, and edges are made by hand."""

    def __init__(self) -> None:
        self.name = FAKE_CHIP
        self.history: list[dict[int, bool]] = []  # electrical level of every driven line, after each change
        self.changed_at: list[float] = []  # monotonic s of each change
        self.broken = False  # whatever is set then fails
        self.inputs: dict[int, queue.SimpleQueue[float]] = {}
        self._lock = threading.Lock()

    def drive(self, lines: Sequence[int], active_low: bool) -> FakeDriven:
        return FakeDriven(self, tuple(lines), active_low)

    def watch(self, line: int, edge: SignalEdge) -> FakeWatched:
        self.inputs[line] = queue.SimpleQueue()
        return FakeWatched(self.inputs[line])

    def edge(self, line: int, at: float | None = None) -> None:
        """Make an edge of the kind that is watched for, now or at a monotonic second."""
        self.inputs[line].put(time.monotonic() if at is None else at)

    def record(self, levels: dict[int, bool]) -> None:
        """Remember the electrical level of each line; raises LineError while the chip is broken."""
        with self._lock:
            if self.broken:
                raise LineError(f"{self.name}: the lines cannot be set (broken); check the chip")
            self.history.append(levels)
            self.changed_at.append(time.monotonic())


class FakeDriven:
    """Output lines of a FakeChip."""

    def __init__(self, chip: FakeChip, lines: tuple[int, ...], active_low: bool) -> None:
        self._chip, self._lines, self._active_low = chip, lines, active_low
        self.set(())

    def set(self, active: Sequence[int]) -> None:
        self._chip.record({line: (line in active) != self._active_low for line in self._lines})

    def close(self) -> None:
        """Do nothing: memory needs no letting go."""


class FakeWatched:
    """Input line of a FakeChip."""

    def __init__(self, edges: queue.SimpleQueue[float]) -> None:
        self._edges = edges

    def wait(self, timeout_s: float) -> list[float]:
        try:
            return [self._edges.get(timeout=timeout_s)]
        except queue.Empty:
            return []

    def close(self) -> None:
        """Do nothing: memory needs no letting go."""


class GpiodChip:
    """A character device of the kernel, through libgpiod 2."""

    def __init__(self, path: str) -> None:
        import gpiod

        self.name = path
        self._gpiod = gpiod

    def drive(self, lines: Sequence[int], active_low: bool) -> GpiodDriven:
        from gpiod.line import Direction, Value

        settings = self._gpiod.LineSettings(
            direction=Direction.OUTPUT, output_value=Value.INACTIVE, active_low=active_low
        )
        try:
            request = self._gpiod.request_lines(self.name, consumer="linewatch", config={tuple(lines): settings})
        except (OSError, ValueError) as error:
            raise self._unavailable(lines, error) from error
        return GpiodDriven(self.name, request, tuple(lines))

    def watch(self, line: int, edge: SignalEdge) -> GpiodWatched:
        from gpiod.line import Clock, Direction
        from gpiod.line import Edge as Kind

        settings = self._gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Kind.RISING if edge == "rising" else Kind.FALLING,
            event_clock=Clock.MONOTONIC,  # the clock of time.monotonic()
        )
        try:
            request = self._gpiod.request_lines(self.name, consumer="linewatch", config={line: settings})
        except (OSError, ValueError) as error:
            raise self._unavailable([line], error) from error
        return GpiodWatched(self.name, request)

    def _unavailable(self, lines: Sequence[int], error: Exception) -> LineError:
        numbers = ", ".join(map(str, lines))
        return LineError(f"{self.name}: line {numbers} cannot be had ({error}); check the number, its user and rights")


class GpiodDriven:
    """Output lines of a GpiodChip."""

    def __init__(self, name: str, request: gpiod.LineRequest, lines: tuple[int, ...]) -> None:
        self._name, self._request, self._lines = name, request, lines

    def set(self, active: Sequence[int]) -> None:
        from gpiod.line import Value

        levels: dict[int | str, Value] = {
            line: Value.ACTIVE if line in active else Value.INACTIVE for line in self._lines
        }
        try:
            self._request.set_values(levels)
        except OSError as error:
            raise LineError(f"{self._name}: the lines cannot be set ({error}); check the chip") from error

    def close(self) -> None:
        self._request.release()


class GpiodWatched:
    """Input line of a GpiodChip."""

    def __init__(self, name: str, request: gpiod.LineRequest) -> None:
        self._name, self._request = name, request

    def wait(self, timeout_s: float) -> list[float]:
        try:
            if not self._request.wait_edge_events(timeout_s):
                return []
            return [event.timestamp_ns / 1e9 for event in self._request.read_edge_events()]
        except OSError as error:
            raise LineError(f"{self._name}: the line cannot be read ({error}); check the chip") from error

    def close(self) -> None:
        self._request.release()
