"""What MQTT and webhook share: messages handed over in microseconds, stored by a thread, delivered by another."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time

from edge.outbox import Outbox, OutboxError
from edge.outputs import OutputError, OutputState
from edge.worker import Worker

THREAD = "outbox"
MAX_UNSTORED = 1000  # messages in memory while the disk cannot be written; then the line is told that it is so
BATCH = 100
RETRY_S = 1.0
STORE_WITHIN_S = 5.0  # at the end

log = logging.getLogger(__name__)


class Post:
    """The way from the inspection loop to the outbox, and what health says of it."""

    def __init__(self, name: str, outbox: Outbox) -> None:
        self.outbox = outbox
        self.closing = threading.Event()
        self._name = name
        self._handed: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._unstored = 0  # handed over or in the hand of the thread
        self._stored = threading.Condition()
        self._fault: str | None = "not connected yet"
        self._disk_fault: str | None = None
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    def put(self, message: bytes) -> None:
        """Hand over one message; never waits."""
        with self._stored:
            self._unstored += 1
        self._handed.put(message)

    def check(self) -> None:
        """Raise WorkerError when the thread is dead."""
        self._worker.check()

    def able(self) -> None:
        """Raise OutputError when no more messages can be taken: one that is lost would be worse than a stop."""
        if self._unstored >= MAX_UNSTORED:
            raise OutputError(f"{self._name}: {self._unstored} messages cannot be stored ({self._disk_fault})")

    def last_reported(self) -> int | None:
        """Of the last inspection that was stored here; None when there was none."""
        newest = self.outbox.newest()
        return None if newest is None else int(json.loads(newest)["sequence"])

    def wait(self, timeout_s: float) -> None:
        """Until a message was stored, the output closes, or the time is over."""
        with self._stored:
            self._stored.wait(timeout_s)

    def up(self) -> None:
        """The receiver takes messages."""
        if self._fault is not None:
            log.info("%s: connected, %d messages wait", self._name, self.outbox.waiting())
        self._fault = None

    def down(self, why: str) -> None:
        """The receiver takes none; they wait."""
        if self._fault != why:
            log.warning("%s: down: %s", self._name, why)
        self._fault = why

    def state(self) -> OutputState:
        fault = self._disk_fault or self._fault
        return OutputState(self._name, fault is None, fault or "", self.outbox.waiting() + self._unstored)

    def close(self) -> None:
        """Store what was handed over; what cannot be stored in time is lost, and said to be."""
        self.closing.set()
        self._handed.put(None)
        self._worker.join(STORE_WITHIN_S)
        if self._unstored:
            log.error("%s: %d messages are lost, the outbox cannot be written", self._name, self._unstored)
        with self._stored:
            self._stored.notify_all()

    def _run(self) -> None:
        ended = False
        while not ended:
            first = self._handed.get()
            batch = [] if first is None else [first]
            ended = first is None
            while not ended and len(batch) < BATCH and not self._handed.empty():
                following = self._handed.get()
                ended = following is None
                batch += [] if following is None else [following]
            self._store(batch)

    def _store(self, batch: list[bytes]) -> None:
        """Until the disk takes it, or until the end."""
        give_up = None
        while batch:
            try:
                self.outbox.put(batch)
                break
            except OutboxError as error:
                if self._disk_fault is None:
                    log.error("%s", error)
                self._disk_fault = str(error)
            if self.closing.is_set():
                give_up = give_up or time.monotonic() + STORE_WITHIN_S / 2
                if time.monotonic() > give_up:
                    return
            self.closing.wait(RETRY_S) if not self.closing.is_set() else time.sleep(0.1)
        if self._disk_fault is not None:
            log.info("%s: messages are stored again", self._name)
            self._disk_fault = None
        with self._stored:
            self._unstored -= len(batch)
            self._stored.notify_all()
