"""Orders beside the history: which one was made when."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.history.orders import OrderConflictError, OrderSpan, OrderStore

START = datetime(2026, 3, 4, 6, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stored(folder: Path, *changes: tuple[int, str], first: str = "") -> OrderStore:
    """Return a store in which each order was set so many hours after START."""
    with closing(OrderStore(folder)) as store:
        for hours, name in changes:
            store.set(name, "Olaf")
            at = (START + hours * HOUR).isoformat(timespec="milliseconds")
            with store._db.transaction():  # type: ignore[union-attr]
                store._db.execute("UPDATE orders SET at = ? WHERE number = (SELECT max(number) FROM orders)", (at,))  # type: ignore[union-attr]
    return OrderStore(folder, first, read_only=True)


def spans(store: OrderStore, hours: int) -> list[tuple[str, int, int]]:
    found = store.between(START, START + hours * HOUR)
    return [(one.name, (one.start - START) // HOUR, (one.end - START) // HOUR) for one in found]


def test_before_the_first_order_that_of_the_configuration_is_made(tmp_path: Path) -> None:
    with closing(OrderStore(tmp_path, "4711", read_only=True)) as store:
        assert (store.current(), store.recent(5)) == ("4711", ["4711"])
        assert spans(store, 2) == [("4711", 0, 2)]


def test_orders_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    with closing(stored(tmp_path, (1, "a"), (3, ""), (4, "b"), (5, "b"), first="zero")) as store:
        assert spans(store, 8) == [("zero", 0, 1), ("a", 1, 3), ("", 3, 4), ("b", 4, 8)]
        assert store.spans_of("a", START + 9 * HOUR) == [OrderSpan("a", START + HOUR, START + 3 * HOUR)]
        assert (store.current(), store.recent(9)) == ("b", ["b", "a", "zero"])


def test_a_clock_that_was_set_back_takes_no_time_from_the_order_before(tmp_path: Path) -> None:
    with closing(stored(tmp_path, (4, "a"), (2, "b"))) as store:
        assert spans(store, 6) == [("", 0, 4), ("b", 4, 6)]


def test_whoever_saw_another_order_is_told_and_nothing_is_stored(tmp_path: Path) -> None:
    with closing(OrderStore(tmp_path)) as store:
        store.set("a", "Olaf", before="")
        with pytest.raises(OrderConflictError, match="somebody set the order 'a' meanwhile"):
            store.set("b", "Erna", before="")
        assert store.current() == "a"
