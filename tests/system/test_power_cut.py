"""What was told stays, and what judged goes on judging, when the power goes at any moment: tests/system/power.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.commands.bundle.store import Store
from edge.config.load import load_config
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from edge.inference.bundle import Bundle
from edge.inference.release.archive import archive_path, write_archive
from edge.inference.release.versions import read_audit, read_versions
from edge.line.outputs.outbox import Outbox
from tests.edge.inference.release.signing import Signer, needs_root, released
from tests.firmware_scripts.releases import release
from tests.system.power import Disk
from tests.system.station import ROOT

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk", tmp_path)


def python(disk: Disk, code: str, *arguments: object) -> str:
    """Run a program on the disk, and return what it says."""
    command = [sys.executable, "-c", code, str(disk.root), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=disk.environment, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cuts(disk: Disk, folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield how many syncs were done and the disk after a cut behind them; last, one that was slow with content."""
    for syncs in range(disk.syncs() + 1):
        yield syncs, disk.cut(folder / f"cut-{syncs}", syncs)
    yield disk.syncs(), disk.cut_with_entries(folder / "entries")


PARTS = """
import os, sys
from pathlib import Path
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from edge.line.outputs.outbox import Outbox
from tests.edge.engine.parts import inspection
root = Path(sys.argv[1])
def say(word, number):
    print(word, number, os.path.getsize(sys.argv[2]), flush=True)
log = EventLog(root / "state" / "events.db")
ids = Ids(log, root, "this boot")
box = Outbox(root / "state" / "outbox" / "mqtt", log.path, "Cell 4")
for _ in range(15):
    number = ids.next_id()
    say("told", number)
    box.expect(number)
    log.append(inspection(number))
    log.reserve(32)
    say("stored", number)
    if number == 5:
        box.ack(number)
os._exit(0)
"""


def test_stored_rows_stay_told_ids_never_come_again_and_receivers_miss_no_row(disk: Disk, tmp_path: Path) -> None:
    lines = [line.split() for line in python(disk, PARTS, disk.log).splitlines()]
    said = [(word, int(number), disk.syncs(int(size))) for word, number, size in lines]
    assert disk.syncs() > 15
    for syncs, cut in cuts(disk, tmp_path):
        done = {(word, number) for word, number, at in said if at <= syncs}
        stored = {number for word, number in done if word == "stored"}
        log = EventLog(cut / "state" / "events.db")
        before = {row.id: row for row in log.after(0, 1000)}
        assert stored <= set(before)
        ids = Ids(log, cut, "the next boot")
        assert ids.next_id() > max((number for word, number in done), default=0)
        log.verify()
        if syncs < said[0][2]:
            continue  # there were neither parts nor an outbox yet
        box = Outbox(cut / "state" / "outbox" / "mqtt", log.path, "Cell 4")
        assert box.acked <= 5, "a row that nobody acknowledged would not be sent any more"
        box.close()
        log.close()


ACTS = """
import os, sys
from pathlib import Path
from edge.commands.bundle import activation
from edge.commands.bundle.store import Store
from edge.config.load import load_config
store = Store(load_config(Path(sys.argv[1]) / "station.toml"))
activation.step_aside = lambda: None  # this computer is never idle
activation.proven = lambda config, bundle: "proven"  # what the CPU says needs no disk
activation.unconfirmed = lambda store, recipe, bundle: None  # as if the engine judged with it
for counter, archive in enumerate(sys.argv[3:], 1):
    with store.alone():
        activation.activate(store, Path(archive), "default", False, 0.0, lambda line: None)
        print("activated", counter, os.path.getsize(sys.argv[2]))
        activation.confirm(store, 0.0)
        print("confirmed", counter, os.path.getsize(sys.argv[2]))
"""


@needs_root
def test_a_bundle_that_was_activated_judges_and_no_version_goes_back(
    tiny_bundle: Bundle, disk: Disk, tmp_path: Path
) -> None:
    signer, root = Signer(), disk.root
    signer.trusted_in(root / "trust")
    (root / "camera").mkdir()
    (root / "station.toml").write_text(
        'name = "Test"\nbundle = "models/current"\nstate_dir = "state"\nrun_dir = "run"\n'
        '[camera]\ntype = "folder"\npath = "camera"\n[trigger]\ntype = "free_run"\nrate_hz = 1\n'
    )
    archives = []
    for counter in (1, 2):
        made = signer.sign(released(tiny_bundle, tmp_path / "made", counter))
        archives.append(archive_path(made.path))
        write_archive(made, archives[-1])
    disk.begin()
    said = [(word, int(number), disk.syncs(int(size))) for word, number, size in
            map(str.split, python(disk, ACTS, disk.log, *archives).splitlines())]  # fmt: skip
    for syncs, cut in cuts(disk, tmp_path):
        told = {word: number for word, number, at in said if at <= syncs}
        store = Store(load_config(cut / "station.toml"))
        read_audit(cut / "trust")
        assert read_versions(cut / "trust").highest.get("flange", 0) >= told.get("confirmed", 0)
        if told:
            (judging,) = store.judged()
            assert f"flange {told['activated']} " in judging or f"flange {told['activated'] + 1} " in judging


def test_a_station_boots_whenever_the_power_goes_during_an_installation(disk: Disk, tmp_path: Path) -> None:
    root, releases = disk.root, []
    quick = tmp_path / "bin" / "chrt"  # a computer that tests others at the same time is never idle
    quick.parent.mkdir()
    quick.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    quick.chmod(0o755)
    environment = {**disk.environment, "PATH": f"{quick.parent}:{os.environ['PATH']}"}
    bundle = tmp_path / "tiny"
    bundle.mkdir()
    for name in ("manifest.json", "manifest.sha256", "model_int8.bin"):
        (bundle / name).write_text(f"tiny {name}")
    for version in ("first", "second"):
        wheel = tmp_path / f"{version}.whl"
        wheel.write_text(version)
        releases.append(release(root, wheel))
        subprocess.run(["sync", "-f", root], check=True, env=disk.environment)
        script = ROOT / "firmware_scripts" / "install.sh"
        command = [script, "--wheel", wheel, "--bundle", bundle, "--root", root]
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=600)
        if version == "first":
            said = disk.syncs()
    for syncs, cut in cuts(disk, tmp_path):
        model, current = cut / "var/lib/linewatch/models/current", cut / "opt/linewatch/current"
        units = [*(cut / "etc/systemd/system").glob("*.service"), *cut.glob("etc/linewatch/station.toml")]
        assert all(unit.stat().st_size > 100 for unit in units)
        if current.is_symlink() or syncs >= said:
            assert current.resolve().name in releases
            assert (current / "complete").is_file()
            assert (current / "bin/python").stat().st_size > 0
        if model.is_symlink() or syncs >= said:
            assert (model / "model_int8.bin").read_text() == "tiny model_int8.bin"
        if syncs >= said:
            assert units
    assert (model.resolve().name, current.resolve().name) == ("tiny", releases[1]), "what was told is there"
