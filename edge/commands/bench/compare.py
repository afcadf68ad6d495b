"""Is this benchmark slower than an older one, beyond the noise? Reads both reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.commands.bench.noise import CONFIDENCE, Ratio, ratio
from edge.commands.bench.report import Section, name
from edge.core.types import EdgeError

MARGIN = 0.03  # what two runs may differ by without anybody's doing; resampling one run cannot see it
SERIES = ("bare_ms", "infer_ms", "total_ms")
SAME = ("cpu.model", "cpu.tier", "cpu.logical_cores", "frame", "bundle.input")


class CompareError(EdgeError):
    """A report that cannot be compared with."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both reports."""

    what: str
    before: float
    after: float
    ratio: Ratio

    @property
    def slower(self) -> bool:
        return self.ratio.low > 1 + MARGIN


def read_report(path: Path) -> dict[str, Any]:
    """A report that `edge bench` wrote; raises CompareError."""
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise CompareError(f"{path}: cannot be read ({error.strerror}); give the JSON file of `edge bench`") from error
    except ValueError:
        raise CompareError(f"{path}: is not JSON; give the JSON file of `edge bench`") from None
    results = report.get("results") if isinstance(report, dict) else None
    if not results or not all(isinstance(one, dict) and "blocks" in one for one in results):
        raise CompareError(f"{path}: holds no blocks of latencies; measure it again with this version")
    return dict(report)


def check_comparable(old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise CompareError when another CPU, input or frame size would be compared."""
    for fact in SAME:
        before, after = _fact(old, fact), _fact(now, fact)
        if before != after:
            raise CompareError(f"the older report has {fact} {before}, here it is {after}; that cannot be compared")


def _fact(report: Mapping[str, Any], path: str) -> object:
    found: Any = report
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def changes(old: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Every series that both reports have."""
    older = {name(result): result for result in old["results"]}
    for result in now["results"]:
        before = older.get(name(result))
        if before is None:
            continue
        for series in SERIES:
            then, new = before["blocks"][series], result["blocks"][series]
            found = ratio(new, then)
            p50 = [
                (one["bare_ms"] if series == "bare_ms" else one["stages"][series])["p50"] for one in (before, result)
            ]
            yield Change(f"{name(result)} {series.removesuffix('_ms')}", p50[0], p50[1], found)


def comparison(old: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Section, list[str]]:
    """The table of changes, and what became slower beyond the noise."""
    found = list(changes(old, now))
    rows = [
        (
            one.what,
            f"{one.before:.2f}",
            f"{one.after:.2f}",
            f"{one.ratio.value:.3f}",
            f"{one.ratio.low:.3f} to {one.ratio.high:.3f}",
            "SLOWER" if one.slower else "faster" if one.ratio.high < 1 - MARGIN else "",
        )
        for one in found
    ]
    note = (
        f"Noise: blocks of parts resampled, {CONFIDENCE:.0%} interval of the ratio of their medians; slower or faster "
        f"is what lies beyond 1 ± {MARGIN:g} with all of its interval. "
        f"Before: {old['measured_at']}, {old['bundle']['title']}."
    )
    header = ("p50, ms", "before", "now", "ratio", "interval", "")
    return Section("Compared", header, rows, note), [one.what for one in found if one.slower]
