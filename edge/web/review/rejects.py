"""The last rejected parts, and how many of them nobody has looked at."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from edge.core.types import Inspection, Verdict
from edge.history.reading.scores import Scores
from edge.history.reviews import Seen
from edge.web.station import Station
from edge.web.wording.verdicts import inspection_words

SHOWN = 6
MOST_COUNTED = 1000


def rejects_facts(station: Station) -> dict[str, Any]:
    """Return the last rejected parts as JSON types, and how many were not looked at; raises HistoryError.

    `held` is the newest one that nobody has looked at. The count ends at MOST_COUNTED.
    """
    with station.history() as log:
        rows = [*log.recent(SHOWN, None, Verdict.NG), *log.recent(SHOWN, None, Verdict.ERROR)] if log else []
    with station.reviews() as store:
        seen = store.seen() if store else Seen()
    last = sorted(rows, key=lambda row: row.id, reverse=True)[:SHOWN]
    waiting = not_seen(station, seen) if rows else []
    return {
        "unseen": len(waiting),
        "more": len(waiting) >= MOST_COUNTED,
        "held": waiting[0] if waiting else None,
        "last": [_facts(row, station, row.id in seen) for row in last],
    }


def not_seen(station: Station, seen: Seen) -> list[int]:
    """Return the newest rejects that nobody has looked at, newest first, MOST_COUNTED at most; raises HistoryError."""
    with closing(Scores(station.config.events_db)) as scores:
        found = scores.rejected_after(seen.up_to, MOST_COUNTED + len(seen.parts))
    return [part for part in found if part not in seen][:MOST_COUNTED]


def _facts(row: Inspection, station: Station, looked_at: bool) -> dict[str, Any]:
    words = inspection_words(row).facts()
    return {
        "id": row.id,
        "at": row.at.isoformat(timespec="milliseconds"),
        "words": words,
        "distance": row.distance,
        "pictures": station.picture_addresses(row.id),
        "seen": looked_at,
    }
