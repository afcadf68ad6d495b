"""A test whether the parts that pass still score like the good parts that the threshold was set on, and its watch.

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
import logging
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.core.files import write_atomically
from edge.core.types import Inspection, Verdict
from edge.exchange.health import Drift
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle

FALSE_ALARM = 0.001  # chance of an alarm in one round of parts that have not drifted, at most
ROUND = 5000  # parts after which the stake is 1 again, so that a long good time does not dull the test
MIN_HOLDOUT = 20  # with fewer held-out good parts a shift would be learned as normal before it is noticed
BETS = (-1.8, -0.9, 0.0, 0.9, 1.8)  # slopes of the bet on p: below 0 bets on high scores, above 0 on low ones
JUMP = 0.001  # share of the stake that is spread anew with each part, so that no bet dies out

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Alarm:
    """The scores are no longer those of the held-out good parts."""

    since: datetime  # of the part after which the evidence began to grow
    since_id: int
    noticed_id: int  # of the part that made it enough
    higher: bool  # whether the scores rose; they fell otherwise


class DriftTest:
    """One round of the test. Pure: the same parts in the same order always give the same answer."""

    def __init__(self, holdout: Iterable[float], threshold: float, seed: str) -> None:
        """holdout: scores of the held-out good parts; seed: of the tie-breaking, e.g. the bundle's digest."""
        self._holdout = sorted(score for score in holdout if score < threshold)
        self._seed = seed
        self.start_round()

    @property
    def possible(self) -> bool:
        """True when there are enough held-out good parts."""
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
        """Return the share of higher scores among those seen; part and seed decide how much an equal one counts."""
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
        """Return True when the bets on high scores won."""
        return sum(slope * share for slope, share in zip(BETS, self._shares, strict=True)) < 0.0


class _Stored(BaseModel):
    """The state that a restart needs; the parts of the round itself are in the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    history: str  # the event log's name
    after_id: int  # the round counts the parts after this one
    alarm: Alarm | None = None
    threshold: float | None = None  # that somebody set, by which the parts of the round were judged


class DriftWatch:
    """Counts OK parts of one bundle; an alarm stays until another bundle judges or its file is removed."""

    def __init__(self, bundle: Bundle, events: EventLog, folder: Path) -> None:
        """Go on where drift-DIGEST.json in folder says; raises HistoryError, and OSError."""
        manifest = bundle.manifest
        self.digest = bundle.digest
        self._events = events
        self._folder = folder
        self._holdout = manifest.holdout_scores
        self._alpha = manifest.threshold.alpha
        self._goods = len(manifest.holdout_scores)
        self._path = folder / f"drift-{bundle.digest[:12]}.json"
        self._written: _Stored | None = None
        head = events.head()
        self._state = self._load() or _Stored(history=head.history, after_id=head.last_id)
        if self._state.history != head.history or self._state.after_id > head.last_id:
            self._state = _Stored(history=head.history, after_id=head.last_id)
        self._threshold = self._state.threshold or manifest.threshold.value
        self._test = DriftTest(self._holdout, self._threshold, self.digest)
        if self._test.possible and self._state.alarm is None:
            for part_id, at, score in events.ok_scores(self._state.after_id, bundle.digest):
                if self._state.alarm is None:
                    self._note(part_id, self._test.add(part_id, at, score))

    def add(self, inspection: Inspection) -> None:
        """Count a stored part; raises OSError when the state cannot be kept, and tries again with the next one."""
        if inspection.threshold not in (None, self._threshold):
            self._follow(inspection)
        if not self._test.possible:
            return
        if self._state.alarm is None and inspection.verdict is Verdict.OK and inspection.score is not None:
            self._note(inspection.id, self._test.add(inspection.id, inspection.at, inspection.score))
        if self._written != self._state:
            write_atomically(self._path, self._state.model_dump_json().encode())
            self._written = self._state

    def _follow(self, inspection: Inspection) -> None:
        """Begin a round with the parts that another threshold lets pass: the held-out ones are those below it, too."""
        self._threshold = inspection.threshold or self._threshold
        self._test = DriftTest(self._holdout, self._threshold, self.digest)
        changes = {"after_id": inspection.id - 1, "threshold": self._threshold}
        self._state = self._state.model_copy(update=changes)

    def of(self, bundle: Bundle) -> DriftWatch:
        """Return this watch, or the one of another bundle; raises HistoryError, and OSError."""
        return self if bundle.digest == self.digest else DriftWatch(bundle, self._events, self._folder)

    def report(self) -> Drift:
        """Return the drift test's entry in health.json."""
        alarm = self._state.alarm
        if alarm is not None:
            return Drift(alarm=True, since=alarm.since, detail=self._words(alarm), parts=self._test.parts)
        if self._test.possible:
            return Drift(alarm=False, parts=self._test.parts)
        lacks = f"the bundle has {self._goods} held-out scores under its threshold, {MIN_HOLDOUT} are needed"
        return Drift(alarm=False, detail=f"drift is not watched: {lacks}; pack it again")

    def _load(self) -> _Stored | None:
        try:
            return _Stored.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _note(self, part_id: int, alarm: Alarm | None) -> None:
        if alarm is not None:
            self._state = self._state.model_copy(update={"alarm": alarm})
            log.warning("drift: %s", self._words(alarm))
        elif self._test.parts >= ROUND:
            self._test.start_round()
            self._state = self._state.model_copy(update={"after_id": part_id})

    def _words(self, alarm: Alarm) -> str:
        return (
            f"since part {alarm.since_id} OK parts score {'higher' if alarm.higher else 'lower'} than the held-out "
            f"good ones: at most {self._alpha:.1%} good parts rejected is no longer promised "
            f"(chance of a false alarm {FALSE_ALARM:.1%} in {ROUND} parts)"
        )
