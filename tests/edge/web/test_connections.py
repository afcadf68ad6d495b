"""Real sockets against the served page: what many, slow and large requests may cost."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Event, Thread

import pytest

from edge.web.access.bodies import MAX_BODY_BYTES, UPLOADS, Room
from edge.web.access.connections import MAX_CONNECTIONS, PATIENCE_S, Channel, CpuQuota, Server
from edge.web.guard import SLOW_AT_ONCE
from tests.edge.web.standin import StandIn
from tests.edge.web.test_server import HANG_S, page_process
from tests.edge.web.test_trial import huge_png


@pytest.fixture
def page(station: StandIn) -> Iterator[SpawnProcess]:
    station.start()
    with page_process(station.config) as process:
        yield process


def connected(station: StandIn, said: bytes = b"") -> socket.socket:
    caller = socket.create_connection(("127.0.0.1", station.config.page.port), timeout=HANG_S)
    caller.sendall(said)
    return caller


def head(size: int, path: str = "/api/inspect", *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {size}"]
    lines += ["Content-Type: multipart/form-data; boundary=part", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(caller: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and the first bytes of the body."""
    said = b""
    while b"\r\n\r\n" not in said:
        more = caller.recv(65536)
        assert more, "the page hung up without an answer"
        said += more
    top, _, body = said.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while len(body) < min(int(headers.get("Content-Length", 0)), 4096):
        body += caller.recv(65536)
    return int(first.split()[1]), headers, body


def reachable(station: StandIn) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{station.config.page.port}/healthz", timeout=HANG_S) as found:
        return bool(found.status == 200)


def open_files(process: SpawnProcess) -> list[str]:
    """Return the regular files outside the program that the page holds open, deleted ones too."""
    found = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.endswith("(deleted)") or target.startswith("/tmp/"):
            found.append(target)
    return [name for name in found if "events.db" not in name]


def resident_bytes(process: SpawnProcess) -> int:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])


def test_a_body_that_waits_is_kept_in_no_file_and_more_of_them_are_refused_by_their_heads(
    station: StandIn, page: SpawnProcess
) -> None:
    before = open_files(page)
    with ExitStack() as stack:
        callers = [stack.enter_context(connected(station)) for _ in range(12)]
        for caller in callers:
            caller.sendall(head(20 * 2**20))
        for caller in callers[:UPLOADS]:
            caller.sendall(bytes(4 * 2**20))
        refused = []
        for caller in callers:
            caller.settimeout(2.0 if len(refused) < 12 - UPLOADS else 0.1)
            try:
                caller.sendall(bytes(20 * 2**20))
                refused.append(answer(caller)[0:2])
            except (TimeoutError, ConnectionError):
                continue
        assert open_files(page) == before
        assert [code for code, _ in refused].count(503) >= 12 - UPLOADS - 1
        assert all("Retry-After" in headers for code, headers in refused if code == 503)
        assert reachable(station)
    assert resident_bytes(page) < 500 * 2**20


@pytest.mark.parametrize("path", ["/api/recipe", "/api/trigger", "/", "/nothing", "/api/inspect/x"])
def test_only_an_upload_may_be_large(station: StandIn, page: SpawnProcess, path: str) -> None:
    with connected(station, head(2**20, path, "Expect: 100-continue")) as caller:
        code, _, body = answer(caller)
    assert code == 413
    assert "bytes at most" in json.loads(body)["error"]


def test_a_refused_body_is_read_to_its_end_so_that_the_words_arrive(station: StandIn, page: SpawnProcess) -> None:
    size = MAX_BODY_BYTES + 2**20
    with connected(station, head(size)) as caller:
        for _ in range(size // 2**20):
            caller.sendall(bytes(2**20))
        caller.sendall(bytes(size % 2**20))
        code, _, body = answer(caller)
    assert (code, "64 MiB" in json.loads(body)["error"]) == (413, True)
    assert resident_bytes(page) < 300 * 2**20


def test_slow_connections_leave_the_page_reachable(station: StandIn, page: SpawnProcess) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 26):
            stack.enter_context(connected(station, b"GET / HTTP/1.1\r\nHost: 127"))
        assert reachable(station)


def test_a_head_that_does_not_go_on_is_let_go(station: StandIn, page: SpawnProcess) -> None:
    with connected(station, b"GET / HTTP/1.1\r\nHost: 127") as caller:
        begun = time.monotonic()
        caller.settimeout(0.5)
        while time.monotonic() - begun < HANG_S:
            try:
                caller.sendall(b"0")
                if caller.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert PATIENCE_S / 2 < time.monotonic() - begun < HANG_S


def test_slow_readers_of_the_table_leave_the_page_reachable(station: StandIn, page: SpawnProcess) -> None:
    station.shift(1.0, 60_000)
    with ExitStack() as stack:
        readers = []
        for _ in range(SLOW_AT_ONCE + 5):
            caller = stack.enter_context(socket.socket())
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.connect(("127.0.0.1", station.config.page.port))
            caller.settimeout(HANG_S)
            caller.sendall(b"GET /history.csv HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            readers.append(caller)
        assert reachable(station)
        codes = [answer(reader)[0] for reader in readers]
        assert codes.count(200) == SLOW_AT_ONCE
        assert codes.count(503) == 5
        assert reachable(station)


def test_small_files_of_many_pixels_are_decoded_one_at_a_time(station: StandIn, page: SpawnProcess) -> None:
    bomb = huge_png(8000, 8000)
    body = b'--part\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + bomb
    body += bytes(64 * 1024) + b"\r\n--part--\r\n"  # over what every request may bring
    with ExitStack() as stack:
        callers = [stack.enter_context(connected(station, head(len(body)) + body)) for _ in range(16)]
        codes = [answer(caller)[0] for caller in callers]
    assert set(codes) <= {200, 400, 413, 415, 503}
    assert reachable(station)
    assert resident_bytes(page) < 900 * 2**20


def test_the_loop_does_not_turn_in_circles_for_what_a_thread_is_sending() -> None:
    with ExitStack() as stack:
        server = Server(lambda *_: [], stack.enter_context(socket.create_server(("127.0.0.1", 0))), threads=0)
        stack.callback(server.close)
        near, _far = map(stack.enter_context, socket.socketpair())
        channel = Channel(server, near, None, server.adj, map={})
        assert not channel.writable()
        channel.requests, channel.total_outbufs_len = [object()], 10  # an answer is on its way
        assert channel.writable(), "nobody sends: the peer took no more, and the loop goes on when it does"
        release, held = Event(), Event()
        sender = Thread(target=lambda: channel.outbuf_lock.acquire() and (held.set(), release.wait(HANG_S)))
        sender.start()
        assert held.wait(HANG_S)
        assert not channel.writable()
        channel.will_close = True
        assert channel.writable(), "the loop closes it all the same"
        release.set()
        sender.join()


def test_room_is_given_back() -> None:
    room = Room(uploads=2, size=100)
    assert room.take(60)
    assert not room.take(60)
    assert room.take(40)
    assert not room.take(0)
    room.give(60)
    assert room.take(60)


def test_who_uses_more_than_the_quota_of_the_cpu_waits_for_it() -> None:
    quota = CpuQuota(share=0.01, burst_s=0.05)
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert 0.0 < quota.pause_s() <= 1.0, "and never for longer, so that a person sees an answer"
    assert CpuQuota(share=0.01, burst_s=60.0).pause_s() == 0.0
