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
        "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1000000",
        "devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000",
        "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2",
        "devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "3",
        "class/powercap/intel-rapl:0/name": "package-0",
        "class/powercap/intel-rapl:0/energy_uj": "9000000",
        "class/powercap/intel-rapl:0/max_energy_range_uj": "10000000",
        "class/powercap/intel-rapl:0:0/name": "core",
        "class/powercap/intel-rapl:0:0/energy_uj": "5",
    }
    for name, content in files.items():
        put(tmp_path, **{name: content})
    return tmp_path


def test_the_hottest_sensor_of_the_cpu_the_mean_clock_and_all_throttling_are_read(machine: Path) -> None:
    sensors = Sensors(machine)
    found = sensors.read()
    assert (found.temperature_c, found.frequency_mhz, found.throttled) == (64.5, 2000.0, 5)
    assert sensors.unreadable() == []


def test_energy_counts_the_packages_from_the_first_call_and_over_the_end_of_the_counter(machine: Path) -> None:
    sensors = Sensors(machine)
    assert sensors.read().energy_j == 0
    put(machine, **{"class/powercap/intel-rapl:0/energy_uj": "9500000"})
    assert sensors.read().energy_j == 0.5
    put(machine, **{"class/powercap/intel-rapl:0/energy_uj": "1000000"})
    assert sensors.read().energy_j == 2.0


def test_a_machine_that_tells_nothing_says_so(tmp_path: Path) -> None:
    sensors = Sensors(tmp_path)
    found = sensors.read()
    assert (found.temperature_c, found.frequency_mhz, found.throttled, found.energy_j) == (None, None, None, None)
    assert sensors.unreadable() == ["temperature", "clock frequency", "throttling", "power"]


def test_a_file_that_cannot_be_read_is_as_if_it_were_not_there(machine: Path) -> None:
    put(machine, **{"class/powercap/intel-rapl:0/energy_uj": "no number"})
    assert Sensors(machine).unreadable() == ["power"]
    assert Sensors(machine).read().energy_j is None
