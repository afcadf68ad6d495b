"""A real server in this process, and real clients: pymodbus, and the shipped fake PLC."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from edge.commands.acceptance.fake_plc import FakePlc, PlcError
from edge.config.station import StationConfig
from edge.core.types import Verdict
from edge.line import LineError, modbus_connections
from edge.line.modbus_connections import MAX_CONNECTIONS
from edge.line.modbus_server import BEAT_S, HANGS_AFTER_S, Coil, ModbusServer
from edge.line.outputs.modbus import ModbusOutput
from edge.line.triggers.gate import Gate, GatedTrigger
from edge.line.triggers.modbus import ModbusTrigger
from edge.line.wiring import open_line
from tests.edge.engine.parts import inspection, wait_for
from tests.system.station import free_port

HANG_S = 60.0


class Wired:
    """Server, trigger and output as a station wires them; the test is the inspection loop."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server = ModbusServer("127.0.0.1", self.port)
        self.output = ModbusOutput(self.server)
        self.gate = gate = Gate()
        self.trigger = GatedTrigger(gate, [ModbusTrigger(gate, self.server)])
        self.judged = 0

    def open(self) -> None:
        self.trigger.open(self.output.free, self.hear)
        self.output.ready(True)

    def hear(self, accepted: bool) -> None:
        if accepted:
            self.output.ready(False)
        else:
            self.output.passed()

    def accept(self) -> None:
        assert self.trigger.wait(HANG_S) is not None
        self.output.ready(False)

    def judge(self, verdict: Verdict = Verdict.OK) -> None:
        self.judged += 1
        found = inspection(self.judged, verdict=verdict)
        self.output.show(found)
        self.trigger.finish(found)
        self.output.ready(True)

    def plc(self) -> FakePlc:
        return FakePlc("127.0.0.1", self.port, HANG_S)


@pytest.fixture
def wired() -> Iterator[Wired]:
    wired = Wired()
    yield wired
    wired.trigger.close()
    wired.output.close()


def test_a_plc_goes_through_the_handshake_step_by_step(wired: Wired) -> None:
    plc = wired.plc()
    assert not plc.read()["ready"], "the station has not begun"
    plc.write(Coil.TRIGGER, True)
    assert plc.read()["overrun"]
    plc.write(Coil.TRIGGER, False)
    wired.open()
    assert plc.read()["ready"]
    plc.write(Coil.TRIGGER, True)
    wired.accept()
    seen = plc.read()
    assert (seen["busy"], seen["trigger_ack"], seen["ready"], seen["overrun"]) == (True, True, False, False)
    wired.judge(Verdict.NG)
    seen = plc.read()
    assert (seen["busy"], seen["results_valid"], seen["release"]) == (False, True, False)
    assert (seen["verdict"], seen["sequence"]) == ("NG", 1)
    plc.write(Coil.TRIGGER, False)
    plc.write(Coil.RESULTS_ACK, True)
    assert (plc.read()["results_valid"], plc.read()["verdict"], plc.read()["ready"]) == (False, "NONE", False)
    plc.write(Coil.RESULTS_ACK, False)
    assert plc.read()["ready"]
    plc.close()


def test_a_trigger_while_busy_is_refused_and_told_at_once_and_counted_by_the_station(wired: Wired) -> None:
    wired.open()
    first, second = wired.plc(), wired.plc()
    first.write(Coil.TRIGGER, True)
    wired.accept()
    first.write(Coil.TRIGGER, False)
    second.write(Coil.TRIGGER, True)
    assert (second.read()["overrun"], second.read()["overruns"]) == (True, 1)
    assert wired.trigger.overruns == 1
    wired.judge()
    assert wired.trigger.wait(0) is None, "it was not queued"
    first.close()
    second.close()


def test_two_hundred_parts_give_two_hundred_results_in_order(wired: Wired) -> None:
    wired.open()

    def station() -> None:
        for number in range(200):
            wired.accept()
            wired.judge(Verdict.OK if number % 2 else Verdict.NG)

    loop = threading.Thread(target=station)
    loop.start()
    plc = wired.plc()
    seen = [plc.part() for _ in range(200)]
    loop.join(HANG_S)
    assert [part["sequence"] for part in seen] == list(range(1, 201))
    assert [part["release"] for part in seen] == [False, True] * 100
    assert wired.trigger.overruns == 0, "a PLC that waits for READY is never refused"
    plc.close()


def test_safe_takes_the_release_away_and_stopping_the_readiness_and_the_connection(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    plc.write(Coil.TRIGGER, True)
    wired.accept()
    wired.judge(Verdict.OK)
    assert plc.read()["release"]
    wired.output.safe()
    assert (plc.read()["release"], plc.read()["verdict"], plc.read()["results_valid"]) == (False, "ERROR", True)
    wired.output.close()
    with pytest.raises(PlcError):
        plc.read()
    with pytest.raises(PlcError, match="no Modbus server answers"):
        wired.plc()


def test_the_last_ok_is_gone_with_the_next_trigger_even_before_the_loop_hears_of_it(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    for _ in range(2):
        assert wired.gate.offer("elsewhere") is not None
        seen = plc.read()
        assert (seen["busy"], seen["release"], seen["verdict"], seen["results_valid"]) == (True, False, "NONE", False)
        wired.accept()
        wired.judge(Verdict.OK)
        assert plc.read()["release"]
    plc.close()


def test_a_plc_never_reads_the_verdict_of_another_part_as_that_of_its_own(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    plc.write(Coil.TRIGGER, True)
    wired.accept()
    wired.judge(Verdict.NG)
    assert wired.gate.offer("page") is None, "the result of the PLC's part is not acknowledged yet"
    assert (plc.read()["verdict"], plc.read()["sequence"]) == ("NG", 1)
    plc.start()
    assert wired.gate.offer("page") is not None
    plc.close()


def test_an_edge_that_follows_at_once_is_refused_and_not_acknowledged(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    for level in (True, False, True):
        plc.write(Coil.TRIGGER, level)
    wired.accept()
    assert (plc.read()["trigger_ack"], plc.read()["overrun"], plc.read()["busy"]) == (False, True, True)
    plc.close()


def test_nothing_releases_and_nothing_is_ready_while_the_loop_does_not_beat(wired: Wired) -> None:
    wired.open()
    wired.output.beat(0)
    plc = wired.plc()
    assert wired.gate.offer("elsewhere") is not None
    wired.accept()
    wired.judge(Verdict.OK)
    began = time.monotonic()
    wait_for(lambda: not plc.read()["release"])
    assert time.monotonic() - began > HANGS_AFTER_S / 2, "it fell because the time was over"
    seen = plc.read()
    assert (seen["verdict"], seen["results_valid"], seen["ready"]) == ("ERROR", True, False)
    plc.start()
    assert not plc.read()["ready"]
    wired.output.beat(0)
    assert plc.read()["ready"], "it goes on where it stopped"
    plc.close()


def test_a_free_run_releases_no_longer_than_its_deadline_when_the_loop_hangs(tmp_path: Path) -> None:
    config = StationConfig.model_validate(
        {
            "name": "Test", "bundle": tmp_path, "state_dir": tmp_path, "run_dir": tmp_path,
            "camera": {"type": "folder", "path": tmp_path}, "trigger": {"type": "free_run", "rate_hz": 1},
            "inspection": {"deadline_ms": 300}, "output": [{"type": "modbus", "port": free_port()}],
        }
    )  # fmt: skip
    with closing(open_line(config)) as line:
        assert line.modbus is not None
        handshake = line.modbus._handshake
        line.modbus.beat(0)
        handshake.begin()
        handshake.result(inspection(1, verdict=Verdict.OK))
        line.modbus._look()
        assert handshake.signals().release
        line.modbus._alive_at -= 0.31
        line.modbus._look()
        assert not handshake.signals().release
        line.modbus.beat(0)
        handshake.begin()
        line.modbus._alive_at -= 0.31
        line.modbus._look()
        assert not line.modbus._hangs, "the loop may judge for as long"


def test_ready_is_zero_while_the_station_cannot_take_a_part(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    for able in (False, True, False, True):
        wired.server.ready_while(lambda able=able: able)  # type: ignore[misc]
        assert plc.read()["ready"] is able
    plc.close()


def test_a_late_ok_is_never_read_but_as_an_error(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    plc.write(Coil.TRIGGER, True)
    wired.accept()
    wired.output.show(inspection(1, verdict=Verdict.OK), until=time.monotonic() - 0.001)
    seen = plc.read()
    assert (seen["verdict"], seen["release"], seen["results_valid"], seen["error"]) == ("ERROR", False, True, 4)
    plc.close()


def test_the_heartbeat_counts_with_the_loop_and_stands_still_without_it(wired: Wired) -> None:
    plc = wired.plc()
    first = plc.read()["heartbeat"]

    def counted() -> bool:
        wired.output.beat(3)
        return bool(plc.read()["heartbeat"] >= first + 2)

    wait_for(counted)
    time.sleep(2 * BEAT_S)  # the last sign of the loop is counted by now
    stands = plc.read()["heartbeat"]
    assert [plc.read()["heartbeat"] for _ in range(20)] == [stands] * 20
    assert (plc.read()["overruns"], plc.read()["overrun"]) == (3, True)
    plc.close()


def test_a_recipe_that_the_plc_selects_is_handed_over_once(wired: Wired) -> None:
    plc = wired.plc()
    assert wired.server.take_recipe() is None
    plc.select_recipe(2)
    assert wired.server.take_recipe() == 2
    assert wired.server.take_recipe() is None
    wired.server.recipe_active = 2
    assert plc.read()["recipe"] == 2
    plc.close()


def test_what_is_not_in_the_register_map_is_refused_and_changes_nothing(wired: Wired) -> None:
    wired.open()
    client = ModbusTcpClient("127.0.0.1", port=wired.port, timeout=HANG_S)
    assert client.connect()
    assert client.write_coil(2, True).isError()
    assert client.write_coils(1, [True, True]).isError()
    assert client.write_register(1, 1).isError()
    assert client.read_input_registers(0, count=99).isError()
    assert client.read_discrete_inputs(0, count=6).bits[:6] == [True] + [False] * 5
    assert wired.trigger.overruns == 0
    client.close()


def test_noise_on_the_port_does_not_disturb_the_handshake(wired: Wired) -> None:
    wired.open()
    for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 300, b"\xff\xff\x00\x00\x00\x02\x01\x63"):
        with socket.create_connection(("127.0.0.1", wired.port), HANG_S) as connection:
            connection.sendall(noise)
    plc = wired.plc()
    assert plc.read()["ready"]
    wired.trigger.check()
    plc.close()


@given(cuts=st.lists(st.integers(1, 12 * 20), max_size=12))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_questions_that_come_together_or_in_pieces_are_each_answered_in_order(wired: Wired, cuts: list[int]) -> None:
    questions = [struct.pack(">HHHBBHH", number, 0, 6, 1, 4, 0, 9) for number in range(1, 21)]
    stream, answers = b"".join(questions), b""
    with socket.create_connection(("127.0.0.1", wired.port), HANG_S) as plc:
        plc.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in pairwise([0, *sorted(set(cuts)), len(stream)]):
            plc.sendall(stream[start:end])
            time.sleep(0.002)
        while len(answers) < 20 * 27:
            came = plc.recv(65536)
            assert came, "the server hung up"
            answers += came
    assert [struct.unpack_from(">H", answers, 27 * place)[0] for place in range(20)] == list(range(1, 21))


def test_a_trigger_that_a_plc_writes_together_with_a_question_is_taken(wired: Wired) -> None:
    wired.open()
    write = struct.pack(">HHHBBHH", 1, 0, 6, 1, 5, Coil.TRIGGER, 0xFF00)
    with socket.create_connection(("127.0.0.1", wired.port), HANG_S) as plc:
        plc.sendall(write + struct.pack(">HHHBBHH", 2, 0, 6, 1, 4, 0, 9))
        wired.accept()


def ended(connection: socket.socket) -> bool:
    """Return True when the server hung up."""
    connection.settimeout(HANG_S)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def hung_up(connection: socket.socket) -> bool:
    """Return True when the server has hung up by now."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_thousand_connections_cost_neither_the_plc_its_place_nor_the_engine_its_files(wired: Wired) -> None:
    wired.open()
    plc = wired.plc()
    assert plc.read()["ready"]
    before = len(os.listdir("/proc/self/fd"))
    address = ("127.0.0.1", wired.port)
    with ExitStack() as stack:
        for _ in range(10):
            idle = [stack.enter_context(socket.create_connection(address, HANG_S)) for _ in range(100)]
            assert plc.read()["ready"], "the PLC that asks keeps its connection"
            wait_for(lambda: sum(not hung_up(one) for one in idle) <= MAX_CONNECTIONS)  # noqa: B023  # called here
            for connection in filter(hung_up, idle):
                connection.close()  # this process keeps its file numbers below 1024, which the PLC's select() needs
        wait_for(lambda: len(os.listdir("/proc/self/fd")) < before + 10 * MAX_CONNECTIONS + MAX_CONNECTIONS + 10)
        late = wired.plc()
        assert late.read()["ready"], "another PLC finds a place"
        assert plc.read()["ready"]
        late.close()
    plc.close()


def test_when_every_client_polls_the_newest_one_is_refused(wired: Wired) -> None:
    wired.open()
    plcs = [wired.plc() for _ in range(MAX_CONNECTIONS)]
    assert all(plc.read()["ready"] for plc in plcs)
    with socket.create_connection(("127.0.0.1", wired.port), HANG_S) as one_more:
        assert ended(one_more)
    assert all(plc.read()["ready"] for plc in plcs)
    for plc in plcs:
        plc.close()


@pytest.mark.parametrize("half", [b"", b"\0\1\0\0\0\6\1"])
def test_a_client_that_never_asks_is_ended(wired: Wired, monkeypatch: pytest.MonkeyPatch, half: bytes) -> None:
    monkeypatch.setattr(modbus_connections, "SPEAKS_WITHIN_S", 0.1)
    plc = wired.plc()
    plc.read()
    with socket.create_connection(("127.0.0.1", wired.port), HANG_S) as silent:
        silent.sendall(half)
        assert ended(silent)
    plc.read()
    plc.close()


def test_a_client_that_asks_and_does_not_read_is_ended_before_its_answers_pile_up(wired: Wired) -> None:
    question = b"\0\1\0\0\0\6\1\4\0\0\0\x09"
    give_up = time.monotonic() + HANG_S
    with socket.socket() as deaf, suppress(ConnectionError):
        deaf.settimeout(HANG_S)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deaf.connect(("127.0.0.1", wired.port))
        while time.monotonic() < give_up:
            deaf.sendall(question)
            time.sleep(0.0005)  # each question by itself: the server takes no more than one packet at a time
    assert time.monotonic() < give_up, "it was ended"
    plc = wired.plc()
    plc.read()
    wired.trigger.check()
    plc.close()


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LineError, match=f"127.0.0.1:{port} .*in use.*; set another port"):
            ModbusServer("127.0.0.1", port)


def test_the_fake_plc_as_a_command_prints_one_line_a_part_and_the_counts(wired: Wired) -> None:
    wired.open()
    command = [sys.executable, "-m", "edge", "plc", "--port", str(wired.port), "--parts", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as plc:
        for verdict in (Verdict.OK, Verdict.NG, Verdict.ERROR):
            wired.accept()
            wired.judge(verdict)
        out, _ = plc.communicate(timeout=HANG_S)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["verdict"] for line in lines[:3]] == ["OK", "NG", "ERROR"]
    assert lines[3] == {"parts": 3, "counts": {"OK": 1, "NG": 1, "ERROR": 1}}


def test_the_fake_plc_says_in_one_line_that_nobody_answers() -> None:
    command = [sys.executable, "-m", "edge", "plc", "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 1
    assert done.stderr.startswith("linewatch: ")
    assert len(done.stderr.splitlines()) == 1
