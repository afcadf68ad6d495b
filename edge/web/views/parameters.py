"""Query parameters: whole numbers in a range, words of a closed list, times with their zone."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from flask import abort, request
from pydantic import ValidationError

from edge.core.types import Reason, Verdict
from edge.history.rows import Selection

Word = TypeVar("Word", bound=StrEnum)
CHOICE = ("verdict", "reason", "from", "to")


def number(name: str, default: int, low: int, high: int) -> int:
    """Read a whole number from low to high; aborts with 400."""
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high):
        abort(400, f"{name}: must be a whole number from {low} to {high}, got {shown(text)}")
    return int(text)


def flag(name: str, default: bool) -> bool:
    """Read a parameter that is 0 or 1; aborts with 400."""
    text = request.args.get(name, "1" if default else "0")
    if text not in {"0", "1"}:
        abort(400, f"{name}: must be 0 or 1, got {shown(text)}")
    return text == "1"


def verdict() -> Verdict | None:
    return _word("verdict", Verdict)


def selection() -> Selection:
    """Read the parameters from, to and reason; aborts with 400."""
    start, end = moment("from"), moment("to")
    if start is not None and end is not None and start >= end:
        abort(400, f"to: must be later than from, got {shown(request.args['to'])}")
    return Selection(start, end, _word("reason", Reason))


def chosen_query() -> str:
    """Return the request's choice of rows as a query with its question mark; empty where it makes none."""
    given = {name: request.args[name] for name in CHOICE if name in request.args}
    return f"?{urlencode(given)}" if given else ""


def moment(name: str) -> datetime | None:
    """Read a time with its zone, as UTC; aborts with 400."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        # A plus sign that was not escaped arrives as a space; no time of ISO 8601 ends with a blank and a zone.
        at = datetime.fromisoformat(text.replace(" ", "+"))
        zoned = at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        zoned = None
    if zoned is None:
        abort(400, f"{name}: must be a time with its zone like 2026-01-31T06:00Z, got {shown(text)}")
    return zoned


def _word(name: str, words: type[Word]) -> Word | None:
    text = request.args.get(name)
    if text is None:
        return None
    if text not in set(words):
        *others, last = words
        abort(400, f"{name}: must be {', '.join(others)} or {last}, got {shown(text)}")
    return words(text)


def form_fault(error: ValidationError, unnamed: str = "field") -> str:
    """Return what is wrong with the first wrong field of a form, in words that the catalogues know."""
    found = error.errors(include_url=False, include_input=False)[0]
    name, facts = ".".join(map(str, found["loc"]))[:80] or unnamed, found.get("ctx", {})
    words = {
        "missing": f"{name}: is missing; send it",
        "extra_forbidden": f"{name}: is not known here; leave it out",
        "string_too_short": f"{name}: is empty; fill it in",
        "string_too_long": f"{name}: has more than {facts.get('max_length')} characters; shorten it",
        "greater_than_equal": f"{name}: must be at least {facts.get('ge')}",
        "less_than_equal": f"{name}: must be at most {facts.get('le')}",
        "enum": f"{name}: must be one of {str(facts.get('expected')).replace(' or ', ', ')}",
    }
    return words.get(found["type"], f"{name}: has the wrong kind or size; correct it")


def shown(text: str) -> str:
    """Shorten a parameter's text to one line for a message."""
    return repr(text[:40])
