"""The page as its own process: `serve` under waitress, bound to a real port, stopped by a real signal."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from edge.config.station import PageConfig, StationConfig
from edge.people.roles import Role
from edge.people.store import People
from edge.web.server import WebError, serve
from tests.edge.web.standin import StandIn, encoded
from tests.tiny import bad_image

ROOT = Path(__file__).parents[3]
HANG_S = 60.0


@contextmanager
def page_process(config: StationConfig) -> Iterator[SpawnProcess]:
    """Run `serve` in its own process and wait until it answers."""
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(config,))
    process.start()
    try:
        wait_until_served(process, config.page.port, config.page.scheme)
        yield process
    finally:
        process.kill()
        process.join()


def wait_until_served(process: SpawnProcess, port: int, scheme: str = "http") -> None:
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline and process.is_alive():
        try:
            whoever = ssl._create_unverified_context() if scheme == "https" else None  # noqa: S323
            with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/healthz", timeout=HANG_S, context=whoever):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the page did not start")


@pytest.fixture
def served(station: StandIn) -> Iterator[StandIn]:
    with page_process(station.config):
        yield station


def curl(*arguments: str) -> tuple[int, str]:
    """Return status and body as plain curl gets them."""
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *arguments], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    body, _, code = done.stdout.rpartition("\n")
    return int(code), body


def test_plain_curl_judges_an_image(served: StandIn, tmp_path_factory: pytest.TempPathFactory) -> None:
    served.start()
    picture = tmp_path_factory.mktemp("upload") / "part.png"
    picture.write_bytes(encoded(bad_image(), ".png"))
    code, body = curl("-F", f"image=@{picture}", f"http://127.0.0.1:{served.config.page.port}/api/inspect")
    assert (code, json.loads(body)["verdict"]) == (200, "NG")


def test_a_file_somewhat_over_the_limit_is_refused_in_json(
    served: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> None:
    large = tmp_path_factory.mktemp("upload") / "large.png"
    with large.open("wb") as stream:
        stream.truncate(65 * 1024 * 1024)
    code, body = curl("-F", f"image=@{large}", f"http://127.0.0.1:{served.config.page.port}/api/inspect")
    assert (code, "64 MiB" in json.loads(body)["error"]) == (413, True)


def test_the_server_does_not_name_itself(served: StandIn) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.config.page.port}/healthz", timeout=HANG_S) as answer:
        assert answer.headers.get("Server") is None


def test_sigterm_stops_it_cleanly(station: StandIn) -> None:
    with page_process(station.config) as process:
        process.terminate()
        process.join(HANG_S)
        assert process.exitcode == 0


def test_a_port_in_use_is_one_clear_line(station: StandIn) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", station.config.page.port))
        taken.listen()
        with pytest.raises(
            WebError, match=rf"^the page cannot use 127\.0\.0\.1:{station.config.page.port} \(.*\); set"
        ):
            serve(station.config)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_one_clear_line(station: StandIn, host: str) -> None:
    page = PageConfig(host=host, port=station.config.page.port)
    people = People(station.config.state_dir)  # a page for a network starts with people only
    people.join(people.add("Ada", Role.ENGINEER), "Ada", "correct horse", "")
    people.close()
    with pytest.raises(WebError, match=rf"{host}[^\n]*; "):
        serve(station.config.model_copy(update={"page": page}))


def test_the_page_loads_neither_a_model_runtime_nor_the_camera() -> None:
    code = (
        "import sys; import edge.web.server; "
        "bad = {'openvino', 'onnxruntime', 'torch', 'edge.engine', 'edge.cameras', 'edge.inference.detector'}"
        " & set(sys.modules); sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_ends_when_the_engine_is_gone() -> None:
    """The engine is stood in for by a process that starts the follower and dies."""
    follower = (
        "import sys, time; from edge.web.server import follow_engine; follow_engine(int(sys.argv[1]));"
        "print(__import__('os').getpid(), flush=True); time.sleep(300)"
    )
    engine = (
        "import os, subprocess, sys;"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())], stdout=1).wait(60)"
    )
    command = [sys.executable, "-c", engine, follower]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        process.kill()
        process.wait()
        give_up = time.monotonic() + HANG_S
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < give_up, "the page outlived its engine"
            time.sleep(0.01)
