"""Triggers from a PLC: the rising edge of the coil TRIGGER, as far as the handshake allows it."""

from __future__ import annotations

from edge.line.modbus_server import ModbusServer
from edge.line.triggers.gate import Gate


class ModbusTrigger:
    """Offers one trigger for each edge; an edge that comes too early is refused by the handshake itself."""

    def __init__(self, gate: Gate, server: ModbusServer) -> None:
        self._server = server
        server.on_trigger(lambda: gate.offer("modbus") is not None, gate.refuse)

    def check(self) -> None:
        self._server.check()

    def close(self) -> None:
        """The server belongs to the output."""

    def describe(self) -> str:
        return f"Modbus coil on {self._server.address}"
