"""The trigger from a PLC: each rising edge of the coil TRIGGER that the handshake allows."""

from __future__ import annotations

from edge.line.modbus_server import ModbusServer
from edge.line.triggers.gate import Gate


class ModbusTrigger:
    """A source that offers one trigger for each edge; the handshake itself refuses an edge that comes too early."""

    def __init__(self, gate: Gate, server: ModbusServer) -> None:
        self._server = server
        server.on_trigger(lambda: gate.offer("modbus") is not None, gate.refuse)

    def check(self) -> None:
        self._server.check()

    def close(self) -> None:
        """Do nothing: the server belongs to the output."""

    def describe(self) -> str:
        return f"Modbus coil on {self._server.address}"
