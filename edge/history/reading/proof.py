"""The proof of a history in words: the console and the page say the same."""

from __future__ import annotations

from edge.history.eventlog import EventLog


def chain_proof(events: EventLog) -> str:
    """Follow the whole chain and say in one line what was found; raises HistoryError naming the first wrong row."""
    head = events.verify()
    lost = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in events.lost())
    missing = f"; the verdicts of the ids {lost} were lost with a part of the history" if lost else ""
    end = f"{head.last_id}:{head.last_hash}"
    return f"{head.counts.total} rows, none altered, missing or put in{missing}; the chain ends with {end}"
