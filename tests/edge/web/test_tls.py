"""The page over TLS: a served process, real sockets, a certificate of its own or one from files."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config.station import PageConfig, StationConfig
from edge.engine.page_process import PageProcess
from edge.inference.bundle import Bundle
from edge.web.access.certificate import OWN_CERTIFICATE, OWN_KEY, CertificateError, fingerprint, tls_context
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, encoded, part_image
from tests.edge.web.test_server import HANG_S, page_process


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A served station whose page speaks TLS with a certificate that it made for itself."""
    station = StandIn(tmp_path_factory.mktemp("tls") / "station", tiny_bundle, port=free_port())
    page = station.config.page.model_copy(update={"tls": True})
    station.config = station.config.model_copy(update={"page": page})
    station.inspect(part_image())
    station.start()
    with page_process(station.config):
        yield station
    station.stop()


def trusting(station: StandIn) -> ssl.SSLContext:
    """Return the context of a browser that was given this page's certificate."""
    return ssl.create_default_context(cafile=str(station.config.state_dir / OWN_CERTIFICATE))


def address(station: StandIn, path: str) -> str:
    return f"https://127.0.0.1:{station.config.page.port}{path}"


def test_a_browser_that_was_given_the_certificate_gets_the_page_and_a_cookie_for_tls_only(secure: StandIn) -> None:
    with urllib.request.urlopen(address(secure, "/"), context=trusting(secure), timeout=HANG_S) as answer:
        page, cookie = answer.read().decode(), answer.headers["Set-Cookie"]
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert fingerprint((secure.config.state_dir / OWN_CERTIFICATE).read_bytes()) in page


def test_the_fingerprint_is_the_one_that_a_browser_computes(secure: StandIn) -> None:
    pem = ssl.get_server_certificate(("127.0.0.1", secure.config.page.port), timeout=HANG_S)
    shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    assert fingerprint(pem.encode()).replace(":", "") == shown


def test_the_key_is_for_the_stations_user_only(secure: StandIn) -> None:
    assert (secure.config.state_dir / OWN_KEY).stat().st_mode & 0o077 == 0


def test_an_image_of_many_records_arrives_whole_and_its_sender_is_known_by_address(secure: StandIn) -> None:
    image = encoded(part_image(), ".bmp")
    assert len(image) > 10 * 65536
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + image + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(address(secure, "/api/inspect?heatmap=0"), body, headers)
    with urllib.request.urlopen(request, context=trusting(secure), timeout=HANG_S) as answer:
        assert json.load(answer)["verdict"] == "OK"
    with urllib.request.urlopen(address(secure, "/api/audit"), context=trusting(secure), timeout=HANG_S) as answer:
        assert json.load(answer)["rows"][0]["address"] == "127.0.0.1"


def test_peers_that_never_shake_hands_hold_nobody_up(secure: StandIn) -> None:
    place = ("127.0.0.1", secure.config.page.port)
    silent = [socket.create_connection(place, timeout=HANG_S) for _ in range(20)]
    silent[0].sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with urllib.request.urlopen(address(secure, "/healthz"), context=trusting(secure), timeout=HANG_S) as answer:
        assert answer.status == 200
    for peer in silent:
        with peer:
            while peer.recv(4096):  # what it gets before it is let go is no page
                pass


def test_the_engine_finds_its_page_alive(secure: StandIn, tmp_path: Path) -> None:
    page = PageProcess(tmp_path / "none.toml", secure.config.page)
    assert page.url.startswith("https://")
    page._child, page._started_at = _Alive(), float("inf")  # type: ignore[assignment]
    assert page.answers()


class _Alive:
    """A child that lives."""

    def poll(self) -> None:
        return None


def config_with(station: StandIn, certificate: Path, key: Path) -> StationConfig:
    page = PageConfig(tls=True, certificate=certificate, private_key=key)
    return station.config.model_copy(update={"page": page})


def test_the_certificate_of_the_file_is_used_and_a_wrong_one_is_one_line(secure: StandIn, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    shutil.copy(secure.config.state_dir / OWN_CERTIFICATE, certificate)
    shutil.copy(secure.config.state_dir / OWN_KEY, key)
    assert tls_context(config_with(secure, certificate, key))[1] == fingerprint(certificate.read_bytes())
    for bad in (tmp_path / "none.pem", certificate):
        with pytest.raises(CertificateError, match=r"page\.certificate") as found:
            tls_context(config_with(secure, certificate, bad))
        assert "\n" not in str(found.value)
    certificate.write_bytes(b"\x00\xff")
    with pytest.raises(CertificateError):
        tls_context(config_with(secure, certificate, key))
