"""Shifts as spans of time: the plan of [shift] is in local time, and a night may have 23 or 25 hours."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from edge.config.shift import ShiftConfig

AROUND = 2  # days: no time zone ever moved its clocks by more
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shift:
    """One shift: from start to before end, both UTC."""

    name: str
    start: datetime
    end: datetime


class Calendar:
    """The shifts of a station. They follow each other without a gap."""

    def __init__(self, config: ShiftConfig) -> None:
        self._starts = config.starts
        self._zone: tzinfo | None = ZoneInfo(config.zone) if config.zone else None  # None: that of the computer

    def local(self, at: datetime) -> datetime:
        """Return a moment in the zone of the shifts."""
        return at.astimezone(self._zone)

    def shift_at(self, at: datetime) -> Shift:
        """Return the shift that a moment belongs to."""
        today = self.local(at).date()
        starts = sorted(self._starts_around(today).items())
        index = bisect_right([start for start, _ in starts], at) - 1
        start, name = starts[index]
        return Shift(name, start, starts[index + 1][0])

    def before(self, shift: Shift) -> Shift:
        """Return the shift that ends where this one begins."""
        return self.shift_at(shift.start - timedelta(microseconds=1))

    def bars(self, start: datetime, end: datetime, whole_days: bool) -> list[datetime]:
        """Return the beginnings of the local hours, or days, that a span touches; the first one is the span's own."""
        found = [start]
        while (following := self._days_end(found[-1]) if whole_days else self._hours_end(found[-1])) < end:
            found.append(following)
        return found

    def _hours_end(self, at: datetime) -> datetime:
        """Return the next moment at which local clocks show a whole hour."""
        local = self.local(at)
        return at + HOUR - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)

    def _days_end(self, at: datetime) -> datetime:
        """Return the next local midnight."""
        following = self._moment(self.local(at).date() + DAY, timedelta())
        return following if following > at else at + DAY

    def _starts_around(self, day: date) -> dict[datetime, str]:
        """Return the shift that begins at each moment of some days; of two that a change of clocks lays on one, one."""
        return {
            self._moment(day + offset * DAY, timedelta(hours=at.hour, minutes=at.minute)): name
            for offset in range(-AROUND, AROUND + 1)
            for name, at in self._starts.items()
        }

    def _moment(self, day: date, since_midnight: timedelta) -> datetime:
        """Return the moment of a local time; one that is skipped when clocks go forward falls as much later."""
        naive = datetime(day.year, day.month, day.day) + since_midnight  # noqa: DTZ001  # the zone comes next
        return naive.replace(tzinfo=self._zone).astimezone(UTC)
