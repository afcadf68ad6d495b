"""The drift test of the bundle that judges: goes on after a restart, and says what it found."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.core.files import write_atomically
from edge.core.types import Inspection, Verdict
from edge.engine.drift import FALSE_ALARM, MIN_HOLDOUT, ROUND, Alarm, DriftTest
from edge.exchange.health import Drift
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle

log = logging.getLogger(__name__)


class Stored(BaseModel):
    """What a restart needs; the parts of the round itself are in the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    history: str  # the event log's name
    after_id: int  # the round counts the parts after this one
    alarm: Alarm | None = None


class DriftWatch:
    """Counts OK parts of one bundle; an alarm stays until another bundle judges or its file is removed."""

    def __init__(self, bundle: Bundle, events: EventLog, folder: Path) -> None:
        """Go on where drift-DIGEST.json in folder says; raises HistoryError, and OSError."""
        manifest = bundle.manifest
        self._test = DriftTest(manifest.holdout_scores, manifest.threshold.value, bundle.digest)
        self._alpha = manifest.threshold.alpha
        self._goods = len(manifest.holdout_scores)
        self._path = folder / f"drift-{bundle.digest[:12]}.json"
        self._written: Stored | None = None
        head = events.head()
        self._state = self._load() or Stored(history=head.history, after_id=head.last_id)
        if self._state.history != head.history or self._state.after_id > head.last_id:
            self._state = Stored(history=head.history, after_id=head.last_id)
        if self._test.possible and self._state.alarm is None:
            for part_id, at, score in events.ok_scores(self._state.after_id, bundle.digest):
                if self._state.alarm is None:
                    self._note(part_id, self._test.add(part_id, at, score))

    def add(self, inspection: Inspection) -> None:
        """Count a stored part; raises OSError when the state cannot be kept, and tries again with the next one."""
        if not self._test.possible:
            return
        if self._state.alarm is None and inspection.verdict is Verdict.OK and inspection.score is not None:
            self._note(inspection.id, self._test.add(inspection.id, inspection.at, inspection.score))
        if self._written != self._state:
            write_atomically(self._path, self._state.model_dump_json().encode())
            self._written = self._state

    def report(self) -> Drift:
        """For health.json."""
        alarm = self._state.alarm
        if alarm is not None:
            return Drift(alarm=True, since=alarm.since, detail=self._words(alarm), parts=self._test.parts)
        if self._test.possible:
            return Drift(alarm=False, parts=self._test.parts)
        lacks = f"the bundle has {self._goods} held-out scores under its threshold, {MIN_HOLDOUT} are needed"
        return Drift(alarm=False, detail=f"drift is not watched: {lacks}; pack it again")

    def _load(self) -> Stored | None:
        try:
            return Stored.model_validate_json(self._path.read_bytes())
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
