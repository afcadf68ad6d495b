"""A shift, or an order, in numbers: yield, rejects by reason and by type of defect, hour by hour."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from edge.core.catalogue import ENGLISH, catalogue
from edge.core.types import ANOMALY, Reason, Verdict
from edge.history.orders import OrderSpan, OrderStore
from edge.history.reading.sums import Sum, Sums
from edge.history.rows import Selection
from edge.web.shift.calendar import Calendar, Shift
from edge.web.station import Station
from edge.web.wording.times import span_text
from edge.web.wording.verdicts import ERRORS, UNKNOWN

HOURS_UP_TO = timedelta(hours=50)  # a longer time is shown day by day
MOST_BARS = 400
MOST_ORDERS = 20  # of one shift
UNNAMED = "type not known"  # the bundle tells no types of defect, or not this one's
REJECTED = "It looks unlike the good parts."

Facts = dict[str, Any]
Kind = TypeVar("Kind")
Reader = Callable[[datetime, datetime], list[Sum]]


class PartCounts:
    """The parts of some sums, counted by verdict, and the rejected ones by reason and by type of defect."""

    def __init__(self, found: Iterable[Sum]) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[tuple[Verdict, Reason]] = Counter()
        self.labels: Counter[str] = Counter()
        for one in found:
            self.verdicts[one.verdict] += one.parts
            if one.verdict is not Verdict.OK:
                self.reasons[one.verdict, one.reason] += one.parts
            if one.verdict is Verdict.NG:
                self.labels[UNNAMED if one.label in ("", ANOMALY) else one.label] += one.parts
        self.parts = self.verdicts.total()

    def facts(self) -> Facts:
        """Return how many parts there are of each verdict, and the share of OK ones."""
        share = self.verdicts[Verdict.OK] / self.parts if self.parts else None
        return {"parts": self.parts, "yield": share, **{verdict.value: self.verdicts[verdict] for verdict in Verdict}}


def shift_facts(station: Station, at: datetime, now: datetime) -> Facts:
    """Return the shift of a moment in numbers, beside the last shift before it in which parts were judged."""
    calendar = Calendar(station.config.shift)
    shift = calendar.shift_at(at)
    before = _before(station, calendar, shift)
    with _reader(station) as read:
        found = read(shift.start, shift.end)
        earlier = PartCounts(read(before.start, before.end)) if before else None
        orders = [
            {"name": span.name}
            | _times(span.start, span.end, calendar)
            | PartCounts(read(span.start, span.end)).facts()
            for span in _orders(station, shift, now)
        ]
    return {
        "shift": _times(shift.start, shift.end, calendar)
        | {"name": shift.name, "running": shift.start <= now < shift.end},
        "order": None,
        **_numbers(PartCounts(found), earlier),
        "bars": _bars(found, shift.start, max(min(shift.end, now), shift.start + timedelta(hours=1)), calendar),
        "before": before
        and earlier
        and {"name": before.name} | _times(before.start, before.end, calendar) | earlier.facts(),
        "orders": orders,
        "previous": calendar.before(shift).start.isoformat(),
        "next": shift.end.isoformat() if shift.end <= now else None,
    }


def order_facts(station: Station, name: str, now: datetime) -> Facts | None:
    """Return all parts of an order in numbers; None when there never was such an order."""
    calendar = Calendar(station.config.shift)
    with order_store(station) as store:
        spans = store.spans_of(name, now)
    if not spans:
        return None
    with _reader(station) as read:
        found = [one for span in spans for one in read(span.start, span.end)]
    start = max(spans[0].start, min((one.at for one in found), default=spans[0].start))
    return {
        "shift": _times(start, spans[-1].end, calendar) | {"name": f"Order {name}", "running": spans[-1].end == now},
        "order": name,
        **_numbers(PartCounts(found), None),
        "bars": _bars(found, start, spans[-1].end, calendar),
        "before": None,
        "orders": [],
        "previous": None,
        "next": None,
    }


@contextmanager
def order_store(station: Station, write: bool = False) -> Iterator[OrderStore]:
    """Open the orders of a station, for reading or for writing; raises HistoryError."""
    with closing(OrderStore(station.config.page_dir, station.config.shift.order, read_only=not write)) as store:
        yield store


@contextmanager
def _reader(station: Station) -> Iterator[Reader]:
    """Give what reads the sums of a time; it finds nothing where there is no history yet."""
    if not station.config.events_db.exists():
        yield lambda _start, _end: []
        return
    with station.history():
        pass  # a history that this release cannot read is refused here
    with closing(Sums(station.config.events_db)) as sums:
        yield sums.between


def _before(station: Station, calendar: Calendar, shift: Shift) -> Shift | None:
    with station.history() as log:
        row = next(iter(log.recent(1, chosen=Selection(None, shift.start))), None) if log else None
    return calendar.shift_at(row.at) if row and row.at < shift.start else None


def _orders(station: Station, shift: Shift, now: datetime) -> list[OrderSpan]:
    """Return the orders of a shift up to now; none where nobody uses them."""
    end = min(shift.end, now)
    if end <= shift.start:
        return []
    with order_store(station) as store:
        spans = store.between(shift.start, end)
    return spans[-MOST_ORDERS:] if any(span.name for span in spans) else []


def _times(start: datetime, end: datetime, calendar: Calendar) -> Facts:
    """Return a span of time for programs, and for people in local time with its zone."""
    first, last = calendar.local(start), calendar.local(end)
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "words": span_text(catalogue(ENGLISH), first, last),
        "hours": span_text(catalogue(ENGLISH), first, last, with_date=False),
    }


def _numbers(tally: PartCounts, earlier: PartCounts | None) -> Facts:
    """Return totals and both Paretos."""
    was = earlier or PartCounts(())
    return {
        **tally.facts(),
        "rejects": [
            {"verdict": verdict.value, "reason": reason.value, "words": _words(verdict, reason)} | numbers
            for (verdict, reason), numbers in _pareto(tally.reasons, was.reasons, tally.parts, was.parts)
        ],
        "defects": [
            {"label": label} | numbers for label, numbers in _pareto(tally.labels, was.labels, tally.parts, was.parts)
        ],
    }


def _pareto(now: Counter[Kind], before: Counter[Kind], parts: int, parts_before: int) -> Iterator[tuple[Kind, Facts]]:
    """Yield each kind, the most frequent first, with its share of all kinds and the share up to it.

    What the shift before had and this one has not comes last, with 0 parts.
    """
    total, up_to = now.total(), 0
    for kind in sorted(now | before, key=lambda one: (-now[one], -before[one], str(one))):
        up_to += now[kind]
        yield (
            kind,
            {
                "parts": now[kind],
                "share": now[kind] / total if total else 0.0,
                "up_to": up_to / total if total else 0.0,
                "per_1000": 1000 * now[kind] / parts if parts else None,
                "per_1000_before": 1000 * before[kind] / parts_before if parts_before else None,
            },
        )


def share_text(share: float | None, digits: int = 2) -> str:
    """Write a share in percent for people; only what is all or nothing reads as 100 or 0 %."""
    if share is None:
        return UNKNOWN
    step = 10.0**-digits
    percent = 100 * share
    if 0 < percent < step:
        return f"< {step:.{digits}f} %"
    if 100 - step < percent < 100:
        return f"> {100 - step:.{digits}f} %"
    return f"{percent:.{digits}f} %"


def _words(verdict: Verdict, reason: Reason) -> str:
    return REJECTED if verdict is Verdict.NG else ERRORS[reason][0]


def _bars(found: list[Sum], start: datetime, end: datetime, calendar: Calendar) -> Facts:
    """Count the parts of each local hour, or of each local day of a longer time; the last MOST_BARS of them."""
    days = end - start > HOURS_UP_TO
    if days:
        start = max(start, end - MOST_BARS * timedelta(days=1))
    starts = calendar.bars(start, end, days)
    pieces: list[list[Sum]] = [[] for _ in starts]
    for one in found:
        if one.at >= start or not days:
            pieces[max(0, bisect_right(starts, one.at) - 1)].append(one)
    bars = []
    for at, piece in zip(starts, pieces, strict=True):
        local = calendar.local(at)
        words = f"{local:%a %Y-%m-%d}" if days else f"{local:%H:%M} {local.tzname()}"
        bars.append({"at": at.isoformat(), "words": words} | PartCounts(piece).facts())
    return {"of": "day" if days else "hour", "bars": bars}
