"""The Modbus TCP server inside the engine: a thread with an event loop, and the registers of docs/reference/io.md."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from math import inf
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.core.types import Inspection, Reason, Verdict
from edge.core.worker import Worker
from edge.line import LineError
from edge.line.handshake import Handshake, Write
from edge.line.modbus_connections import BoundedServer

THREAD = "modbus"
MAP_VERSION = 1
STARTS_WITHIN_S = 5.0
BEAT_S = 0.2  # the heartbeat counts at most so often
HANGS_AFTER_S = 1.0  # without a sign of the inspection loop; then nothing is released, and READY is 0

log = logging.getLogger(__name__)


class Coil(IntEnum):
    """The coils, which the PLC writes."""

    TRIGGER = 0
    RESULTS_ACK = 1


class Bit(IntEnum):
    """The discrete inputs, which are also the bits of the input register STATUS."""

    READY = 0
    BUSY = 1
    TRIGGER_ACK = 2
    RESULTS_VALID = 3
    OVERRUN = 4
    RELEASE = 5
    RECIPE_PENDING = 6


class Input(IntEnum):
    """The input registers."""

    STATUS = 0
    VERDICT = 1
    SEQUENCE_HIGH = 2
    SEQUENCE_LOW = 3
    ERROR_CODE = 4
    OVERRUNS = 5
    HEARTBEAT = 6
    RECIPE_ACTIVE = 7
    MAP_VERSION = 8
    RECIPE_FAULT = 9


class RecipeFault(IntEnum):
    """The values of the register RECIPE_FAULT."""

    NONE = 0
    UNKNOWN = 1  # no recipe has the number
    REFUSED = 2  # the recipe was not fit to judge


class Holding(IntEnum):
    """The holding registers."""

    RECIPE_SELECT = 0


WRITE_COILS = (5, 15)


class ModbusServer:
    """A server that shows one handshake to any number of clients. Registers change in memory, at once."""

    def __init__(self, host: str, port: int, releases_for_s: float = HANGS_AFTER_S) -> None:
        """Start the server, which listens when this returns; raises LineError when it cannot.

        releases_for_s: how long a result releases without a sign of the inspection loop, at most.
        """
        self._releases_for_s = min(HANGS_AFTER_S, releases_for_s)
        self.address = f"{host}:{port}"
        self.recipe_active = 0
        self._host, self._port = host, port
        self._check_port()
        self._handshake = Handshake()
        self._lock = threading.RLock()  # an edge that is accepted comes back as begin(), in the same thread
        self._accept: Callable[[], bool] = self._ignore
        self._refused: Callable[[], object] = self._ignore
        self._ignored = 0  # edges at a station that has another trigger
        self._admits: Callable[[], bool] = lambda: True
        self._alive_at = inf  # last sign of the inspection loop, monotonic s; infinite until it beats
        self._hangs = False
        self._recipe_wanted: int | None = None
        self._recipe_taken = False  # the loop has taken a number, and not yet said what becomes of it
        self._recipe_pending: int | None = None
        self._recipe_fault = RecipeFault.NONE
        self._heartbeat = 0
        self._beaten_at = 0.0
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._listening = threading.Event()
        self._worker = Worker(THREAD, self._run)
        self._start()

    def on_trigger(self, accept: Callable[[], bool], refused: Callable[[], None]) -> None:
        """Set the calls of the server's thread: accept for an edge that the handshake allows, refused for any other.

        accept counts for itself what it does not accept.
        """
        self._accept, self._refused = accept, refused

    def ready_while(self, admits: Callable[[], bool]) -> None:
        """Show READY only while admits() is True; it is called in the server's thread, and must not wait."""
        self._admits = admits

    def begin(self) -> None:
        """Show that a part is being judged; any thread may call it, the one that triggers first."""
        with self._lock:
            self._handshake.begin()

    def passed(self) -> None:
        """Take an older result away, because a part passes that gets no verdict."""
        with self._lock:
            self._handshake.passed()

    def accept(self) -> None:
        """Show that the next part can be taken."""
        with self._lock:
            self._lives()
            self._handshake.accept()

    @property
    def unread(self) -> bool:
        """True while a PLC has not acknowledged the result of a part that it triggered. Takes no lock."""
        return self._handshake.unread

    def result(self, inspection: Inspection, until: float = inf) -> float:
        """Show a result, and return when it was set, monotonic s; after `until` a PLC reads it only as ERROR."""
        with self._lock:
            self._lives()
            self._handshake.result(inspection)
            set_at = time.monotonic()
            if set_at > until:
                self._handshake.safe(Reason.LATE)
            return set_at

    def by_hand(self, verdict: Verdict) -> bool:
        """Show a result of no part; False while a part is in work or its result is unread."""
        with self._lock:
            return self._handshake.by_hand(verdict)

    def safe(self) -> None:
        """Release nothing: a result that is out becomes ERROR."""
        with self._lock:
            self._handshake.safe()

    def beat(self, overruns: int) -> None:
        """Note that the inspection loop goes round; overruns is the station's total."""
        now = time.monotonic()
        with self._lock:
            self._lives(beats=True)
            self._handshake.overruns_are(overruns + self._ignored)
            if now - self._beaten_at >= BEAT_S:
                self._heartbeat = (self._heartbeat + 1) & 0xFFFF
                self._beaten_at = now

    def take_recipe(self) -> int | None:
        """Return the recipe that a PLC wrote since the last call; None when it wrote none."""
        with self._lock:
            wanted, self._recipe_wanted = self._recipe_wanted, None
            self._recipe_taken = wanted is not None
            return wanted

    def show_recipe(self, active: int, pending: int | None, fault: RecipeFault) -> None:
        """Show the recipe that judges, and the next one: READY is 0 while there is one. Takes no lock."""
        self.recipe_active = active
        self._recipe_pending, self._recipe_fault = pending, fault
        self._recipe_taken = False

    def check(self) -> None:
        """Raise WorkerError when the server's thread is dead."""
        self._worker.check()

    def close(self) -> None:
        """Be not ready and release nothing; then end every connection."""
        with self._lock:
            self._handshake.stop()
        if self._worker.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._worker.join(STARTS_WITHIN_S)

    def _check_port(self) -> None:
        try:
            with socket.socket() as probe:  # pymodbus says only that it could not
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self._host, self._port))
        except OSError as error:
            problem = error.strerror or str(error)
            raise LineError(f"Modbus cannot use {self.address} ({problem}); set another port or host") from error

    def _start(self) -> None:
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a client that leaves is no news
        self._worker.start()
        if not self._listening.wait(STARTS_WITHIN_S):
            self._worker.check()
            raise LineError(f"Modbus does not listen on {self.address}; set another port or host")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = BoundedServer(self._device(), address=(self._host, self._port))
        await server.serve_forever(background=True)
        self._listening.set()
        looking = asyncio.create_task(server.end_the_silent())
        await self._stopping.wait()
        looking.cancel()
        server.close()

    def _device(self) -> SimDevice:
        """Return the device with id 0, which answers to every unit id."""
        bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        inputs = [SimData(0, values=[0] * len(Input), datatype=DataType.REGISTERS)]
        holding = [SimData(0, values=[0] * len(Holding), datatype=DataType.REGISTERS)]
        return SimDevice(0, simdata=(list(bits), list(bits), holding, inputs), action=self._access)

    async def _access(
        self, function: int, _start: int, address: int, _count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        """Fill or take registers; pymodbus calls this before each read and write."""
        with self._lock:
            self._look()
            if values is None:
                self._fill(function, registers)
                return None
            if function in WRITE_COILS:
                return self._coils(address, values)
            self._recipe_wanted = int(values[0])
            return None

    def _coils(self, address: int, values: list[bool]) -> ExcCodes | None:
        if address + len(values) > len(Coil):
            return ExcCodes.ILLEGAL_ADDRESS
        written = dict(enumerate(map(bool, values), start=address))
        if Coil.RESULTS_ACK in written:  # first: it may fall in the same request that triggers
            self._handshake.results_ack(written[Coil.RESULTS_ACK])
        if Coil.TRIGGER in written:
            self._trigger(written[Coil.TRIGGER])
        return None

    def _trigger(self, level: bool) -> None:
        match self._handshake.trigger(level):
            case Write.WANTED if self._accept():
                self._handshake.begin()
            case Write.WANTED:
                self._handshake.refuse()
            case Write.REFUSED:
                self._refused()

    def _ignore(self) -> bool:
        self._ignored += 1
        return False

    def _lives(self, beats: bool = False) -> None:
        """Note a sign of the inspection loop; the first beat begins the watch over it."""
        if self._hangs:
            log.error("the inspection loop hung; RELEASE and READY were 0 until it went on")
            self._hangs = False
        if beats or self._alive_at < inf:
            self._alive_at = time.monotonic()

    def _look(self) -> None:
        """Take in what changes by itself: a loop that hangs, and whether the station can take a part."""
        longest_s = self._releases_for_s if self._handshake.signals().release else HANGS_AFTER_S
        if time.monotonic() - self._alive_at > longest_s:
            self._hangs = True
            self._handshake.safe()
        self._handshake.hold(self._hangs or self._switches() or not self._admits())

    def _switches(self) -> bool:
        return self._recipe_taken or self._recipe_pending is not None or self._recipe_wanted is not None

    def _selected(self) -> int:
        """Return the number that RECIPE_SELECT is read as: the latest selection that has a recipe."""
        for number in (self._recipe_wanted, self._recipe_pending):
            if number is not None:
                return number
        return self.recipe_active

    def _fill(self, function: int, registers: list[int]) -> None:
        signals = self._handshake.signals()
        status = sum(getattr(signals, bit.name.lower()) << bit for bit in Bit if bit is not Bit.RECIPE_PENDING)
        status |= self._switches() << Bit.RECIPE_PENDING
        if function == 2:
            registers[0] = status
        elif function == 4:
            registers[: len(Input)] = [
                status,
                signals.verdict,
                signals.sequence >> 16,
                signals.sequence & 0xFFFF,
                signals.error,
                signals.overruns & 0xFFFF,
                self._heartbeat,
                self.recipe_active & 0xFFFF,
                MAP_VERSION,
                self._recipe_fault,
            ]
        elif function == 3:
            registers[0] = self._selected()
