"""From an empty Debian without a network to a part that is OK, with the package alone: make machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from edge.core.types import Verdict
from tests.systemd.machine import CAPABLE, ENGINE, FIREWALL, HANG_S, PAGE, REPO, Machine, booted

PACKAGES = (
    "systemd,systemd-sysv,python3,python3-venv,nftables,udev,iproute2,systemd-timesyncd"  # what the .deb depends on
)


@pytest.fixture(scope="module")
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a clean Debian with a loopback and no other network, in which the .deb of this commit lies."""
    if not request.config.getoption("--minutes"):
        pytest.skip("takes minutes: make machine")
    folder = tmp_path_factory.mktemp("debian")
    root, made = folder / "root", request.config.getoption("--debian")
    if made is None and shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed, and no --debian is given")
    command = (
        ["cp", "-a", made, root]
        if made
        else ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "stable", root]
    )
    subprocess.run(command, check=True, capture_output=True, timeout=1800)
    package = [REPO / "firmware_scripts/package.sh", "--out", folder, "--python", sys.executable]
    subprocess.run(package, check=True, capture_output=True, timeout=600)
    shutil.copy(next(folder.glob("*.deb")), root / "opt/linewatch.deb")
    (root / "etc/systemd/system/capable.service").write_text(CAPABLE)
    with booted(root, folder / "console", {}) as machine:
        yield machine


def test_the_package_installs_offline_and_judges_a_good_part(debian: Machine) -> None:
    said = debian.run("dpkg", "--install", "/opt/linewatch.deb")
    assert "installed into /" in said
    for unit in (FIREWALL, ENGINE, PAGE):
        assert debian.unit(unit, "ActiveState") == "active"
    toml = debian.root / "etc/linewatch/station.toml"
    before, _, after = toml.read_text().partition("[camera]")
    good = '[camera]\ntype = "folder"\npath = "/var/lib/linewatch/models/current/references"\n[trigger]'
    toml.write_text(
        before + good + after.partition("[trigger]")[2].replace("deadline_ms = 100.0", "deadline_ms = 2000")
    )
    python = ["/opt/linewatch/current/bin/python", "-P", "-m", "edge"]
    debian.run(*python, "check-config", "/etc/linewatch/station.toml")
    debian.run("systemctl", "restart", ENGINE, PAGE)
    end = time.monotonic() + HANG_S
    while not any(row.verdict is Verdict.OK for row in debian.rows()):
        assert time.monotonic() < end, debian.journal(ENGINE)
        time.sleep(0.2)
    assert "READY" in debian.journal(ENGINE)
    findings = debian.run(*python, "doctor", "--config", "/etc/linewatch/station.toml", check=False)
    assert "self-test   passed" in findings


def test_removing_the_package_leaves_what_was_inspected(debian: Machine) -> None:
    debian.run("dpkg", "--remove", "linewatch")
    assert not (debian.root / "opt/linewatch").exists()
    assert debian.run("nft", "list", "tables") == ""
    assert (debian.root / "var/lib/linewatch/events.db").stat().st_size > 0
