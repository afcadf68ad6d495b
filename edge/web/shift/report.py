"""A shift in numbers: verdicts over time, the scores' course, how long parts took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import isqrt
from statistics import median
from typing import Any

import numpy as np

from edge.core.types import Verdict, finite
from edge.exchange.health import LATENCY_EDGES_S
from edge.history.eventlog import EventLog
from edge.history.rows import Point, Selection

BAR_WIDTHS_S = (60, 300, 3600, 6 * 3600, 24 * 3600)
MAX_BARS = 48
SLOTS = 96  # of the scores' course
MAX_POINTS = 500_000  # some seconds of work; a longer history is cut off and said to be
MOST_READ = 5000  # rows; of more a sample is read

Facts = dict[str, Any]


def shift_in_numbers(points: Iterable[Point], start: datetime, end: datetime) -> Facts:
    """Return the rows from start to before end in numbers; `complete` is false when there were more than MAX_POINTS."""
    found = list(islice(points, MAX_POINTS + 1))
    complete, found = len(found) <= MAX_POINTS, found[:MAX_POINTS]
    verdicts = Counter(point.verdict for point in found)
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "complete": complete,
        "total": len(found),
        "verdicts": {verdict.value: verdicts[verdict] for verdict in Verdict},
        "bars": _bars(found, start, end),
        "scores": _scores(found, start, end),
        "latency": _latency(found),
    }


def numbers_of(log: EventLog, chosen: Selection, wanted: Verdict | None, start: datetime, end: datetime) -> Facts:
    """Return the rows of a choice in numbers, in a time that hardly grows with them.

    Rows are counted exactly, by an index. Of more than MOST_READ a sample is read for scores and times: those whose
    ids a prime divides, so that no rhythm of a machine falls in step with it. `sampled` says of how many rows.
    """
    facts = shift_in_numbers((), start, end)
    bars, width = facts["bars"]["bars"], timedelta(seconds=facts["bars"]["seconds"])
    total = dict.fromkeys(Verdict, 0)
    for bar in bars:
        at = datetime.fromisoformat(bar["at"])
        for verdict, count in log.tally(Selection(max(start, at), min(end, at + width), chosen.reason), wanted).items():
            bar[verdict.value] = count
            total[verdict] += count
    stride = _prime_from(-(-sum(total.values()) // MOST_READ))
    points = sorted(log.points(chosen, wanted, stride), key=lambda point: point.at)
    facts = shift_in_numbers(points, start, end)
    if stride == 1:
        return facts | {"sampled": None}
    facts["bars"]["bars"] = bars
    counted = {verdict.value: count for verdict, count in total.items()}
    return facts | {"total": sum(total.values()), "verdicts": counted, "sampled": len(points)}


def _prime_from(number: int) -> int:
    """Return 1, or the first prime from this number on."""
    while any(number % divisor == 0 for divisor in range(2, isqrt(number) + 1)):
        number += 1
    return max(1, number)


def _bars(points: list[Point], start: datetime, end: datetime) -> Facts:
    """Count the verdicts of each hour (or of a width that suits the span), on round times of day."""
    span_s = (end - start).total_seconds()
    width = next((width for width in BAR_WIDTHS_S if span_s / width <= MAX_BARS), BAR_WIDTHS_S[-1])
    first, last = int(start.timestamp() // width), int(np.ceil(end.timestamp() / width))
    tallies = [Counter[Verdict]() for _ in range(last - first)]
    for point in points:
        tallies[int(point.at.timestamp() // width) - first][point.verdict] += 1
    bars = [
        {"at": datetime.fromtimestamp((first + index) * width, UTC).isoformat()}
        | {verdict.value: tally[verdict] for verdict in Verdict}
        for index, tally in enumerate(tallies)
    ]
    return {"seconds": width, "bars": bars}


def _scores(points: list[Point], start: datetime, end: datetime) -> list[Facts]:
    """Return median and highest score of each slot that has any, and the slot's last threshold."""
    slot = (end - start) / SLOTS
    scores: dict[int, list[float]] = {}
    distances: dict[int, list[float]] = {}
    thresholds: dict[int, float | None] = {}
    for point in points:
        distance = point.distance
        if distance is not None and point.score is not None:
            index = min(SLOTS - 1, int((point.at - start) / slot))
            scores.setdefault(index, []).append(point.score)
            distances.setdefault(index, []).append(distance)
            thresholds[index] = finite(point.threshold)
    return [
        {
            "at": (start + (index + 0.5) * slot).isoformat(timespec="seconds"),
            "median": median(found),
            "highest": max(found),
            "threshold": thresholds[index],
            "median_distance": median(distances[index]),
            "highest_distance": max(distances[index]),
            "parts": len(found),
        }
        for index, found in sorted(scores.items())
    ]


def _latency(points: list[Point]) -> Facts:
    """Count the parts between two edges of time; the last count is of the parts beyond the last edge."""
    edges_ms = [edge * 1e3 for edge in LATENCY_EDGES_S]
    counts = [0] * (len(edges_ms) + 1)
    for point in points:
        counts[bisect_left(edges_ms, point.total_ms)] += 1
    facts: Facts = {"edges_ms": edges_ms, "counts": counts}
    if points:
        p50, p99, highest = np.percentile([point.total_ms for point in points], (50, 99, 100))
        facts |= {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "max_ms": round(float(highest), 3)}
    return facts


def last_hours(hours: int) -> tuple[datetime, datetime]:
    """Return the span of the last hours up to now, on whole minutes."""
    end = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return end - timedelta(hours=hours), end
