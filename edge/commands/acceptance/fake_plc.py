"""`edge plc`: a fake PLC for tests and trials; it drives the other side of the Modbus handshake."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge.commands import CommandError
from edge.line.handshake import VERDICTS
from edge.line.modbus_server import Bit, Coil, Holding, Input

NAMES = {0: "NONE", **{number: verdict.value for verdict, number in VERDICTS.items()}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="of the engine (127.0.0.1)")
    parser.add_argument("--port", type=int, default=502, help="of the engine (502)")
    parser.add_argument("--parts", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--gap-ms", type=float, default=0.0, metavar="MS", help="pause between two parts (0)")


def run(arguments: argparse.Namespace) -> int:
    """Drive the handshake for a number of parts: print one JSON line a part, then one with the counts."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # every failure is told in one line anyway
    counts: Counter[str] = Counter()
    plc = FakePlc(arguments.host, arguments.port)
    for _ in range(arguments.parts):
        seen = plc.part()
        counts[seen["verdict"]] += 1
        _say({key: seen[key] for key in ("sequence", "verdict", "error", "release", "ms", "overruns", "recipe")})
        time.sleep(arguments.gap_ms / 1e3)
    _say({"parts": arguments.parts, "counts": dict(counts)})
    plc.close()
    return 0


class PlcError(CommandError):
    """The station does not play its part of the handshake."""


class FakePlc:
    """A PLC with one connection to a station."""

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        """Connect to the station; raises PlcError when nobody listens."""
        self._timeout_s = timeout_s
        self._client = ModbusTcpClient(host, port=port, timeout=timeout_s, retries=0)
        if not self._client.connect():  # type: ignore[no-untyped-call]
            raise PlcError(f"{host}:{port}: no Modbus server answers; start the engine, or correct --host and --port")

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def read(self) -> dict[str, Any]:
        """Read all input registers at once: bits by name in small letters, verdict as a word. Raises PlcError."""
        found = self._ask(lambda: self._client.read_input_registers(0, count=len(Input))).registers
        bits = {bit.name.lower(): bool(found[Input.STATUS] >> bit & 1) for bit in Bit}
        return bits | {
            "verdict": NAMES.get(found[Input.VERDICT], "?"),
            "sequence": found[Input.SEQUENCE_HIGH] << 16 | found[Input.SEQUENCE_LOW],
            "error": found[Input.ERROR_CODE],
            "overruns": found[Input.OVERRUNS],
            "heartbeat": found[Input.HEARTBEAT],
            "recipe": found[Input.RECIPE_ACTIVE],
            "recipe_fault": found[Input.RECIPE_FAULT],
        }

    def write(self, coil: Coil, level: bool) -> None:
        self._ask(lambda: self._client.write_coil(int(coil), level))

    def select_recipe(self, number: int) -> None:
        self._ask(lambda: self._client.write_register(int(Holding.RECIPE_SELECT), number))

    def wait(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Read until wanted; raises PlcError, naming what, when it does not happen in time."""
        give_up = time.monotonic() + self._timeout_s
        while not wanted(found := self.read()):
            if time.monotonic() > give_up:
                raise PlcError(f"the station did not become {what} within {self._timeout_s:g} s; it says {found}")
            time.sleep(0.001)
        return found

    def start(self) -> None:
        """Begin as a PLC that comes up: lower the coils and acknowledge a result that nobody read."""
        self.write(Coil.TRIGGER, False)
        self.write(Coil.RESULTS_ACK, True)
        self.write(Coil.RESULTS_ACK, False)

    def part(self) -> dict[str, Any]:
        """Take one part through the handshake; returns the registers while the result was valid. Raises PlcError."""
        self.wait(lambda now: bool(now["ready"]), "ready")
        began = time.monotonic()
        self.write(Coil.TRIGGER, True)
        found = self.wait(lambda now: bool(now["results_valid"]), "done")
        found["ms"] = round((time.monotonic() - began) * 1e3, 2)
        self.write(Coil.TRIGGER, False)
        self.write(Coil.RESULTS_ACK, True)
        self.wait(lambda now: not now["results_valid"], "acknowledged")
        self.write(Coil.RESULTS_ACK, False)
        return found

    def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            answer = request()
        except ModbusException as error:
            raise PlcError(f"the station is gone ({error}); start the engine") from error
        if answer.isError():
            raise PlcError(f"the station refuses the request: {answer}")
        return answer


def _say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
