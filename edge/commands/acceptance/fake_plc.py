"""A fake PLC for tests and demos: it drives the other side of the Modbus handshake."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge.core.cli import OneLineParser
from edge.core.types import EdgeError
from edge.line.handshake import VERDICTS
from edge.line.modbus_server import Bit, Coil, Holding, Input

NAMES = {0: "NONE", **{number: verdict.value for verdict, number in VERDICTS.items()}}


class PlcError(EdgeError):
    """The station does not play its part of the handshake."""


class FakePlc:
    """One connection to a station."""

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        """Raises PlcError when nobody listens."""
        self._timeout_s = timeout_s
        self._client = ModbusTcpClient(host, port=port, timeout=timeout_s, retries=0)
        if not self._client.connect():  # type: ignore[no-untyped-call]
            raise PlcError(f"{host}:{port}: no Modbus server answers; start the engine, or correct --host and --port")

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def read(self) -> dict[str, Any]:
        """All input registers in one request: bits by name in small letters, verdict as a word. Raises PlcError."""
        found = self._ask(lambda: self._client.read_input_registers(0, count=len(Input))).registers
        bits = {bit.name.lower(): bool(found[Input.STATUS] >> bit & 1) for bit in Bit}
        return bits | {
            "verdict": NAMES.get(found[Input.VERDICT], "?"),
            "sequence": found[Input.SEQUENCE_HIGH] << 16 | found[Input.SEQUENCE_LOW],
            "error": found[Input.ERROR_CODE],
            "overruns": found[Input.OVERRUNS],
            "heartbeat": found[Input.HEARTBEAT],
            "recipe": found[Input.RECIPE_ACTIVE],
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
        """What a PLC does when it comes up: its coils fall, and a result that nobody read is acknowledged."""
        self.write(Coil.TRIGGER, False)
        self.write(Coil.RESULTS_ACK, True)
        self.write(Coil.RESULTS_ACK, False)

    def part(self) -> dict[str, Any]:
        """One part by the book: what the station said while its result was valid. Raises PlcError."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """Drive the handshake for a number of parts: one JSON line a part, then one with the counts."""
    parser = OneLineParser(
        prog="python -m edge.commands.acceptance.fake_plc", description="A fake PLC: drives the Modbus handshake."
    )
    parser.add_argument("--host", default="127.0.0.1", help="of the engine (127.0.0.1)")
    parser.add_argument("--port", type=int, default=502, help="of the engine (502)")
    parser.add_argument("--parts", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--gap-ms", type=float, default=0.0, metavar="MS", help="pause between two parts (0)")
    given = parser.parse_args(argv)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what it says is said below, in one line
    counts: Counter[str] = Counter()
    try:
        plc = FakePlc(given.host, given.port)
        for _ in range(given.parts):
            seen = plc.part()
            counts[seen["verdict"]] += 1
            _say({key: seen[key] for key in ("sequence", "verdict", "error", "release", "ms", "overruns", "recipe")})
            time.sleep(given.gap_ms / 1e3)
        _say({"parts": given.parts, "counts": dict(counts)})
        plc.close()
    except EdgeError as error:
        sys.stderr.write(f"linewatch: {error}\n")
        return 1
    return 0


def _say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
