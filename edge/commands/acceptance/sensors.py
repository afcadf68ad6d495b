"""What the kernel says of the CPU's heat, clock and power; on many machines, and most virtual ones, it says nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
HOT = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "x86_pkg_temp")


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment; None is what cannot be read."""

    temperature_c: float | None  # the hottest of the CPU's sensors
    frequency_mhz: float | None  # mean over cores
    throttled: int | None  # how often the CPU slowed itself down since it was switched on
    energy_j: float | None  # counter of all packages


class Sensors:
    """Finds once what there is to read."""

    def __init__(self, root: Path = SYS) -> None:
        cpus, zones = root / "devices/system/cpu", root / "class/thermal"
        named = [(path.parent / "name", path) for path in root.glob("class/hwmon/hwmon*/temp*_input")]
        named += [(path.parent / "type", path) for path in zones.glob("thermal_zone*/temp")]
        self._temperatures = [path for name, path in named if _text(name) in HOT and _number(path) is not None]
        self._clocks = _readable(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._throttles = _readable(cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        packages = [
            path
            for path in root.glob("class/powercap/*rapl:*/energy_uj")
            if _text(path.parent / "name")[:7] == "package"
        ]
        self._energy = _readable(packages)
        self._turns = {path: _number(path.with_name("max_energy_range_uj")) or 0 for path in self._energy}
        self._last = dict.fromkeys(self._energy, 0.0)
        self._counted_uj = 0.0
        self._begun = False

    def read(self) -> Reading:
        """Energy counts on from the first call, also over the counters' ends, when it is called often enough."""
        clocks, throttles = _numbers(self._clocks), _numbers(self._throttles)
        return Reading(
            max((value / 1e3 for value in _numbers(self._temperatures)), default=None),
            sum(clocks) / len(clocks) / 1e3 if clocks else None,
            int(sum(throttles)) if throttles else None,
            self._energy_j(),
        )

    def _energy_j(self) -> float | None:
        if not self._energy:
            return None
        for path in self._energy:
            now = _number(path) or 0.0
            if self._begun:
                gone = now - self._last[path]
                self._counted_uj += gone if gone >= 0 else gone + self._turns[path]
            self._last[path] = now
        self._begun = True
        return self._counted_uj / 1e6

    def unreadable(self) -> list[str]:
        """What this machine does not tell, in words."""
        there = {
            "temperature": self._temperatures,
            "clock frequency": self._clocks,
            "throttling": self._throttles,
            "power": self._energy,
        }
        return [name for name, paths in there.items() if not paths]


def _readable(paths: Iterable[Path]) -> list[Path]:
    return [path for path in sorted(paths) if _number(path) is not None]


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
