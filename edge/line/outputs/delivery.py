"""The delivery of messages: a thread sends each row of the history, in order, as soon as it is stored.

MQTT and webhook differ only in their Carrier.
"""

from __future__ import annotations

import logging
import threading
import time
from math import inf
from typing import Protocol

from edge.core.types import EdgeError, Inspection
from edge.core.worker import Worker
from edge.line.outputs import Output, OutputState
from edge.line.outputs.outbox import Outbox

SHORTEST_PAUSE_S = 0.2  # after a delivery failed; doubles up to the carrier's longest
LONGEST_WORDS = 200  # characters of a fault: what a receiver says goes into health.json and the log

log = logging.getLogger(__name__)


class Carrier(Protocol):
    """One way to a receiver, which a thread of its own runs."""

    name: str  # for health and log, e.g. "mqtt broker.local:8883"
    thread: str
    longest_pause_s: float
    leaves_within_s: float  # after mail.closing is set

    def carry(self, mail: Mail) -> None:
        """Deliver what is in mail.outbox until mail.closing is set; whatever it raises is shown, and it runs again."""


class Mail:
    """The messages that a carrier delivers, and the carrier's account of the receiver."""

    def __init__(self, name: str, outbox: Outbox) -> None:
        self.name = name
        self.outbox = outbox
        self.closing = threading.Event()
        self.news = threading.Condition()
        self.status = "safe"  # of the station: or "inspecting", "stopped"
        self.overruns = 0
        self.fault: str | None = "not connected yet"

    def wait(self, timeout_s: float) -> None:
        """Wait until there is a message to deliver, the output closes, or the time is over."""
        with self.news:
            self.news.wait_for(lambda: self.outbox.waiting() or self.closing.is_set(), timeout_s)

    def notify(self) -> None:
        """Wake who waits."""
        with self.news:
            self.news.notify_all()

    def up(self) -> None:
        """Note that the receiver takes messages."""
        if self.fault is not None:
            log.info("%s: connected, %d messages wait", self.name, self.outbox.waiting())
        self.fault = None

    def down(self, why: str) -> None:
        """Note that the receiver takes no messages, and the cause, as one short line; they wait."""
        why = "".join(letter if letter.isprintable() else " " for letter in why[:LONGEST_WORDS])
        if self.fault != why:
            log.warning("%s: down: %s", self.name, why)
        self.fault = why


class Delivery(Output):
    """The Output that has a carrier send each row. It moves no part, and holds nothing that could release one."""

    reports = True

    def __init__(self, carrier: Carrier, outbox: Outbox) -> None:
        self._carrier = carrier
        self._mail = Mail(carrier.name, outbox)
        self._leaves_by = inf  # monotonic s, once the station stops
        self._pause_s = SHORTEST_PAUSE_S
        self._begun = (0.0, 0)  # when the carrier was started last (monotonic s), and what was acknowledged then
        self._worker = Worker(carrier.thread, self._deliver, self._again)
        self._worker.start()

    def ready(self, accepts: bool) -> None:
        self._mail.status = "inspecting"

    def show(self, inspection: Inspection, until: float = inf) -> float:
        """Have the row sent when it is stored; never waits. The row has the verdict that stands in the end."""
        self.told += 1
        self._mail.outbox.expect(inspection.id)
        self._mail.notify()
        return time.monotonic()

    def last_reported(self) -> int:
        return self._mail.outbox.noted

    def safe(self) -> None:
        self._mail.status = "safe"

    def beat(self, overruns: int) -> None:
        self._mail.overruns = overruns

    def check(self) -> None:
        self._worker.check()

    def state(self) -> OutputState:
        fault = self._mail.fault
        return OutputState(self._mail.name, fault is None, fault or "", self._mail.outbox.waiting(), self.told)

    def leave(self) -> None:
        if not self._mail.closing.is_set():
            self._leaves_by = time.monotonic() + self._carrier.leaves_within_s
        self._mail.status = "stopped"
        self._mail.closing.set()
        self._mail.notify()

    def close(self) -> None:
        """Send what there is time for; the rest waits for the next start."""
        self.leave()
        self._worker.join(max(0.0, self._leaves_by - time.monotonic()))
        if not self._worker.is_alive():
            self._mail.outbox.close()

    def _deliver(self) -> None:
        self._begun = time.monotonic(), self._mail.outbox.acked
        self._carrier.carry(self._mail)

    def _again(self, error: Exception) -> bool:
        """Show what ended the carrier, and pause; True: it runs again. What a receiver does never ends the engine.

        The pause doubles for as long as no message arrives, also when each connection is taken and then dropped.
        """
        known = isinstance(error, (EdgeError, OSError)) and str(error)
        self._mail.down(str(error) if known else f"{type(error).__name__}: {error}")
        begun_at, acked = self._begun
        longest_s = self._carrier.longest_pause_s
        if self._mail.outbox.acked > acked or time.monotonic() - begun_at > longest_s:
            self._pause_s = SHORTEST_PAUSE_S
        self._mail.closing.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, longest_s)
        return not self._mail.closing.is_set()
