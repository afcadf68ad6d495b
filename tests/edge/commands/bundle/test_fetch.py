"""`edge bundle fetch` from a real HTTPS server that breaks off, lies or sends something else."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.commands.bundle import fetch
from edge.inference.bundle import Bundle
from edge.inference.release.archive import archive_path, write_archive
from edge.web.access import certificate
from edge.web.access.certificate import _make
from tests.edge.inference.release.signing import Signer, needs_root, released

pytestmark = needs_root


class Server:
    """An HTTPS server of one file, which it can break off."""

    def __init__(self, folder: Path) -> None:
        self.content, self.tag, self.break_at = b"", '"1"', 0
        self.length: str | None = None  # what it says instead of the true one
        self.asked: list[str | None] = []
        self.certificate = folder / "server.pem"
        _make(self.certificate, folder / "server.key", "127.0.0.1")
        own = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                own.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self._server.server_port}/flange.lwb"

    def answer(self, page: BaseHTTPRequestHandler) -> None:
        wanted = page.headers["Range"]
        self.asked.append(wanted)
        if page.path == "/elsewhere":
            page.send_response(302)
            page.send_header("Location", "http://127.0.0.1:1/flange.lwb")
            page.end_headers()
            return
        if page.path != "/flange.lwb":
            page.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and page.headers["If-Range"] == self.tag else 0
        page.send_response(206 if start else 200)
        if start:
            page.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        page.send_header("Content-Length", self.length or str(len(self.content) - start))
        page.send_header("ETag", self.tag)
        page.end_headers()
        end = self.break_at or len(self.content)
        self.break_at, self.length = 0, None
        page.wfile.write(self.content[start:end])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server"))
    yield one
    one.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "station.toml"
    file.write_text(
        'name = "S"\nbundle = "models/current"\nstate_dir = "state"\nrun_dir = "run"\nbundle_signatures = "optional"\n'
        '[camera]\ntype = "folder"\npath = "camera"\n[trigger]\ntype = "free_run"\nrate_hz = 1\n'
    )
    return file


def carried(bundle: Bundle) -> bytes:
    write_archive(bundle, archive_path(bundle.path))
    return archive_path(bundle.path).read_bytes()


def breaks_off(server: Server, bundle: Bundle, folder: Path) -> Signer:
    """Let the server send a signed bundle and break off once; return who signs, whom the station trusts."""
    signer = Signer()
    signer.trusted_in(folder / "trust")
    server.content, server.break_at = carried(signer.sign(released(bundle, folder, 1))), 5000
    return signer


def run(server: Server, config: Path, url: str | None = None) -> int:
    return main(
        ["bundle", "fetch", url or server.url, "--config", str(config), "--authorities", str(server.certificate)]
    )


def installed(config: Path) -> list[str]:
    return sorted(path.name for path in (config.parent / "models").iterdir())


def test_a_signed_bundle_comes_whole_although_the_server_breaks_off(
    server: Server, config: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "AGAIN_S", 0.0)
    breaks_off(server, tiny_bundle, tmp_path)
    server.asked.clear()
    assert run(server, config) == 0
    assert server.asked == [None, "bytes=5000-"]
    assert [name.startswith("flange-1-") for name in installed(config)] == [True]


def test_what_was_fetched_in_part_is_dropped_when_the_server_has_another_file_by_then(
    server: Server, config: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    signer = breaks_off(server, tiny_bundle, tmp_path)
    assert run(server, config) == 1
    server.content, server.tag = carried(signer.sign(released(tiny_bundle, tmp_path, 2))), '"2"'
    assert run(server, config) == 0
    assert [name.startswith("flange-2-") for name in installed(config)] == [True]


def test_what_was_fetched_in_part_goes_on_and_does_not_outlive_another_address(
    server: Server, config: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    breaks_off(server, tiny_bundle, tmp_path)
    assert run(server, config) == 1
    server.break_at = 9000
    server.asked.clear()
    assert run(server, config) == 1
    assert server.asked == ["bytes=5000-"]
    assert len(installed(config)) == 2, "the part, and what the server calls it"
    assert run(server, config, server.url.replace("flange", "absent")) == 1
    assert installed(config) == []


def test_an_unsigned_bundle_is_never_fetched(
    server: Server, config: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = carried(released(tiny_bundle, tmp_path, 3))
    assert run(server, config) == 1
    assert "is not signed" in capsys.readouterr().err
    assert installed(config) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/flange.lwb", "is no https address"),
        ("file:///etc/passwd", "is no https address"),
        ("https://", "is no https address"),
        ("SERVER/absent", "answers 404"),
        ("SERVER/elsewhere", "http://127.0.0.1:1/flange.lwb: is no https address"),
    ],
)
def test_an_address_that_cannot_be_is_one_line(
    server: Server, config: Path, url: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, config, url.replace("SERVER", server.url.removesuffix("/flange.lwb"))) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_server_for_whom_nobody_vouches_sends_nothing(
    server: Server, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.asked.clear()
    assert main(["bundle", "fetch", server.url, "--config", str(config)]) == 1
    assert "nobody vouches for this server" in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize("length", ["abc", "-5", "1e4", "9" * 40])
def test_a_length_that_is_no_number_is_one_line(
    server: Server, config: Path, length: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content, server.length = b"x" * 100, length
    assert run(server, config) == 1
    said = capsys.readouterr().err
    assert "sends a Content-Length that is no number" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("year", "words"), [(2100, "set it with timedatectl"), (2001, "have it renewed, or set the")])
def test_a_certificate_of_another_time_speaks_of_the_clock(
    config: Path, tmp_path: Path, year: int, words: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As where the clock of the station stands in 1970."""

    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(year, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(certificate, "datetime", Then)
    server = Server(tmp_path)
    try:
        assert run(server, config) == 1
    finally:
        server.close()
    said = capsys.readouterr().err
    assert words in said
    assert "--authorities" not in said
