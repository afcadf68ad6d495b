"""The units under a real systemd: tests/systemd/machine.py. What takes longer is in test_releases.py."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from edge.exchange.bundle_desk import REPORT
from edge.inference.bundle import Bundle
from tests.systemd.machine import ENGINE, FIREWALL, HANG_S, PAGE, Machine, booted, make_root, make_station


@pytest.fixture(scope="module")
def station(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a computer on which a release is installed, and wait until both units and the firewall are there."""
    folder = tmp_path_factory.mktemp("boot")
    root = folder / "root"
    make_root(root, tiny_bundle)
    make_station(root)
    with booted(root, folder / "console") as machine:
        machine.until(ENGINE, "ActiveState", "active")
        machine.until(PAGE, "ActiveState", "active")
        yield machine


def test_the_firewall_is_there_before_the_engine_and_the_page_comes_after_ready(station: Machine) -> None:
    times = [
        int(station.unit(unit, f"{key}TimestampMonotonic"))
        for unit, key in (
            (FIREWALL, "ActiveEnter"),
            (ENGINE, "ExecMainStart"),
            (ENGINE, "ActiveEnter"),
            (PAGE, "ExecMainStart"),
        )
    ]
    assert 0 not in times, station.said()
    assert times == sorted(times)
    assert "READY" in station.journal(ENGINE)
    assert "tcp dport { 502, 8080 } drop" in station.run("nft", "list", "table", "inet", "linewatch")


TRIES = """
import os, socket
def may(name, act):
    try:
        act()
        print(name)
    except OSError:
        pass
for place in ("/etc/linewatch", "/opt/linewatch", "/usr", "/var/lib/linewatch/models", "/var/lib/linewatch",
              "/var/lib/linewatch/page"):
    may("writes " + place, lambda: os.close(os.open(place + "/probe", os.O_CREAT | os.O_WRONLY)))
may("lists people", lambda: os.listdir("/var/lib/linewatch/page"))
may("reads a secret", lambda: open("/etc/linewatch/broker.password").read())
may("makes a device", lambda: os.mknod("/var/lib/linewatch/disk", 0o60600, os.makedev(254, 0)))
may("becomes root", lambda: os.setuid(0))
for address in ("127.0.0.1", "10.1.2.3", "203.0.113.1"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        may("reaches " + address, lambda: one.sendto(b"x", (address, 9)))
"""


@pytest.fixture(scope="module")
def may(station: Machine) -> dict[str, list[str]]:
    """Return what each unit may do of all that is tried.

    The machine has one address in the plant's network and one on the internet, and a secret of the engine.
    """
    for address in ("10.1.2.3/32", "203.0.113.1/32"):
        station.run("ip", "address", "add", address, "dev", "lo")
    (station.root / "etc/linewatch/broker.password").write_text("hunter2")
    station.run("chown", "root:linewatch-engine", "/etc/linewatch/broker.password")
    station.run("chmod", "0640", "/etc/linewatch/broker.password")
    return {unit: station.probe(unit, TRIES).splitlines() for unit in (ENGINE, PAGE)}


def files(tried: list[str]) -> list[str]:
    return [line for line in tried if not line.startswith("reaches")]


def test_the_engine_writes_its_history_reads_its_secrets_and_touches_nothing_else(may: dict[str, list[str]]) -> None:
    assert files(may[ENGINE]) == ["writes /var/lib/linewatch", "reads a secret"]


def test_the_page_writes_its_folder_and_touches_nothing_else(may: dict[str, list[str]]) -> None:
    assert files(may[PAGE]) == ["writes /var/lib/linewatch/page", "lists people"]


@pytest.mark.parametrize("unit", [ENGINE, PAGE])
def test_a_unit_reaches_the_plant_and_nothing_beyond(may: dict[str, list[str]], station: Machine, unit: str) -> None:
    if "does not support BPF" in station.run("journalctl", "--no-pager", "--quiet", "--output=cat"):
        pytest.skip("systemd may not load the BPF program of IPAddressDeny= here")
    assert [line for line in may[unit] if line.startswith("reaches")] == ["reaches 127.0.0.1", "reaches 10.1.2.3"]


def test_an_engine_that_is_killed_judges_again_and_the_page_lives_on(station: Machine) -> None:
    before, page = station.unit(ENGINE, "MainPID"), station.unit(PAGE, "MainPID")
    station.run("kill", "-KILL", before)
    station.until(ENGINE, "NRestarts", "1")
    station.until(ENGINE, "ActiveState", "active")
    assert station.unit(ENGINE, "MainPID") != before
    assert station.unit(PAGE, "MainPID") == page
    ids = [row.id for row in station.rows()]
    assert ids == list(range(1, len(ids) + 1)), "no id is lost and none comes twice"


def test_a_stop_ends_before_systemd_would_kill(station: Machine) -> None:
    for unit in (ENGINE, PAGE):
        station.run("systemctl", "stop", unit)
        assert (station.unit(unit, "Result"), station.unit(unit, "ExecMainStatus")) == ("success", "0")


WISHES = """
from pathlib import Path
from edge.exchange.bundle_desk import Act, Wish, leave_wish
wish = Wish(id="0123456789abcdef", act=Act.SHADOW, who="Erna", bundle="another", parts=3)
leave_wish(Path("/var/lib/linewatch/page"), wish)
"""


def test_a_wish_of_the_page_is_carried_out_with_the_rights_of_its_unit(station: Machine) -> None:
    station.run("cp", "-r", "/opt/tiny", "/var/lib/linewatch/models/another")
    end = time.monotonic() + HANG_S
    while len(station.rows()) < 3:
        assert time.monotonic() < end, station.journal(ENGINE)
        time.sleep(0.2)
    station.probe(PAGE, WISHES)
    told = "{}"
    while '"stage":"done"' not in told:
        assert time.monotonic() < end, station.journal("linewatch-bundles")
        assert '"stage":"failed"' not in told
        time.sleep(0.2)
        told = station.run("cat", f"/run/linewatch/{REPORT}", check=False)
    assert '"who":"Erna"' in told
