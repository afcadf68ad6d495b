"""Whatever a neighbour sends, the next one is served."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from edge.exchange.commands import Command
from edge.exchange.requests import REQUESTS, Requests, RequestServer
from edge.exchange.sockets import connect
from edge.inference.bundle import Bundle
from edge.line.modbus_server import ModbusServer
from edge.web.server import create_app
from tests.edge.engine.parts import Answering, prediction
from tests.edge.web.standin import StandIn
from tests.fuzz.campaign import LETTERS, campaign, damaged
from tests.system.station import free_port

HANG_S = 60.0


def test_modbus(seconds: float) -> None:
    port = free_port()
    server = ModbusServer("127.0.0.1", port)
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=HANG_S)

    def target(content: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), HANG_S) as caller, contextlib.suppress(ConnectionError):
            caller.sendall(content)
        assert client.read_input_registers(0, count=9).registers[5] < 2**16
        server.check()

    def packet(function: int, rest: bytes, unit: int, length: int) -> bytes:
        return struct.pack(">HHHBB", 1, 0, (len(rest) + 2 + length) & 0xFFFF, unit, function) + rest

    packets = st.builds(
        packet, st.integers(0, 255), st.binary(max_size=16), st.integers(0, 255), st.sampled_from([0, 0, 0, 1, -1, 300])
    )
    whole = st.sampled_from(
        [packet(5, b"\0\0\xff\0", 1, 0), packet(4, b"\0\0\0\x09", 1, 0), packet(16, b"\0" * 7, 1, 0)]
    )
    streams = st.lists(packets | whole, max_size=5).map(b"".join)
    try:
        campaign(target, streams | whole.flatmap(damaged) | st.binary(max_size=600), seconds)
    finally:
        client.close()
        server.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    """The engine's end of the page's requests, and the loop that serves them."""
    server, stopped = RequestServer(tmp_path), threading.Event()
    judge = Answering(lambda _: prediction(1.0))

    def obey(_: Command) -> None:
        """Do nothing."""

    def loop() -> None:
        while not stopped.is_set():
            server.serve_next(judge, obey)
            time.sleep(0.001)

    server.start()
    thread = threading.Thread(target=loop)
    thread.start()
    yield tmp_path
    stopped.set()
    thread.join(HANG_S)
    server.stop()


def test_requests(engine: Path, seconds: float) -> None:
    page = Requests(engine)

    def frame(magic: bytes, words: bytes, picture: bytes, more: int) -> bytes:
        return struct.pack("!4sII", magic, len(words), (len(picture) + more) % 2**32) + words + picture

    def target(content: bytes) -> None:
        with connect(engine, REQUESTS, HANG_S) as caller, contextlib.suppress(ConnectionError):
            caller.sendall(content)
            caller.shutdown(socket.SHUT_WR)
            while caller.recv(65536):
                pass
        page.self_test(HANG_S)

    commands = [
        {"verb": "self_test"},
        {"verb": "switch_recipe", "recipe": "a"},
        {"height": 2, "width": 2},
        {"height": 0},
    ]
    words = st.sampled_from([json.dumps(one).encode() for one in commands]).flatmap(
        lambda one: st.just(one) | damaged(one)
    )
    magic = st.sampled_from([b"LWF1", b"LWF1", b"LWF1", b"LWF2", b"\0\0\0\0"])
    frames = st.builds(
        frame, magic, words, st.sampled_from([b"", bytes(12), bytes(13)]), st.sampled_from([0, 0, 1, -1])
    )
    campaign(target, frames | frames.flatmap(damaged) | st.sampled_from([b"[" * 5000, b""]), seconds)


def test_http(tmp_path: Path, tiny_bundle: Bundle, seconds: float) -> None:
    station = StandIn(tmp_path / "station", tiny_bundle, port=free_port())
    station.fill(5)
    app = create_app(station.config)
    app.config["PROPAGATE_EXCEPTIONS"] = True  # a traceback is a finding, whatever the page would have answered
    client = app.test_client()
    rules = [rule.rule for rule in app.url_map.iter_rules()]

    def target(request: tuple[str, str, dict[str, str], dict[str, str], bytes]) -> None:
        method, path, query, headers, body = request
        answer = client.open(path, method=method, query_string=query, headers=headers, data=body)
        assert answer.status_code != 500
        answer.close()

    words = st.text(LETTERS, max_size=12) | st.sampled_from(
        ["0", "-1", "9" * 30, "NaN", "1e309", "../../etc", "\0", "ERROR"]
    )

    def filled(rule: str, value: str) -> str:
        return "/".join(quote(value, safe="") if part.startswith("<") else part for part in rule.split("/"))

    paths = st.builds(filled, st.sampled_from(rules), words) | words.map(lambda word: f"/{quote(word)}")
    keys = st.sampled_from(
        ["before", "after", "verdict", "reason", "from", "to", "recipe", "station", "page", "q", "hours"]
    )
    names = st.sampled_from(["Host", "Origin", "Content-Type", "Range", "If-None-Match", "Cookie", "Accept", "X-Token"])
    values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
    requests = st.tuples(
        st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]),
        paths,
        st.dictionaries(keys, words, max_size=3),
        st.dictionaries(names, values, max_size=3),
        st.binary(max_size=40) | st.sampled_from([b"{}", b"[" * 5000, b"null", b'{"recipe": 1}']),
    )
    try:
        campaign(target, requests, seconds)
    finally:
        station.stop()
