"""Attacks by neighbours that mean harm, or behave as if: a receiver, a crowd at the Modbus port, the page's process."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edge.commands.acceptance.fake_plc import FakePlc
from edge.commands.acceptance.station import TrialStation, broken_sequence, free_port, happens, inspecting
from edge.commands.evidence import Evidence
from edge.core.types import Reason
from edge.exchange.requests import REQUESTS, Requests
from edge.exchange.sockets import connect
from edge.inference.bundle import Bundle

ANSWERS = (
    b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    b"HTTP/1.1 200 " + b"x" * 1_000_000,
    b"\0\xff" * 1000,
    b"",
)
CONNECTIONS = 2000
AT_ONCE = 500  # of them; a process may have 1024 files open
REQUESTS_SENT = 200


def redirect(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Answer a webhook with redirects to nowhere and with noise: the output is in fault, and the engine goes on."""
    with _receiver() as (url, asked):
        output = {"type": "webhook", "url": url, "secret_file": "secret", "timeout_s": 1.0}
        station = TrialStation(folder, bundle, output=output)
        (folder / "secret").write_text("a secret of sixteen bytes or more", encoding="ascii")
        with inspecting(station) as engine:
            told = len(station.triggers(5))
            answered = happens(lambda: len(asked) > len(ANSWERS))
            health = station.health()
            told += len(station.triggers(5))
            status = engine.stop()
    fault = health.outputs[0].detail if health else ""
    evidence.hold(
        "receiver redirects to no address, floods, or answers noise: a fault that is shown, and parts are judged",
        told == 10 and answered and status == 0 and bool(fault) and len(station.rows()) == 10,
        f"{len(asked)} answers, {told} of 10 parts judged, status {status}; {fault or 'no fault was shown'}",
    )


@contextmanager
def _receiver() -> Iterator[tuple[str, list[int]]]:
    """Answer each connection with the next of ANSWERS; gives the address and the numbers of the answers."""
    asked: list[int] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                caller, _ = server.accept()
                with caller, suppress(OSError):
                    caller.recv(65536)
                    asked.append(len(asked))
                    caller.sendall(ANSWERS[asked[-1] % len(ANSWERS)])

    with ThreadPoolExecutor(max_workers=1) as pool, socket.create_server(("127.0.0.1", 0)) as server:
        pool.submit(serve)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", asked
        server.shutdown(socket.SHUT_RDWR)


def crowd(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Open 2,000 connections to the Modbus port while a PLC works."""
    port = free_port()
    trigger, output = {"type": "modbus", "page_button": False}, {"type": "modbus", "port": port}
    station = TrialStation(folder, bundle, trigger=trigger, output=output)
    with inspecting(station) as engine:
        plc = FakePlc("127.0.0.1", port)
        seen = [plc.part()["sequence"]]
        most = _files(engine.process.pid)
        for _ in range(CONNECTIONS // AT_ONCE):
            with ExitStack() as stack:
                for _ in range(AT_ONCE):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), 60.0))
                seen += [plc.part()["sequence"] for _ in range(5)]
                most = max(most, _files(engine.process.pid))
        plc.close()
        status = engine.stop()
    rows = station.rows()
    evidence.hold(
        f"{CONNECTIONS:,} connections to the Modbus port: the PLC keeps its own, and every part is judged",
        seen == list(range(1, len(rows) + 1)) and status == 0 and most < AT_ONCE,
        f"{len(seen)} results read, {len(rows)} rows, at most {most} open files, status {status}",
    )


def _files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def requests(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Send noise, half frames and huge announcements as the page's process: nothing that it sends ends the engine."""
    station, chance = TrialStation(folder, bundle), random.Random(0)
    with inspecting(station) as engine:
        for number in range(REQUESTS_SENT):
            with suppress(OSError), connect(station.config.run_dir, REQUESTS, 5.0) as caller:
                head = b"LWF1" if number % 2 else b""
                caller.sendall(head + chance.randbytes(chance.choice((0, 1, 8, 12, 5000))))
        for name in ("requests.sock.old", "requests"):
            (station.config.run_dir / name).mkdir(exist_ok=True)
        judged = [answer.reason for answer in station.triggers(10)]
        Requests(station.config.run_dir).self_test(60.0)
        status = engine.stop()
    evidence.hold(
        f"{REQUESTS_SENT} bad requests of the page: parts are judged, and the next good request is answered",
        judged == [Reason.SCORE] * 10 and status == 0 and not broken_sequence(station.rows()),
        f"{len(judged)} of 10 parts judged, status {status}",
    )
