"""The life of a station under a real systemd, which takes minutes: make machine, or pytest --minutes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.inference.bundle import Bundle
from edge.inference.release.archive import write_archive
from tests.edge.inference.release.signing import Signer, released
from tests.firmware_scripts.releases import release, release_name
from tests.systemd.machine import ENGINE, FIREWALL, HANG_S, PAGE, PYTHON, Machine, booted, make_root

SCRIPTS = "/opt/source/firmware_scripts"
EDGE = ("/opt/linewatch/current/bin/python", "-P", "-m", "edge")
TOML = "/etc/linewatch/station.toml"
KINDS = {
    "one": PYTHON,
    "two": PYTHON,
    "broken": PYTHON.replace("exec ", '[ "$4" != run ] || { echo "linewatch: it is broken" >&2; exit 3; }\nexec '),
}


@pytest.fixture(scope="module")
def computer(
    request: pytest.FixtureRequest, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """Boot a computer without Linewatch on which two signed bundles lie ready."""
    if not request.config.getoption("--minutes"):
        pytest.skip("takes minutes: make machine")
    folder = tmp_path_factory.mktemp("life")
    root = folder / "root"
    make_root(root, tiny_bundle)
    for name in KINDS:
        (root / f"opt/{name}.whl").write_text(name)
    signer = Signer()
    signer.trusted_in(root / "etc/linewatch/trust")
    for counter in (1, 2):
        bundle = signer.sign(released(tiny_bundle, folder, counter))
        write_archive(bundle, root / f"opt/flange-{counter}.lwb")
    with booted(root, folder / "console") as machine:
        yield machine


def install(machine: Machine, name: str, *more: str, check: bool = True) -> str:
    """Install a release whose packages are there; an earlier installation may have removed it."""
    wheel = machine.root / f"opt/{name}.whl"
    if not (machine.root / "opt/linewatch/releases" / release_name(wheel)).exists():
        release(machine.root, wheel, KINDS[name])
    return machine.run(f"{SCRIPTS}/install.sh", "--wheel", f"/opt/{name}.whl", *more, check=check)


def link(machine: Machine, name: str = "current") -> str:
    """Return which of the releases a link of /opt/linewatch names."""
    target = machine.run("readlink", f"/opt/linewatch/{name}")
    return {release_name(machine.root / f"opt/{one}.whl"): one for one in KINDS}[Path(target).name]


def judges(machine: Machine) -> str:
    """Wait until the engine is READY and has judged a part since, and return with which bundle."""
    machine.until(ENGINE, "ActiveState", "active")
    last, end = machine.rows()[-1].id, time.monotonic() + HANG_S
    while (row := machine.rows()[-1]).id == last:
        assert time.monotonic() < end, machine.journal(ENGINE)
        time.sleep(0.1)
    return row.bundle


def no_part_is_lost(machine: Machine) -> None:
    ids = [row.id for row in machine.rows()]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_a_prepared_computer_gets_its_first_release_ready(computer: Machine) -> None:
    computer.run(f"{SCRIPTS}/provision.sh", "--allow", "10.0.0.0/8")
    said = install(computer, "one", "--bundle", "/opt/tiny")
    assert said.endswith("installed into /")
    assert link(computer) == "one"
    assert [computer.unit(unit, "ActiveState") for unit in (ENGINE, PAGE, FIREWALL)] == ["active"] * 3
    assert judges(computer).startswith("tiny")


def test_an_update_is_in_use_and_no_part_is_lost(computer: Machine) -> None:
    install(computer, "two")
    assert (link(computer), link(computer, "previous")) == ("two", "one")
    judges(computer)
    no_part_is_lost(computer)


def test_a_release_that_ends_by_itself_gives_way_with_its_reason(computer: Machine) -> None:
    was = link(computer)
    last = install(computer, "broken", check=False).splitlines()[-1]
    assert "does not get ready: it is broken; release" in last
    assert "is in use again" in last
    assert link(computer) == was
    judges(computer)
    no_part_is_lost(computer)


def test_there_is_a_way_back_to_the_release_before(computer: Machine) -> None:
    install(computer, "two")
    install(computer, "one")
    computer.run(f"{SCRIPTS}/rollback.sh")
    assert (link(computer), link(computer, "previous")) == ("two", "one")
    judges(computer)
    no_part_is_lost(computer)


def test_an_engine_that_hangs_is_killed_by_the_watchdog_and_judges_again(computer: Machine) -> None:
    computer.run("kill", "-STOP", computer.unit(ENGINE, "MainPID"))
    restarts = int(computer.unit(ENGINE, "NRestarts"))
    computer.until(ENGINE, "NRestarts", str(restarts + 1))
    assert "Watchdog timeout" in computer.journal(ENGINE)
    judges(computer)
    no_part_is_lost(computer)


def test_a_signed_bundle_comes_to_judge_and_goes_back_with_a_word(computer: Machine) -> None:
    for counter in (1, 2):
        computer.run(f"{SCRIPTS}/install-bundle.sh", f"/opt/flange-{counter}.lwb")
        assert judges(computer).startswith(f"flange {counter}")
    bundle = [*EDGE, "bundle"]
    refused = computer.run(*bundle, "activate", "/opt/flange-1.lwb", "--config", TOML, check=False)
    assert "version 2 judged here already" in refused
    assert judges(computer).startswith("flange 2")
    word = ["--product", "flange", "--to", "1", "--reason", "a test of the way back"]
    computer.run(*bundle, "allow-rollback", "--config", TOML, *word)
    computer.run(*bundle, "rollback", "--config", TOML)
    computer.run("systemctl", "restart", ENGINE)
    assert judges(computer).startswith("flange 1")


def test_a_backup_comes_back_after_a_reset(computer: Machine) -> None:
    computer.run(f"{SCRIPTS}/backup.sh", "--out", "/opt/backup")
    before = [row.id for row in computer.rows()]
    computer.run(f"{SCRIPTS}/factory-reset.sh", "--yes")
    assert "opt/camera" not in (computer.root / "etc/linewatch/station.toml").read_text()
    computer.run("sh", "-c", f"{SCRIPTS}/restore.sh /opt/backup/*.tar")
    judges(computer)
    ids = [row.id for row in computer.rows()]
    assert set(before[:-5]) <= set(ids)
    assert len(ids) == len(set(ids))


def test_a_computer_that_is_switched_off_and_on_judges_again(computer: Machine) -> None:
    computer.end()
    computer.start()
    for unit in (FIREWALL, ENGINE, PAGE):
        computer.until(unit, "ActiveState", "active")
    judges(computer)


def test_a_purge_leaves_nothing(computer: Machine) -> None:
    said = computer.run(f"{SCRIPTS}/uninstall.sh", "--purge", "--yes")
    assert "kept: the journal, backups" in said
    assert computer.run("sh", "-c", "grep linewatch /etc/passwd /etc/group", check=False) == ""
    assert computer.run("nft", "list", "tables") == ""
    assert computer.run("systemctl", "list-units", "--all", "--no-legend", "linewatch*") == ""
    seen = computer.run("find", "/etc", "/var", "/opt", "/run", "-xdev", "-name", "*linewatch*")
    assert [
        path for path in seen.splitlines() if not path.startswith(("/opt/backup/", "/opt/source/", "/run/systemd/"))
    ] == []
