"""Do the parts that pass still score like the good parts that the threshold was set on? Pure: no clock, no file.

A conformal test martingale (Vovk, Nouretdinov, Gammerman 2003; the betting is the Simple Jumper of Vovk et al.
2021, "Retrain or not retrain"). Each part's rank among the held-out good parts and the parts before it gives a
p-value. While all come from one distribution, whatever it is, these are independent and uniform, and whoever bets
against that keeps no more than his stake on average. Ville's inequality: the chance that the stake of 1 ever
grows to 1 / FALSE_ALARM is at most FALSE_ALARM. Only scores below the threshold are compared, on both sides: a part
above it is NG, and says nothing of the good ones. This stays exact where the threshold is itself one of the held-out
scores (method conformal), and nearly so where it lies above them. The parts must be different ones: the same part
inspected twice is no new evidence.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

FALSE_ALARM = 0.001  # chance of an alarm in one round of parts that have not drifted, at most
ROUND = 5000  # parts after which the stake is 1 again, so that a long good time does not dull the test
MIN_HOLDOUT = 20  # with fewer held-out good parts a shift would be learned as normal before it is noticed
BETS = (-1.8, -0.9, 0.0, 0.9, 1.8)  # slopes of the bet on p: below 0 bets on high scores, above 0 on low ones
JUMP = 0.001  # share of the stake that is spread anew with each part, so that no bet dies out


@dataclass(frozen=True, slots=True)
class Alarm:
    """The scores are no longer those of the held-out good parts."""

    since: datetime  # of the part after which the evidence began to grow
    since_id: int
    noticed_id: int  # of the part that made it enough
    higher: bool  # whether the scores rose; they fell otherwise


class DriftTest:
    """One round of the test. The same parts in the same order always give the same answer."""

    def __init__(self, holdout: Iterable[float], threshold: float, seed: str) -> None:
        """holdout: scores of the held-out good parts; seed: of the tie-breaking, e.g. the bundle's digest."""
        self._holdout = sorted(score for score in holdout if score < threshold)
        self._seed = seed
        self.start_round()

    @property
    def possible(self) -> bool:
        """Whether there are enough held-out good parts."""
        return len(self._holdout) >= MIN_HOLDOUT

    def start_round(self) -> None:
        """Forget the parts, keep the held-out ones."""
        self.parts = 0
        self._seen = list(self._holdout)
        self._shares = [1.0 / len(BETS)] * len(BETS)
        self._log_stake = 0.0
        self._lowest = 0.0  # the stake's lowest point since the round began: there the evidence begins
        self._since: tuple[int, datetime] | None = None  # the first part after it

    def add(self, part_id: int, at: datetime, score: float) -> Alarm | None:
        """Count one part that passed; an Alarm when the evidence is enough."""
        self._bet(self._p_value(part_id, score))
        insort(self._seen, score)
        self.parts += 1
        if self._since is None:
            self._since = (part_id, at)
        if self._log_stake >= -math.log(FALSE_ALARM):
            since_id, since = self._since
            return Alarm(since, since_id, part_id, self._betting_on_high())
        if self._log_stake <= self._lowest:
            self._lowest, self._since = self._log_stake, None
        return None

    def _p_value(self, part_id: int, score: float) -> float:
        """Share of the scores seen that are higher; equal ones count by a fraction that part and seed decide."""
        higher = len(self._seen) - bisect_right(self._seen, score)
        equal = len(self._seen) - bisect_left(self._seen, score) - higher + 1
        digits = hashlib.sha256(f"{self._seed} {part_id}".encode()).digest()[:8]
        return (higher + equal * int.from_bytes(digits) / 2.0**64) / (len(self._seen) + 1)

    def _bet(self, p: float) -> None:
        """Spread a little of the stake, then let each share grow or shrink; 1 + slope (p - 1/2) averages to 1."""
        grown = [
            ((1.0 - JUMP) * share + JUMP / len(BETS)) * (1.0 + slope * (p - 0.5))
            for share, slope in zip(self._shares, BETS, strict=True)
        ]
        total = sum(grown)
        self._shares = [share / total for share in grown]
        self._log_stake += math.log(total)

    def _betting_on_high(self) -> bool:
        """Which side won."""
        return sum(slope * share for slope, share in zip(BETS, self._shares, strict=True)) < 0.0
