"""From an empty Debian without a network to a part that is OK, with the package alone: make machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.core.types import Verdict
from tests.systemd.machine import CAPABLE, ENGINE, FIREWALL, HANG_S, PAGE, REPO, Machine, booted


@pytest.fixture(scope="module")
def computer(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a clean Debian with a loopback and no other network, in which the .deb of this commit lies."""
    folder = tmp_path_factory.mktemp("debian")
    root = folder / "root"
    subprocess.run(["cp", "-a", debian, root], check=True, capture_output=True, timeout=600)
    package = [REPO / "firmware_scripts/package.sh", "--out", folder, "--python", sys.executable]
    subprocess.run(package, check=True, capture_output=True, timeout=600)
    shutil.copy(next(folder.glob("*.deb")), root / "opt/linewatch.deb")
    (root / "etc/systemd/system/capable.service").write_text(CAPABLE)
    with booted(root, folder / "console", {}) as machine:
        yield machine


@pytest.fixture(scope="module")
def installed(computer: Machine) -> Machine:
    """Install the package there; an engine that finds the computer too busy for the deadline refuses to inspect."""
    said = computer.run("dpkg", "--install", "/opt/linewatch.deb", check=False)
    if "other programs keep it busy" in said:
        pytest.skip(f"this computer is too busy: {said.partition('does not get ready: ')[2].partition(';')[0]}")
    assert "installed into /" in said, said
    return computer


def test_the_package_installs_offline_and_judges_a_good_part(installed: Machine) -> None:
    for unit in (FIREWALL, ENGINE, PAGE):
        assert installed.unit(unit, "ActiveState") == "active"
    toml = installed.root / "etc/linewatch/station.toml"
    before, _, after = toml.read_text().partition("[camera]")
    good = '[camera]\ntype = "folder"\npath = "/var/lib/linewatch/models/current/references"\n[trigger]'
    toml.write_text(
        before + good + after.partition("[trigger]")[2].replace("deadline_ms = 100.0", "deadline_ms = 2000")
    )
    python = ["/opt/linewatch/current/bin/python", "-P", "-m", "edge"]
    installed.run(*python, "check-config", "/etc/linewatch/station.toml")
    installed.run("systemctl", "restart", ENGINE, PAGE)
    end = time.monotonic() + HANG_S
    while not any(row.verdict is Verdict.OK for row in installed.rows()):
        assert time.monotonic() < end, installed.journal(ENGINE)
        time.sleep(0.2)
    assert "READY" in installed.journal(ENGINE)
    findings = installed.run(*python, "doctor", "--config", "/etc/linewatch/station.toml", check=False)
    assert "self-test   passed" in findings


def test_removing_the_package_leaves_what_was_inspected(installed: Machine) -> None:
    installed.run("dpkg", "--remove", "linewatch")
    assert not (installed.root / "opt/linewatch").exists()
    assert installed.run("nft", "list", "tables") == ""
    assert (installed.root / "var/lib/linewatch/events.db").stat().st_size > 0
