"""systemd/: units that systemd understands, that start what exists, and that agree with the example station."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edge.config.cameras import VideoCameraConfig
from edge.config.load import load_config
from edge.config.station import PAGE_DIR
from edge.engine.daemon import STOP_WITHIN_S
from edge.exchange.bundle_desk import WISH

REPO = Path(__file__).parents[2]
UNITS = sorted((REPO / "systemd").glob("*.service"))
PREFIX = "/opt/linewatch"
ENGINE, PAGE = REPO / "systemd" / "linewatch-engine.service", REPO / "systemd" / "linewatch-page.service"
STARTED = (ENGINE, PAGE)

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def setting(unit: Path, key: str) -> str:
    (value,) = re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)
    return value


def verify(unit: Path, station: Path, extra: str = "") -> str:
    """What systemd-analyze says of the unit, as if it were installed below the folder `station`."""
    python = station / "current" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    installed = station / unit.name
    installed.write_text(unit.read_text().replace(PREFIX, str(station)).replace("/usr/sbin/nft", str(python)) + extra)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed)], capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if "linewatch" in line]
    return "\n".join(said) if said or done.returncode == 0 else done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    assert verify(unit, tmp_path) == ""


@needs_systemd
def test_systemd_would_find_something_wrong(tmp_path: Path) -> None:
    assert "Surprise" in verify(UNITS[0], tmp_path, "\n[Service]\nSurprise=yes\n")


@needs_systemd
@pytest.mark.parametrize("unit", STARTED, ids=lambda unit: unit.name)
def test_what_a_unit_may_do_stays_little(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=15", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("unit", STARTED, ids=lambda unit: unit.name)
def test_a_unit_starts_a_verb_and_options_that_exist(unit: Path) -> None:
    program, *arguments = shlex.split(setting(unit, "ExecStart"))
    assert program == f"{PREFIX}/current/bin/python"
    assert arguments[:3] == ["-P", "-m", "edge"]
    verb, *options = arguments[3:]
    shown = subprocess.run(
        [sys.executable, "-m", "edge", verb, "--help"], capture_output=True, text=True, cwd=REPO, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    assert [option for option in options if option.startswith("--") and option not in shown.stdout] == []


def test_the_page_has_what_the_engine_leaves_of_the_cpu_and_sees_no_device() -> None:
    assert (setting(PAGE, "Nice"), setting(PAGE, "CPUSchedulingPolicy")) == ("19", "batch")
    assert int(setting(PAGE, "CPUWeight")) <= 2, "of 100, what nice 19 is among the threads of one service"
    assert int(setting(PAGE, "CPUQuota").removesuffix("%")) <= 50
    assert setting(PAGE, "PrivateDevices") == "yes"


def tmpfiles() -> dict[str, list[str]]:
    """Path -> mode, user, group of each folder that systemd-tmpfiles makes."""
    lines = [line.split() for line in (REPO / "systemd" / "linewatch.tmpfiles").read_text().splitlines()]
    return {fields[1]: fields[2:5] for fields in lines if fields and fields[0] == "d"}


def test_units_and_example_station_name_the_same_places() -> None:
    station, made = load_config(REPO / "firmware_scripts" / "station.toml"), tmpfiles()
    assert station.run_dir == Path("/run") / setting(ENGINE, "RuntimeDirectory")
    assert {str(station.state_dir), str(station.state_dir / PAGE_DIR), str(station.bundle.parent)} <= set(made)
    assert station.bundle == station.state_dir / "models" / "current"
    assert setting(ENGINE, "ReadWritePaths") == setting(ENGINE, "WorkingDirectory") == str(station.state_dir)
    written = str(station.state_dir / PAGE_DIR)
    assert setting(PAGE, "ReadWritePaths") == setting(PAGE, "WorkingDirectory") == written


def test_page_and_engine_have_a_user_each_and_root_owns_what_they_judge_by() -> None:
    engine, page, made = setting(ENGINE, "User"), setting(PAGE, "User"), tmpfiles()
    assert len({engine, page, "root"}) == 3
    for place in ("/var/lib/linewatch/models", "/etc/linewatch", "/etc/linewatch/trust"):
        assert made[place] == ["0755", "root", "root"]
    assert made["/var/lib/linewatch/page"] == ["0700", page, page]
    # Sticky: who may make files in the folder of the history cannot rename what belongs to others there.
    mode, owner, group = made["/var/lib/linewatch"]
    assert (mode, owner, group) == ("1775", "root", "linewatch-engine")
    assert group in setting(ENGINE, "SupplementaryGroups").split()
    assert group not in setting(PAGE, "SupplementaryGroups").split()


def test_the_page_is_let_into_the_group_that_the_sockets_are_open_to() -> None:
    assert int(setting(ENGINE, "RuntimeDirectoryMode"), 8) & stat.S_ISGID
    assert setting(ENGINE, "Group") in setting(PAGE, "SupplementaryGroups").split()
    assert setting(ENGINE, "UMask") == "0027", "the group reads the history and the pictures, and writes neither"


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_systemd_makes_the_users_and_folders_that_the_units_need(tmp_path: Path) -> None:
    for folder, program, name in (
        ("sysusers.d", "systemd-sysusers", "sysusers"),
        ("tmpfiles.d", "systemd-tmpfiles", "tmpfiles"),
    ):
        (tmp_path / "etc" / folder).mkdir(parents=True)
        shutil.copy(REPO / "systemd" / f"linewatch.{name}", tmp_path / "etc" / folder / "linewatch.conf")
        if name == "tmpfiles" and os.geteuid() != 0:
            return
        more = ["--create"] if name == "tmpfiles" else []
        subprocess.run([program, f"--root={tmp_path}", *more], check=True, capture_output=True, timeout=60)
        if name == "sysusers":
            users = (tmp_path / "etc" / "passwd").read_text() + (tmp_path / "etc" / "group").read_text()
            named = {setting(unit, key) for unit in STARTED for key in ("User", "Group")} | {"linewatch-engine"}
            assert [one for one in named if f"{one}:" not in users] == []
    assert (tmp_path / "var/lib/linewatch").stat().st_mode & 0o7777 == 0o1775
    assert (tmp_path / "var/lib/linewatch/page").stat().st_uid != (tmp_path / "var/lib/linewatch").stat().st_uid


def test_the_example_camera_is_the_one_that_the_rule_names() -> None:
    camera = load_config(REPO / "firmware_scripts" / "station.toml").camera
    rule = (REPO / "systemd" / "70-linewatch-camera.rules").read_text()
    (link,) = re.findall(r'SYMLINK\+="([^"]+)"', rule)
    assert isinstance(camera, VideoCameraConfig)
    assert camera.source == f"/dev/{link}"


def test_the_engine_ends_its_stop_itself_before_systemd_kills_it() -> None:
    assert float(setting(ENGINE, "TimeoutStopSec")) > STOP_WITHIN_S + 1
    assert float(setting(ENGINE, "WatchdogSec")) > STOP_WITHIN_S + 1


BUNDLES = REPO / "systemd" / "linewatch-bundles.service"


def test_the_wish_that_the_page_leaves_is_the_one_that_starts_who_carries_it_out() -> None:
    station = load_config(REPO / "firmware_scripts" / "station.toml")
    path = BUNDLES.with_suffix(".path")
    assert setting(path, "PathExists") == str(station.state_dir / PAGE_DIR / WISH)
    assert setting(path, "Unit") == BUNDLES.name
    assert shlex.split(setting(BUNDLES, "ExecStart"))[3:6] == ["edge", "bundle", "attend"]
    assert setting(BUNDLES, "PrivateNetwork") == "yes", "a process of root that no network reaches"
    assert setting(BUNDLES, "CPUSchedulingPolicy") == "idle"
