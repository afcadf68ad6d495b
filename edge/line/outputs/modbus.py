"""The line told through Modbus TCP: registers in memory, set at once, read by any number of PLCs."""

from __future__ import annotations

from math import inf

from edge.core.types import Inspection
from edge.line.modbus_server import ModbusServer
from edge.line.outputs import OutputState


class ModbusOutput:
    """The station's half of the handshake in docs/io.md. Shutdown value: not ready, RELEASE 0, connections closed."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._told = 0

    @property
    def reports(self) -> bool:
        return False

    def ready(self, accepts: bool) -> None:
        if accepts:
            self._server.accept()
        else:
            self._server.begin()

    def show(self, inspection: Inspection, until: float = inf) -> float:
        self._told += 1
        return self._server.result(inspection, until)

    def last_reported(self) -> int | None:
        """Nothing is kept."""
        return None

    def safe(self) -> None:
        self._server.safe()

    def beat(self, overruns: int) -> None:
        self._server.beat(overruns)

    def able(self) -> None:
        """What it tells is set in memory."""

    def check(self) -> None:
        self._server.check()

    def state(self) -> OutputState:
        return OutputState(f"modbus {self._server.address}", told=self._told)

    def close(self) -> None:
        self._server.close()
