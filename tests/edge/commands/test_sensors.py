"""edge.commands.acceptance.sensors: what the kernel tells is read as it is meant, and what it does not tell is said."""

from pathlib import Path

import pytest

from edge.commands.acceptance.sensors import Sensors


def put(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_D_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    files = {
        "class/hwmon/hwmon0/name": "coretemp",
        "class/hwmon/hwmon0/temp1_input": "61000",
        "class/hwmon/hwmon0/temp2_input": "64500",
        "class/hwmon/hwmon1/name": "nvme",
        "class/hwmon/hwmon1/temp1_input": "90000",
        "class/thermal/thermal_zone0/type": "x86_pkg_temp",
        "class/thermal/thermal_zone0/temp": "63000",
        "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2",
        "devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "3",
    }
    for name, content in files.items():
        put(tmp_path, **{name: content})
    return tmp_path


def test_the_hottest_sensor_of_the_cpu_and_all_throttling_are_read(machine: Path) -> None:
    found = Sensors(machine).read()
    assert (found.temperature_c, found.throttled) == (64.5, 5)


def test_a_machine_that_tells_nothing_says_so(tmp_path: Path) -> None:
    found = Sensors(tmp_path).read()
    assert (found.temperature_c, found.throttled) == (None, None)


def test_a_file_that_cannot_be_read_is_as_if_it_were_not_there(machine: Path) -> None:
    for counter in ("core", "package"):
        put(machine, **{f"devices/system/cpu/cpu0/thermal_throttle/{counter}_throttle_count": "no number"})
    assert Sensors(machine).read().throttled is None
