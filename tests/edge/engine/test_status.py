import socket
from pathlib import Path

import pytest

from edge.engine.status import sd_notify


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"linewatch-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name if abstract else name)
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        assert sd_notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify("READY=1")


def test_a_listener_that_does_not_read_never_holds_up_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        told = [sd_notify("WATCHDOG=1") for _ in range(2000)]
    assert told[0]
    assert not told[-1]


@pytest.mark.parametrize("left", ["nothing", "a closed socket", "a file"])
def test_a_listener_that_is_gone_does_not_end_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    address = tmp_path / "notify"
    if left == "a closed socket":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(address))
    if left == "a file":
        address.write_bytes(b"")
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    assert not sd_notify("WATCHDOG=1")
