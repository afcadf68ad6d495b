"""Compares a benchmark with an older one: slower beyond the noise? Medians of blocks are resampled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.commands import CommandError
from edge.commands.bench.report import name
from edge.commands.evidence import Table

MARGIN = 0.03  # what two runs may differ by without anybody's doing; resampling one run cannot see it
RESAMPLES = 2000
CONFIDENCE = 0.95
SERIES = ("bare_ms", "infer_ms", "total_ms")
SAME = ("cpu.model", "cpu.tier", "cpu.logical_cores", "frame", "bundle.input")


@dataclass(frozen=True, slots=True)
class Ratio:
    """A latency as a multiple of an older one: the estimate, and its interval with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both reports, and their ratio."""

    what: str
    before: float
    after: float
    ratio: Ratio

    @property
    def slower(self) -> bool:
        return self.ratio.low > 1 + MARGIN


def block_medians(values: Sequence[float], block: int) -> list[float]:
    """Return the median of each so many values in a row; the values that are left over join the last block."""
    starts = range(0, max(len(values) - block + 1, 1), block)
    ends = [*starts[1:], len(values)]
    return [float(np.median(values[start:end])) for start, end in zip(starts, ends, strict=True)]


def ratio(new: Sequence[float], old: Sequence[float], seed: int = 0) -> Ratio:
    """Return the median of new over the median of old, both medians of blocks, with its percentile bootstrap interval.

    Neighbouring parts are alike (clock, caches, what else runs), so whole blocks are drawn, not parts (Künsch, "The
    jackknife and the bootstrap for general stationary observations", 1989). The interval covers the noise within
    the runs, not a difference between the two runs.
    """
    rng = np.random.default_rng(seed)

    def drawn(blocks: Sequence[float]) -> NDArray[np.float64]:
        samples = rng.choice(np.asarray(blocks, np.float64), (RESAMPLES, len(blocks)))
        return np.asarray(np.median(samples, axis=1), np.float64)

    low, high = np.quantile(drawn(new) / drawn(old), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(float(np.median(new) / np.median(old)), float(low), float(high))


def read_report(path: Path) -> dict[str, Any]:
    """Read a report that `edge bench` wrote; raises CommandError."""
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror}); give the JSON file of `edge bench`") from error
    except ValueError:
        raise CommandError(f"{path}: is not JSON; give the JSON file of `edge bench`") from None
    results = report.get("results") if isinstance(report, dict) else None
    if not results or not all(isinstance(one, dict) and "blocks" in one for one in results):
        raise CommandError(f"{path}: holds no blocks of latencies; measure it again with this version")
    return dict(report)


def check_comparable(old: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise CommandError when another CPU, input or frame size would be compared."""
    for fact in SAME:
        before, after = _fact(old, fact), _fact(now, fact)
        if before != after:
            raise CommandError(f"the older report has {fact} {before}, here it is {after}; that cannot be compared")


def _fact(report: Mapping[str, Any], path: str) -> object:
    found: Any = report
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def changes(old: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Compare every series that both reports have."""
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


def comparison(old: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Table, list[str]]:
    """Return the table of changes, and the names of the figures that became slower beyond the noise."""
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
    return Table("Compared", header, rows, note), [one.what for one in found if one.slower]
