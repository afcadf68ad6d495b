import http.server
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.config.station import PageConfig
from edge.engine import EngineError
from edge.engine.page_process import PageProcess


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080")])
def test_the_address_is_one_a_browser_takes(host: str, url: str) -> None:
    assert PageProcess(Path("station.toml"), PageConfig(host=host)).url == url


def test_a_port_in_use_is_refused_before_a_child_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.engine.page_process.PORT_FREE_WITHIN_S", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        page = PageProcess(Path("station.toml"), PageConfig(port=port))
        with pytest.raises(EngineError, match=f"127.0.0.1:{port}.*in use.*page.port"):
            page.start()
        page.stop()


def test_a_host_that_is_not_this_computer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.engine.page_process.PORT_FREE_WITHIN_S", 0.0)
    with pytest.raises(EngineError, match=r"192\.0\.2\.1"):
        PageProcess(Path("station.toml"), PageConfig(host="192.0.2.1")).start()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_page_that_dies_while_starting_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The station.toml it is given does not exist."""
    page = PageProcess(tmp_path / "absent.toml", PageConfig(port=free_port()))
    page.start()
    child = page._child
    assert child is not None
    child.wait(60)
    with pytest.raises(EngineError, match="stopped while starting"):
        page.answers()
    page.stop()
    assert "absent.toml" in capfd.readouterr().err


def test_only_a_page_that_answers_healthz_counts() -> None:
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(200 if self.path == "/healthz" and self.server.healthy else 503)  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), NotFound)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = PageProcess(Path("x"), PageConfig(port=server.server_port))
    page._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    page._started_at = float("inf")
    server.healthy = False  # type: ignore[attr-defined]
    assert not page.answers()
    server.healthy = True  # type: ignore[attr-defined]
    assert page.answers()
    page.stop()
    server.shutdown()
    thread.join()
    server.server_close()
