"""The trigger from the page, or from a program that asks the page."""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from edge.core.types import Inspection
from edge.core.worker import Worker
from edge.exchange.sockets import listen
from edge.exchange.trigger_socket import TRIGGER, TriggerAnswer, reply
from edge.line import LineError
from edge.line.triggers.gate import Gate

THREAD = "software-trigger"
AGAIN_S = 0.05  # until a caller that could not be taken is tried again


class SoftwareTrigger:
    """A source that offers one trigger for each connection to the socket in run_dir."""

    def __init__(self, gate: Gate, run_dir: Path) -> None:
        self._gate = gate
        try:
            self._listener = listen(run_dir, TRIGGER)
        except OSError as error:
            raise LineError(f"{run_dir}: cannot hold a socket ({error.strerror}); set another run_dir") from error
        self._closing = False
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    def check(self) -> None:
        self._worker.check()

    def close(self) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._worker.join(1.0)
        self._listener.close()

    def describe(self) -> str:
        return "page"

    def _run(self) -> None:
        while not self._closing:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # close() was called, or no descriptor is left for now
                time.sleep(AGAIN_S)
                continue
            self._serve(caller)

    def _serve(self, caller: socket.socket) -> None:
        verdict = self._gate.offer("page")
        if verdict is None:
            reply(caller, TriggerAnswer(overrun=True))
        else:
            verdict.add_done_callback(partial(_answer, caller))


def _answer(caller: socket.socket, verdict: Future[Inspection]) -> None:
    reply(caller, TriggerAnswer.of(verdict.result()))
