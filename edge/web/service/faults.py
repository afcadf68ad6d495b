"""What went wrong lately, and what to do: ERROR verdicts of the history, those of one cause together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from edge.core.types import Inspection, Verdict
from edge.web.station import Station
from edge.web.wording.verdicts import ERRORS

READ = 500  # ERROR rows
SHOWN = 12
TOGETHER = timedelta(minutes=10)  # parts of one cause that follow each other within this time are one fault

Facts = dict[str, Any]


def last_faults(station: Station) -> list[Facts]:
    """Return the last faults, the newest first, each with its remedy."""
    with station.history() as log:
        rows = log.recent(READ, verdict=Verdict.ERROR) if log else []
    groups: list[list[Inspection]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        if last is not None and row.reason is last.reason and abs(last.at - row.at) <= TOGETHER:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [_facts(group) for group in groups[:SHOWN]]


def _facts(group: list[Inspection]) -> Facts:
    newest, oldest = group[0], group[-1]
    words, remedy = ERRORS[newest.reason]
    return {
        "reason": newest.reason.value,
        "words": words,
        "remedy": remedy,
        "detail": newest.detail,
        "from": oldest.at.isoformat(timespec="seconds"),
        "to": newest.at.isoformat(timespec="seconds"),
        "parts": len(group),
        "last_part": newest.id,
    }
