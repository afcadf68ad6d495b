"""The life of a station on real wheels, from an empty Debian without a network on: make machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import __version__
from edge.core.types import Verdict
from edge.inference.bundle import open_bundle
from edge.inference.release.archive import write_archive
from tests.edge.inference.release.signing import Signer, released
from tests.systemd.machine import CAPABLE, ENGINE, FIREWALL, HANG_S, PAGE, REPO, Machine, booted

SCRIPTS = "/usr/lib/linewatch/firmware_scripts"
EDGE = ("/opt/linewatch/current/bin/python", "-P", "-m", "edge")
TOML = "/etc/linewatch/station.toml"
GOOD_AND_BAD = '[camera]\ntype = "folder"\npath = "/var/lib/linewatch/models/current/references"\n[trigger]'
BROKEN = """

from edge.core.types import EdgeError


def run(arguments: argparse.Namespace) -> int:
    raise EdgeError("it is broken")
"""


@pytest.fixture(scope="module")
def computer(boots: None, debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a clean Debian with a loopback and no other network, in which the .deb of this commit lies."""
    folder = tmp_path_factory.mktemp("debian")
    root = folder / "root"
    subprocess.run(["cp", "-a", debian, root], check=True, capture_output=True, timeout=600)
    package = [REPO / "firmware_scripts/package.sh", "--out", folder, "--python", sys.executable]
    subprocess.run(package, check=True, capture_output=True, timeout=600)
    shutil.copy(next(folder.glob("*.deb")), root / "opt/linewatch.deb")
    build_wheel(folder, root / "opt", "0.2.0")
    build_wheel(folder, root / "opt", "0.3.0", BROKEN)
    signer = Signer()
    for counter in (1, 2):
        bundle = signer.sign(released(open_bundle(REPO / "models/default"), folder, counter))
        write_archive(bundle, root / f"opt/flange-{counter}.lwb")
    signer.trusted_in(root / "opt")
    (root / "etc/systemd/system/capable.service").write_text(CAPABLE)
    with booted(root, folder / "console", {}) as machine:
        yield machine


def build_wheel(folder: Path, target: Path, version: str, more: str = "") -> None:
    """Build the wheel of a later version; more: what that one has at the end of the engine's verb."""
    tree = folder / version
    names = shutil.ignore_patterns("__pycache__")
    for name in ("edge", "train"):
        shutil.copytree(REPO / name, tree / name, ignore=names)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, tree / name)
    for path in (tree / "pyproject.toml", tree / "edge/__init__.py"):
        text = re.sub(r'^(version|__version__) = ".*"', rf'\1 = "{version}"', path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
    with (tree / "edge/engine/daemon.py").open("a") as stream:
        stream.write(more)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", target, tree]
    subprocess.run(command, check=True, capture_output=True, timeout=600)


@pytest.fixture(scope="module")
def started(computer: Machine) -> float:
    """Give the time at which the computer runs and the package is not installed yet."""
    return time.monotonic()


@pytest.fixture(scope="module")
def installed(computer: Machine, started: float) -> Machine:
    """Install the package there; an engine that finds the computer too busy for the deadline refuses to inspect."""
    said = computer.run("dpkg", "--install", "/opt/linewatch.deb", check=False)
    if "other programs keep it busy" in said:
        pytest.skip(f"this computer is too busy: {said.partition('does not get ready: ')[2].partition(';')[0]}")
    assert "installed into /" in said, said
    return computer


def update(machine: Machine, version: str, check: bool = True) -> str:
    """Install a later version as the guide says, and return the last line that this prints."""
    wheel = f"/opt/linewatch-{version}-py3-none-any.whl"
    command = (f"{SCRIPTS}/install.sh", "--wheel", wheel, "--wheels", "/usr/lib/linewatch/wheels")
    return machine.run(*command, check=check).splitlines()[-1]


def judges(machine: Machine, version: str) -> str:
    """Wait until this version has judged another part OK, and return by which bundle."""
    machine.until(ENGINE, "ActiveState", "active")
    assert machine.run(*EDGE, "--version") == version
    last, end = machine.rows()[-1].id, time.monotonic() + HANG_S
    while not (found := [row for row in machine.rows() if row.id > last and row.verdict is Verdict.OK]):
        assert time.monotonic() < end, machine.journal(ENGINE)
        time.sleep(0.2)
    return found[-1].bundle


def test_the_package_installs_offline_and_judges_a_good_part(
    started: float, installed: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    for unit in (FIREWALL, ENGINE, PAGE):
        assert installed.unit(unit, "ActiveState") == "active"
    toml = installed.root / TOML.lstrip("/")
    before, _, after = toml.read_text().partition("[camera]")
    toml.write_text(
        before + GOOD_AND_BAD + after.partition("[trigger]")[2].replace("deadline_ms = 100.0", "deadline_ms = 2000")
    )
    installed.run(*EDGE, "check-config", TOML)
    installed.run("systemctl", "restart", ENGINE, PAGE)
    end = time.monotonic() + HANG_S
    while not any(row.verdict is Verdict.OK for row in installed.rows()):
        assert time.monotonic() < end, installed.journal(ENGINE)
        time.sleep(0.2)
    with capsys.disabled():
        print(f"\nfrom the package to the first part that is OK: {time.monotonic() - started:.0f} s")
    assert "READY" in installed.journal(ENGINE)
    findings = installed.run(*EDGE, "doctor", "--config", TOML, check=False)
    assert "self-test   passed" in findings


def test_an_update_is_in_use_and_judges(installed: Machine) -> None:
    assert update(installed, "0.2.0") == "installed into /"
    judges(installed, "0.2.0")


def test_there_is_a_way_back_to_the_version_of_the_package(installed: Machine) -> None:
    for version in (__version__, "0.2.0"):
        installed.run(f"{SCRIPTS}/rollback.sh")
        judges(installed, version)


def test_a_broken_version_gives_way_by_itself(installed: Machine) -> None:
    last = update(installed, "0.3.0", check=False)
    assert "does not get ready: it is broken; release" in last
    assert "is in use again" in last
    judges(installed, "0.2.0")


def test_a_bundle_is_taken_back_with_a_word(installed: Machine) -> None:
    installed.run("sh", "-c", "install -m 0644 /opt/*.pub /etc/linewatch/trust")
    for counter in (1, 2):
        installed.run(f"{SCRIPTS}/install-bundle.sh", f"/opt/flange-{counter}.lwb")
        assert judges(installed, "0.2.0").startswith(f"flange {counter}")
    word = ["--product", "flange", "--to", "1", "--reason", "a test of the way back"]
    installed.run(*EDGE, "bundle", "allow-rollback", "--config", TOML, *word)
    installed.run(*EDGE, "bundle", "rollback", "--config", TOML)
    installed.run("systemctl", "restart", ENGINE)
    assert judges(installed, "0.2.0").startswith("flange 1")


def test_a_backup_is_restored_and_no_id_comes_twice(installed: Machine) -> None:
    installed.run(f"{SCRIPTS}/backup.sh", "--out", "/opt/backup")
    installed.run(f"{SCRIPTS}/factory-reset.sh", "--yes")
    installed.run("sh", "-c", f"{SCRIPTS}/restore.sh /opt/backup/*.tar")
    assert judges(installed, "0.2.0").startswith("flange 1")
    ids = [row.id for row in installed.rows()]
    assert len(ids) == len(set(ids))


def test_removing_the_package_leaves_what_was_inspected(installed: Machine) -> None:
    installed.run("dpkg", "--remove", "linewatch")
    assert not (installed.root / "opt/linewatch").exists()
    assert installed.run("nft", "list", "tables") == ""
    assert (installed.root / "var/lib/linewatch/events.db").stat().st_size > 0
