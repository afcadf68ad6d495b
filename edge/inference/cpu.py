"""What this CPU can do for INT8: the tier that stands beside every latency figure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge.core.types import EdgeError

CPUINFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
BUSY = 0.3  # load average per core from which latencies are not to be trusted
ISA_CAP = "ONEDNN_MAX_CPU_ISA"  # oneDNN's own variable: read to report what OpenVINO does, never to configure it

_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
# Best first. AVX-512 without VNNI counts as AVX2: both multiply u8 by s8 with the saturating vpmaddubsw.
_X86_TIERS: tuple[tuple[str, set[str]], ...] = (
    ("AMX", {"amx_tile", "amx_int8", *_AVX512}),
    ("AVX512_VNNI", {"avx512_vnni", *_AVX512}),
    ("AVX2_VNNI", {"avx_vnni", "avx2"}),
    ("AVX2", {"avx2"}),
)
TIERS = tuple(name for name, _ in _X86_TIERS)
TIER_CAPS = {"AVX512_VNNI": "AVX512_CORE_VNNI", "AVX2_VNNI": "AVX2_VNNI", "AVX2": "AVX2"}
# The highest tier each of oneDNN's values leaves; a value that is not here caps nothing (DEFAULT, or unknown to it).
_CAPPED_AT = {
    "AVX512_CORE_FP16": "AVX512_VNNI",
    "AVX10_1_512": "AVX512_VNNI",
    "AVX512_CORE_BF16": "AVX512_VNNI",
    "AVX512_CORE_VNNI": "AVX512_VNNI",
    "AVX512_CORE": "AVX2",
    "AVX2_VNNI_2": "AVX2_VNNI",
    "AVX2_VNNI": "AVX2_VNNI",
    "AVX2": "AVX2",
    "AVX": "lower",
    "SSE41": "lower",
}
_REPORTED = (
    *sorted(set().union(*(needed for _, needed in _X86_TIERS))),
    "asimd",
    "asimddp",
    "i8mm",
)


class CpuError(EdgeError):
    """The CPU cannot be identified."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor, as far as INT8 speed depends on it."""

    model: str
    tiers: tuple[str, ...]  # every tier it can run, best first
    features: tuple[str, ...]  # those that matter here, by the kernel's names
    logical_cores: int  # those this process may use
    governor: str | None  # None where the kernel does not say, as in most virtual machines
    cap: str | None  # value of ONEDNN_MAX_CPU_ISA, when it takes a tier away

    @property
    def native_tier(self) -> str:
        return self.tiers[0]

    @property
    def tier(self) -> str:
        """The tier that OpenVINO uses, e.g. "AMX" or "AVX2_VNNI (capped)"."""
        if self.cap is None:
            return self.native_tier
        return f"{next(tier for tier in self.tiers if _rank(tier) >= _rank(_CAPPED_AT[self.cap]))} (capped)"


def cpu_tier() -> str:
    """Tier of this CPU: AMX, AVX512_VNNI, AVX2_VNNI, AVX2, lower, "ARM64 dotprod" or ARM64, with " (capped)" if so."""
    return read_cpu().tier


def require_cpu(cpuinfo: Path = CPUINFO) -> None:
    """Raise CpuError when this CPU has no instructions for INT8: it would judge far too slowly, and was never tried."""
    cpu = read_cpu(cpuinfo)
    if cpu.native_tier in ("lower", "ARM64"):
        raise CpuError(
            f"this CPU ({cpu.model}) has neither AVX2 nor ARM64 dotprod, without which INT8 is slow and was never "
            "tried; use a CPU that has one of them"
        )


def read_cpu(cpuinfo: Path = CPUINFO, governor: Path = GOVERNOR, cap: str | None = None) -> Cpu:
    """Identify the CPU from the kernel's list; cap None asks the environment. Raises CpuError."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CpuError(f"{cpuinfo}: cannot be read ({error.strerror}); Linewatch runs on Linux") from error
    facts = _first_values(text)
    flags = set(facts.get("flags", facts.get("features", "")).split())
    tiers = _tiers(flags)
    value = (os.environ.get(ISA_CAP, "") if cap is None else cap).upper()
    capped = tiers[0] in TIERS and value in _CAPPED_AT and _rank(_CAPPED_AT[value]) > _rank(tiers[0])
    return Cpu(
        model=facts.get("model name") or facts.get("model") or "unknown",
        tiers=tiers,
        features=tuple(name for name in _REPORTED if name in flags),
        logical_cores=len(os.sched_getaffinity(0)),
        governor=_governor(governor),
        cap=value if capped else None,
    )


def busy() -> str | None:
    """One line when other work will be in the figures, else None."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return f"the machine is busy (load {load:.2f}); expect figures too high" if load > BUSY * cores else None


def _first_values(text: str) -> dict[str, str]:
    """The first value of every key: cores of one machine differ in what does not matter here."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip().lower(), value.strip())
    return facts


def _tiers(flags: set[str]) -> tuple[str, ...]:
    if "asimd" in flags:
        return ("ARM64 dotprod", "ARM64") if "asimddp" in flags else ("ARM64",)
    return (*(name for name, needed in _X86_TIERS if needed <= flags), "lower")


def _rank(tier: str) -> int:
    return TIERS.index(tier) if tier in TIERS else len(TIERS)


def _governor(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
