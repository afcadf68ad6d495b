"""What the doctor finds about the computer: packages, CPU, governor, temperature, the clock's source, cameras."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from edge.commands.doctor.findings import Finding, Level, look_if
from edge.core.types import EdgeError
from edge.core.versions import PACKAGES, program_versions
from edge.inference.cpu import cpu_tier, require_cpu

SYS = Path("/sys")
HOT_C = 90.0  # from here on CPUs slow themselves down
UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


def computer_findings() -> Iterator[Finding]:
    """Yield what is true whatever station.toml says."""
    found = program_versions()
    yield Finding("linewatch", f"{found['linewatch']}, Python {found['Python']}, {found['system']}")
    yield Finding("packages", ", ".join(f"{name} {found[name]}" for name in PACKAGES))
    yield _cpu()
    yield governor(SYS)
    yield temperature(SYS)
    yield _time_source()
    yield Finding("cameras", ", ".join(_cameras(SYS)) or "none found")


def _cpu() -> Finding:
    try:
        require_cpu()
    except EdgeError as error:
        return Finding("cpu", str(error), Level.WRONG)
    return Finding("cpu", f"{cpu_tier()}, {os.cpu_count()} logical cores")


def governor(sys: Path) -> Finding:
    """Return how the CPU chooses its frequency; sys is /sys."""
    files = sorted(sys.glob("devices/system/cpu/cpu*/cpufreq/scaling_governor"))
    chosen = sorted({path.read_text(encoding="ascii").strip() for path in files})
    if not chosen:
        return Finding("governor", "this computer lets nobody choose one")
    slow = "" if chosen == ["performance"] else "the first part after a pause may be late: run provision.sh"
    return look_if("governor", ", ".join(chosen), slow)


def temperature(sys: Path) -> Finding:
    """Return the highest temperature, and whether the CPU slowed itself down since the start; sys is /sys."""
    degrees = [value / 1000 for value in _numbers(sys.glob("class/thermal/thermal_zone*/temp"))]
    throttled = sum(_numbers(sys.glob("devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")))
    if not degrees and not throttled:
        return Finding("temperature", "no sensor")
    words = f"{max(degrees):.0f} °C" if degrees else "no sensor"
    if throttled:
        return look_if(
            "temperature", words, f"the CPU slowed itself down {throttled} times: clean or cool the computer"
        )
    return look_if("temperature", words, "cool the computer" if degrees and max(degrees) >= HOT_C else "")


def _numbers(paths: Iterator[Path]) -> Iterator[int]:
    for path in paths:
        try:
            yield int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # a sensor that is off
            continue


def _time_source() -> Finding:
    """Ask the kernel, which every program that sets the clock tells."""
    state = ctypes.CDLL(None).adjtimex(
        ctypes.create_string_buffer(512)
    )  # all zero: nothing is set, the state comes back
    doubt = "dates of rows may be wrong: run timedatectl set-ntp true, or provision.sh --ntp SERVER"
    synchronised = state != UNSYNCHRONISED
    return look_if("time", "synchronised" if synchronised else "not synchronised", "" if synchronised else doubt)


def _cameras(sys: Path) -> Iterator[str]:
    for entry in sorted(sys.glob("class/video4linux/video*")):
        readable = "" if os.access(f"/dev/{entry.name}", os.R_OK | os.W_OK) else ", no access: join the group video"
        yield f"/dev/{entry.name} ({(entry / 'name').read_text(encoding='utf-8').strip()}{readable})"
