"""systemd/: units that systemd understands, that start what exists, and that agree with the example station."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.config.cameras import VideoCameraConfig
from edge.config.load import load_config
from edge.engine.daemon import STOP_WITHIN_S

REPO = Path(__file__).parents[2]
UNITS = sorted((REPO / "systemd").glob("*.service"))
PREFIX = "/opt/linewatch"

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
    installed.write_text(unit.read_text().replace(PREFIX, str(station)) + extra)
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
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_a_unit_may_do_stays_little(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=25", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
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
    page = REPO / "systemd" / "linewatch-page.service"
    assert (setting(page, "Nice"), setting(page, "CPUSchedulingPolicy")) == ("19", "batch")
    assert int(setting(page, "CPUWeight")) <= 2, "of 100, what nice 19 is among the threads of one service"
    assert int(setting(page, "CPUQuota").removesuffix("%")) <= 50
    assert setting(page, "PrivateDevices") == "yes"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_and_example_station_name_the_same_places(unit: Path) -> None:
    example = REPO / "firmware_scripts" / "station.toml"
    station = load_config(example)
    assert station.state_dir == Path("/var/lib") / setting(unit, "StateDirectory")
    assert station.run_dir == Path("/run") / setting(unit, "RuntimeDirectory")
    assert station.bundle == station.state_dir / "models" / "current"


def test_the_example_camera_is_the_one_that_the_rule_names() -> None:
    camera = load_config(REPO / "firmware_scripts" / "station.toml").camera
    rule = (REPO / "systemd" / "70-linewatch-camera.rules").read_text()
    (link,) = re.findall(r'SYMLINK\+="([^"]+)"', rule)
    assert isinstance(camera, VideoCameraConfig)
    assert camera.source == f"/dev/{link}"


def test_the_engine_ends_its_stop_itself_before_systemd_kills_it() -> None:
    engine = REPO / "systemd" / "linewatch-engine.service"
    assert float(setting(engine, "TimeoutStopSec")) > STOP_WITHIN_S + 1
    assert float(setting(engine, "WatchdogSec")) > STOP_WITHIN_S + 1
