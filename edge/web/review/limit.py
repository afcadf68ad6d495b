"""What another limit would have done to the parts that people answered, and what follows from the random sample.

Bounds are Clopper and Pearson's (1934): exact for any number of parts. The bound for one limit holds for a limit that
was fixed before anybody looked. The bound for any limit divides the risk among all limits that the sample tells apart
(Bonferroni), so it holds for a limit that was chosen by looking at these very parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.history.reading.scores import Scores
from edge.history.reviews import Opinion
from edge.web.station import Station

RISK = 0.05  # of a bound that does not hold
MOST_POINTS = 40  # of the curve


@dataclass(frozen=True, slots=True)
class Judged:
    """A part that somebody answered, with its score."""

    part: int
    score: float
    opinion: Opinion
    sampled: bool  # it was drawn by chance


def judged_parts(station: Station, bundle: str) -> list[Judged]:
    """Return the answered parts that one bundle scored, the last answers last; raises HistoryError.

    An answer whose row is another one by now is left out.
    """
    with station.reviews() as store:
        reviews = store.standing() if store else []
    if not reviews:
        return []
    with closing(Scores(station.config.events_db)) as scores:
        rows = scores.of(review.part for review in reviews)
    return [
        Judged(review.part, rows[review.part][1].score, review.opinion, review.sampled)
        for review in reviews
        if review.part in rows and rows[review.part][0] == review.row_hash and rows[review.part][1].bundle == bundle
    ]


def effect(parts: Sequence[Judged], now: float, limit: float) -> dict[str, Any]:
    """Return what happens to the answered parts with a limit in place of that of now, as JSON types."""
    goods = [part.score for part in parts if part.opinion is Opinion.GOOD]
    bads = [part.score for part in parts if part.opinion is Opinion.BAD]
    return {
        "goods": len(goods),
        "goods_rejected": sum(score >= limit for score in goods),
        "goods_rejected_now": sum(score >= now for score in goods),
        "bads": len(bads),
        "bads_passed": sum(score < limit for score in bads),
        "bads_passed_now": sum(score < now for score in bads),
        "changed": [part.part for part in parts if (part.score >= limit) != (part.score >= now)],
    }


def guarantee(parts: Sequence[Judged], limit: float) -> dict[str, Any]:
    """Return what follows from the random sample for all parts of this bundle, as JSON types.

    Where a person was not sure, the worse of both answers is counted.
    """
    sample = [part for part in parts if part.sampled]
    rejected = [part for part in sample if part.score >= limit]
    passed = [part for part in sample if part.score < limit]
    overkill = sum(part.opinion is not Opinion.BAD for part in rejected)
    escapes = sum(part.opinion is not Opinion.GOOD for part in passed)
    goods = overkill + sum(part.opinion is Opinion.GOOD for part in passed)
    return {
        "sample": len(sample),
        "unsure": sum(part.opinion is Opinion.UNSURE for part in sample),
        "risk": RISK,
        "goods": goods,
        "goods_rejected": overkill,
        "goods_rejected_at_most": upper_bound(overkill, goods, RISK),
        "goods_rejected_at_most_any": upper_bound(overkill, goods, RISK / (goods + 1)),
        "passed": len(passed),
        "passed_bad": escapes,
        "passed_bad_at_most": upper_bound(escapes, len(passed), RISK),
        "passed_bad_at_most_any": upper_bound(escapes, len(passed), RISK / (len(sample) + 1)),
    }


def curve(parts: Sequence[Judged]) -> dict[str, Any]:
    """Return the ROC curve of some parts with the intervals of each point, as JSON types; `auroc` is None without both.

    The intervals of a point hold for this point; both sides together miss with RISK.
    """
    goods = np.array([part.score for part in parts if part.opinion is Opinion.GOOD])
    bads = np.array([part.score for part in parts if part.opinion is Opinion.BAD])
    found: dict[str, Any] = {"goods": len(goods), "bads": len(bads), "points": [], "auroc": None}
    if not len(goods) or not len(bads):
        return found
    limits = np.unique(np.concatenate([goods, bads]))
    if len(limits) > MOST_POINTS:
        limits = limits[np.linspace(0, len(limits) - 1, MOST_POINTS).round().astype(int)]
    for limit in limits:
        rejected, hit = int((goods >= limit).sum()), int((bads >= limit).sum())
        found["points"].append(
            {
                "limit": float(limit),
                "goods_rejected": _interval(rejected, len(goods)),
                "bads_found": _interval(hit, len(bads)),
            }
        )
    higher = (bads[:, None] > goods).mean() + 0.5 * (bads[:, None] == goods).mean()
    return found | {"auroc": float(higher), "auroc_interval": _auroc_interval(float(higher), len(goods), len(bads))}


def _auroc_interval(area: float, goods: int, bads: int) -> list[float]:
    """Return the interval of Hanley and McNeil (1982)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (bads - 1) * (one - area**2) + (goods - 1) * (two - area**2)
    reach = 1.96 * float(np.sqrt(max(0.0, variance) / (goods * bads)))
    return [max(0.0, area - reach), min(1.0, area + reach)]


def _interval(found: int, among: int) -> dict[str, float]:
    low = 1.0 - upper_bound(among - found, among, RISK / 2)
    return {"share": found / among, "low": low, "high": upper_bound(found, among, RISK / 2)}


def upper_bound(found: int, among: int, risk: float) -> float:
    """Return the share that lies above the true one but for the risk (Clopper and Pearson 1934, one side).

    It is the share with which `found` or fewer among `among` come with a chance of exactly `risk`.
    """
    if found >= among:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, among + 1)))])
    counts = np.arange(found + 1)
    ways = logs[among] - logs[counts] - logs[among - counts]
    low, high = found / among, 1.0 - 1e-12
    for _ in range(50):
        middle = (low + high) / 2
        terms = (
            ways + counts * np.log(middle) + (among - counts) * np.log1p(-middle)
            if middle < 1.0
            else np.array([-np.inf])
        )
        low, high = (middle, high) if float(np.exp(terms).sum()) > risk else (low, middle)
    return high
