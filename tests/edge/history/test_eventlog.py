import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Inspection, Reason, Region, Timings, Verdict
from edge.history.database import HistoryError
from edge.history.eventlog import Counts, EventLog
from edge.history.rows import SCHEMA_VERSION
from tests.edge.engine.parts import inspection

finite = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | finite
pixels = st.integers(0, 10_000)
regions = st.builds(Region, pixels, pixels, pixels, pixels, pixels, finite, st.text(max_size=20))
rows = st.builds(
    Inspection,
    id=st.integers(1, 2**60),
    at=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
    ),
    trigger_id=st.text(max_size=30),
    verdict=st.sampled_from(Verdict),
    reason=st.sampled_from(Reason),
    detail=st.text(max_size=50),
    score=maybe,
    threshold=maybe,
    defect_probability=maybe,
    regions=st.lists(regions, max_size=4).map(tuple),
    bundle=st.text(max_size=30),
    timings=st.builds(Timings, finite, finite, finite, finite, finite, finite),
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.db")
    yield log
    log.close()


@given(row=rows)
def test_a_row_comes_back_as_it_was_stored(tmp_path_factory: pytest.TempPathFactory, row: Inspection) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = EventLog(folder / "events.db")
    log.append(row)
    log.close()
    again = EventLog(folder / "events.db", read_only=True)
    assert again.get(row.id) == row
    again.close()
    shutil.rmtree(folder)


def test_an_id_is_never_given_twice(log: EventLog) -> None:
    log.append(inspection(1))
    with pytest.raises(HistoryError):
        log.append(inspection(1, verdict=Verdict.OK))
    assert log.get(1) == inspection(1)


def test_last_id_and_counts_begin_at_zero_and_follow(log: EventLog) -> None:
    assert log.last_id() == 0
    assert log.counts() == Counts(0, 0, 0)
    for number, verdict in enumerate([Verdict.OK, Verdict.OK, Verdict.NG, Verdict.ERROR], start=1):
        log.append(inspection(number, verdict=verdict))
    assert log.last_id() == 4
    assert log.counts() == Counts(2, 1, 1)
    assert log.counts().total == 4


def test_recent_is_newest_first_and_can_be_narrowed(log: EventLog) -> None:
    for number in range(1, 11):
        log.append(inspection(number, verdict=Verdict.OK if number % 2 else Verdict.NG))
    assert [row.id for row in log.recent(3)] == [10, 9, 8]
    assert [row.id for row in log.recent(3, before_id=8)] == [7, 6, 5]
    assert [row.id for row in log.recent(2, before_id=8, verdict=Verdict.OK)] == [7, 5]
    assert log.recent(0) == []
    assert log.get(99) is None


def test_readers_see_rows_while_the_writer_is_open(log: EventLog) -> None:
    log.append(inspection(1))
    reader = EventLog(log.path, read_only=True)
    log.append(inspection(2))
    assert reader.last_id() == 2
    with pytest.raises(HistoryError):
        reader.append(inspection(3))
    reader.close()


def test_a_row_survives_a_process_that_dies(tmp_path: Path) -> None:
    """Copying the files while they are open is what a power cut leaves."""
    log = EventLog(tmp_path / "events.db")
    log.append(inspection(1))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for path in tmp_path.glob("events.db*"):
        shutil.copy(path, crashed)
    log.close()
    again = EventLog(crashed / "events.db")
    assert again.last_id() == 1
    again.close()


@pytest.mark.parametrize("content", [b"not a database, not at all", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_history_is_one_line_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(content)
    told = r"events\.db: the history cannot be opened .*docs/how-to/troubleshoot\.md"
    with pytest.raises(HistoryError, match=told) as caught:
        EventLog(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_history_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(HistoryError, match="schema 99"):
        EventLog(path)


def test_a_reader_does_not_make_a_history(tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        EventLog(tmp_path / "events.db", read_only=True)
    assert not (tmp_path / "events.db").exists()


def test_only_verdicts_are_stored(log: EventLog) -> None:
    with pytest.raises(AttributeError):
        log.append(replace(inspection(1), verdict="MAYBE"))  # type: ignore[arg-type]
    assert log.last_id() == 0


def test_a_history_of_a_later_release_goes_on_where_that_release_says_so(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = EventLog(path)
    log.append(inspection(1))
    log.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE inspections ADD COLUMN later TEXT")
        db.execute("PRAGMA user_version = 99")
        db.execute(f"PRAGMA application_id = {SCHEMA_VERSION}")
        db.commit()
    log = EventLog(path)
    log.append(inspection(2))
    assert log.verify().last_id == 2
    log.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 99, "the later release takes the file up again"
        db.execute(f"PRAGMA application_id = {SCHEMA_VERSION + 1}")
    with pytest.raises(HistoryError, match="schema 99"):
        EventLog(path)
