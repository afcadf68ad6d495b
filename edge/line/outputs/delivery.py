"""The delivery of messages: handed over in microseconds, stored by one thread, delivered by another.

MQTT and webhook differ only in their Carrier.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from math import inf
from typing import Protocol

from edge.core.types import EdgeError, Inspection
from edge.core.worker import Worker
from edge.line.outputs import Output, OutputError, OutputState
from edge.line.outputs.message import message
from edge.line.outputs.outbox import Outbox

THREAD = "outbox"
MAX_UNSTORED = 1000  # messages in memory while the disk cannot be written; then the line is told that it is so
BATCH = 100
RETRY_S = 1.0
STORE_WITHIN_S = 2.0  # at the end
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
        self.stored = threading.Condition()
        self.status = "safe"  # of the station: or "inspecting", "stopped"
        self.overruns = 0
        self.fault: str | None = "not connected yet"

    def wait(self, timeout_s: float) -> None:
        """Wait until there is a message to deliver, the output closes, or the time is over."""
        with self.stored:
            self.stored.wait_for(lambda: self.outbox.waiting() or self.closing.is_set(), timeout_s)

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
    """The Output that hands each verdict to a carrier. It moves no part, and holds nothing that could release one."""

    reports = True

    def __init__(self, carrier: Carrier, station: str, outbox: Outbox) -> None:
        self._carrier = carrier
        self._station = station
        self._mail = Mail(carrier.name, outbox)
        self._handed: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._before = self._last = outbox.last  # number of the last message that was handed over
        self._disk_fault: str | None = None
        self._pause_s = SHORTEST_PAUSE_S
        self._begun = (0.0, 0)  # when the carrier was started last (monotonic s), and what was acknowledged then
        self._workers = [Worker(THREAD, self._store_all), Worker(carrier.thread, self._deliver, self._again)]
        for worker in self._workers:
            worker.start()

    def ready(self, accepts: bool) -> None:
        self._mail.status = "inspecting"

    def show(self, inspection: Inspection, until: float = inf) -> float:
        """Hand one message over; never waits. It tells the verdict that stands in the end, so `until` is not used."""
        self._last += 1
        self._handed.put(message(self._station, inspection))
        return time.monotonic()

    def last_reported(self) -> int | None:
        newest = self._mail.outbox.newest()
        return None if newest is None else int(json.loads(newest)["sequence"])

    def safe(self) -> None:
        self._mail.status = "safe"

    def beat(self, overruns: int) -> None:
        self._mail.overruns = overruns

    def able(self) -> None:
        """Raise OutputError when no more messages can be taken: one that is lost would be worse than a stop."""
        if self._unstored() >= MAX_UNSTORED:
            raise OutputError(f"{self._mail.name}: {self._unstored()} messages cannot be stored ({self._disk_fault})")

    def check(self) -> None:
        for worker in self._workers:
            worker.check()

    def state(self) -> OutputState:
        fault = self._disk_fault or self._mail.fault
        waiting, told = self._last - self._mail.outbox.acked, self._last - self._before
        return OutputState(self._mail.name, fault is None, fault or "", waiting, told)

    def close(self) -> None:
        """Store what was handed over, or say what is lost; what is not delivered waits for the next start."""
        self._mail.status = "stopped"
        self._mail.closing.set()
        self._handed.put(None)
        storing, delivering = self._workers
        storing.join(STORE_WITHIN_S)
        if self._unstored():
            log.error("%s: %d messages are lost, the outbox cannot be written", self._mail.name, self._unstored())
        with self._mail.stored:
            self._mail.stored.notify_all()
        delivering.join(self._carrier.leaves_within_s)
        self._mail.outbox.close()

    def _unstored(self) -> int:
        """Return how many messages are in memory: in the queue, or taken from it and not stored yet."""
        return self._last - self._mail.outbox.last

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

    def _store_all(self) -> None:
        ended = False
        while not ended:
            first = self._handed.get()
            batch = [] if first is None else [first]
            ended = first is None
            while not ended and len(batch) < BATCH and not self._handed.empty():
                following = self._handed.get()
                ended = following is None
                batch += [] if following is None else [following]
            if batch:
                self._store(batch)

    def _store(self, batch: list[bytes]) -> None:
        """Store the messages: try again until the disk takes them, or until the output has to end."""
        closing, give_up = self._mail.closing, None
        while True:
            try:
                self._mail.outbox.put(batch)
                break
            except OutputError as error:
                if self._disk_fault is None:
                    log.error("%s", error)
                self._disk_fault = str(error)
            if closing.is_set():
                give_up = give_up or time.monotonic() + STORE_WITHIN_S / 2
                if time.monotonic() > give_up:
                    return
            closing.wait(RETRY_S) if not closing.is_set() else time.sleep(0.1)
        if self._disk_fault is not None:
            log.info("%s: messages are stored again", self._mail.name)
            self._disk_fault = None
        with self._mail.stored:
            self._mail.stored.notify_all()
