"""A real HTTP server that fails as often as it is told to."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge.config.outputs import WebhookOutputConfig
from edge.line.outputs import OutputError, delivery
from edge.line.outputs.webhook import WebhookCarrier, signature
from tests.edge.engine.parts import inspection, wait_for
from tests.edge.line.reporting import Reporter
from tests.system.station import free_port

SECRET = b"a secret of at least sixteen bytes"


class Receiver(ThreadingHTTPServer):
    """Keeps what it took; answers the first requests with what it is given."""

    def __init__(self, *first: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(first)
        self.asked = 0
        self.taken: list[tuple[dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/parts"

    def sequences(self) -> list[int]:
        return [json.loads(body)["sequence"] for _, body in self.taken]

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        code = self.server.answers.pop(0) if self.server.answers else 204
        if 200 <= code < 300:
            self.server.taken.append((dict(self.headers), body))
        self.send_response(code)
        if code in (301, 302, 307):
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(WebhookCarrier, "longest_pause_s", 0.05)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    return file


def output(url: str, secret_file: Path) -> Reporter:
    config = WebhookOutputConfig(type="webhook", url=url, secret_file=secret_file, timeout_s=2.0)
    return Reporter(WebhookCarrier(config), secret_file.parent)


@pytest.fixture
def flaky() -> Iterator[Receiver]:
    receiver = Receiver(500, 503, 404, 301, 302, 429)
    yield receiver
    receiver.close()


def test_a_receiver_that_fails_at_first_gets_every_part_once_and_in_order(flaky: Receiver, secret_file: Path) -> None:
    hook = output(flaky.url, secret_file)
    for number in range(1, 21):
        hook.show(inspection(number))
    wait_for(lambda: len(flaky.taken) == 20)
    assert flaky.sequences() == list(range(1, 21))
    wait_for(lambda: hook.state().waiting == 0)
    assert hook.state().up
    assert flaky.asked == 26, "a redirect is not followed"
    hook.close()


def test_the_signature_is_what_the_receiver_computes_and_covers_body_and_timestamp(
    flaky: Receiver, secret_file: Path
) -> None:
    hook = output(flaky.url, secret_file)
    hook.show(inspection(1))
    wait_for(lambda: flaky.taken)
    headers, body = flaky.taken[0]
    expected = hmac.new(SECRET, headers["Linewatch-Timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["Linewatch-Signature"] == f"sha256={expected}"
    assert headers["Linewatch-Id"] == json.loads(body)["id"] == "Cell 4:1"
    assert signature(SECRET, "1", b"a") != signature(SECRET, "2", b"a")
    assert SECRET not in body
    hook.close()


def test_a_receiver_that_is_away_gets_everything_when_it_comes_and_after_a_restart(secret_file: Path) -> None:
    hook = output(f"http://127.0.0.1:{free_port()}/", secret_file)
    for number in range(1, 6):
        hook.show(inspection(number))
    wait_for(lambda: hook.state().waiting == 5 and "refused" in hook.state().detail)
    hook.close()
    receiver = Receiver()
    hook = output(receiver.url, secret_file)
    wait_for(lambda: receiver.sequences() == [1, 2, 3, 4, 5])
    hook.close()
    receiver.close()


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_secret_that_is_missing_or_short_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OutputError, match="secret"):
        output("http://127.0.0.1:1/", file)
