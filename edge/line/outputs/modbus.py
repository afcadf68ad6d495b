"""The output through Modbus TCP: registers in memory, set at once, read by any number of PLCs."""

from __future__ import annotations

from math import inf

from edge.core.types import Inspection, Verdict
from edge.line.modbus_server import ModbusServer
from edge.line.outputs import Output, OutputError


class ModbusOutput(Output):
    """An output to PLCs by the handshake of docs/reference/io.md.

    Shutdown value: not ready, RELEASE 0, connections closed.
    """

    def __init__(self, server: ModbusServer) -> None:
        self.name = f"modbus {server.address}"
        self._server = server

    def ready(self, accepts: bool) -> None:
        if accepts:
            self._server.accept()
        else:
            self._server.begin()

    def passed(self) -> None:
        self._server.passed()

    def free(self) -> bool:
        """Return False while a PLC has not acknowledged its result: the next one would be taken for its own."""
        return not self._server.unread

    def show(self, inspection: Inspection, until: float = inf) -> float:
        self.told += 1
        return self._server.result(inspection, until)

    def by_hand(self, verdict: Verdict) -> None:
        """Show a result without a part, whose RESULT_ID is 0."""
        if not self._server.by_hand(verdict):
            raise OutputError(f"{self.name}: a part is in work, or a PLC has not taken its result; try again")

    def safe(self) -> None:
        self._server.safe()

    def beat(self, overruns: int) -> None:
        self._server.beat(overruns)

    def check(self) -> None:
        self._server.check()

    def close(self) -> None:
        self._server.close()
