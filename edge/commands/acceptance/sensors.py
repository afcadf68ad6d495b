"""Reads the CPU's heat from the kernel; many machines, and most virtual ones, tell nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
HOT = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "x86_pkg_temp")


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one moment; None stands for a value that cannot be read."""

    temperature_c: float | None  # the hottest of the CPU's sensors
    throttled: int | None  # how often the CPU slowed itself down since it was switched on


class Sensors:
    """The sensor files of this machine; they are looked for once."""

    def __init__(self, root: Path = SYS) -> None:
        zones = root / "class/thermal"
        named = [(path.parent / "name", path) for path in root.glob("class/hwmon/hwmon*/temp*_input")]
        named += [(path.parent / "type", path) for path in zones.glob("thermal_zone*/temp")]
        self._temperatures = [path for name, path in named if _text(name) in HOT and _number(path) is not None]
        counters = (root / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
        self._throttles = [path for path in sorted(counters) if _number(path) is not None]

    def read(self) -> Reading:
        """Read all sensors now."""
        throttles = _numbers(self._throttles)
        return Reading(
            max((value / 1e3 for value in _numbers(self._temperatures)), default=None),
            int(sum(throttles)) if throttles else None,
        )


def _numbers(paths: Iterable[Path]) -> list[float]:
    return [value for value in map(_number, paths) if value is not None]


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
