"""Times as people read them: those of the station, with the zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from edge.core.catalogue import Catalogue

YEARS_BACK, YEARS_AHEAD = 10, 2  # in which the browser knows how far the station's clocks are from UTC
DAY = timedelta(days=1)
STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z|\+00:00)")

Change = tuple[int, int, str]


def zone_of(name: str) -> tzinfo | None:
    """Return a zone by its name; None for that of the computer, which an empty name means."""
    return ZoneInfo(name) if name else None


def date_text(words: Catalogue, at: datetime) -> str:
    """Write the date of a local time."""
    return at.strftime(words.text("%Y-%m-%d"))


def day_text(words: Catalogue, at: datetime) -> str:
    """Write weekday and date of a local time."""
    return f"{_weekday(words, at)} {date_text(words, at)}"


def clock_text(at: datetime, seconds: bool = True) -> str:
    """Write the time of day of a local time with its zone."""
    return f"{at:%H:%M:%S} {at.tzname()}" if seconds else f"{at:%H:%M} {at.tzname()}"


def span_text(words: Catalogue, first: datetime, last: datetime, with_date: bool = True) -> str:
    """Write a span from one local time to another, with the zone, and both zones where clocks change between."""
    zone = "" if first.tzname() == last.tzname() else f" {first.tzname()}"
    day = "" if last.date() == first.date() else f"{_weekday(words, last)} "
    start, end = f"{first:%H:%M}{zone}", f"{day}{last:%H:%M} {last.tzname()}"
    hours = words.text("{start} to {end}").format(start=start, end=end)
    return f"{day_text(words, first)} {hours}" if with_date else hours


def with_local_times(words: Catalogue, text: str, zone: tzinfo | None) -> str:
    """Return a text in which each time in UTC stands as one of the station."""

    def local(stamp: re.Match[str]) -> str:
        try:
            at = datetime.fromisoformat(stamp[0].replace(" UTC", "Z").replace(" ", "T")).astimezone(zone)
        except (ValueError, OverflowError):
            return stamp[0]
        return f"{date_text(words, at)} {clock_text(at, seconds=stamp[1] is not None)}"

    return STAMP.sub(local, text)


def zone_changes(zone: tzinfo | None) -> list[Change]:
    """Return when the station's clocks changed or will: ms since 1970, minutes ahead of UTC, name of the zone."""
    return list(_changes(zone, datetime.now(UTC).date().toordinal()))


@lru_cache(8)
def _changes(zone: tzinfo | None, today: int) -> tuple[Change, ...]:
    start = datetime.fromordinal(today).replace(tzinfo=UTC)
    at, end = start - 365 * YEARS_BACK * DAY, start + 365 * YEARS_AHEAD * DAY
    found = [(at, _state(at, zone))]
    while at < end:
        following = at + DAY
        if _state(following, zone) != found[-1][1]:
            low, high = at, following
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if _state(middle, zone) == found[-1][1] else (low, middle)
            found.append((high.replace(second=0, microsecond=0), _state(following, zone)))
        at = following
    return tuple((int(at.timestamp() * 1000), minutes, name) for at, (minutes, name) in found)


def _state(at: datetime, zone: tzinfo | None) -> tuple[int, str]:
    local = at.astimezone(zone)
    offset = local.utcoffset() or timedelta()
    return round(offset.total_seconds() / 60), local.tzname() or ""


def _weekday(words: Catalogue, at: datetime) -> str:
    return words.text(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.weekday()])
