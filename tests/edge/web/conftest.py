from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright

from edge.inference.bundle import Bundle
from edge.web.server import create_app
from tests.edge.web.standin import StandIn

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]


def free_port() -> int:
    """Return a port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def station(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A station whose folders are still empty: nothing inspected, no engine."""
    station = StandIn(tmp_path / "station", tiny_bundle, port=free_port())
    yield station
    station.stop()


@pytest.fixture
def client(station: StandIn) -> FlaskClient:
    """A client that is no browser, as curl is: it sends neither Origin nor cookies of its own."""
    return create_app(station.config).test_client()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of one file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
