"""A thread that cannot die unnoticed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.core.types import EdgeError

log = logging.getLogger(__name__)


class WorkerError(EdgeError):
    """A thread of the engine died; the engine must stop and be started afresh."""


class Worker(threading.Thread):
    """A thread that runs body; check(), called in the main loop, finds whatever ended it early."""

    def __init__(self, name: str, body: Callable[[], None], again: Callable[[Exception], bool] | None = None) -> None:
        """Set what start() will run.

        again: called in the thread with whatever ended body; body runs once more when it returns True. It is for a
        thread whose peer may be at fault, and it shows the fault.
        """
        super().__init__(name=name, daemon=True)  # a camera driver that hangs must not keep the process alive
        self._body = body
        self._again = again
        self._crash: Exception | None = None
        self._returned = False

    def run(self) -> None:
        running = True
        while running:
            running = False
            try:
                self._body()
                self._returned = True
            except Exception as error:  # whatever it is, the main loop must hear of it
                if self._again is not None:
                    running = self._again(error)
                    continue
                self._crash = error
                if not isinstance(error, EdgeError):
                    log.critical("thread %s died", self.name, exc_info=error)

    def check(self) -> None:
        """Raise WorkerError when the thread is dead; call it from the main loop, while it should run."""
        if self._crash is not None:
            raise WorkerError(f"thread {self.name} died ({self._crash}); restart the engine") from self._crash
        if self._returned:
            raise WorkerError(f"thread {self.name} ended before it was told to; restart the engine")
