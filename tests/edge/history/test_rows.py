"""The chain of the history: whatever is done to stored rows behind the engine's back is found and named."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.core.types import Inspection, Reason, Verdict
from edge.history.database import Database, HistoryError
from edge.history.eventlog import Counts, EventLog
from edge.history.reading.scores import Scores
from edge.history.rows import COLUMNS, GENESIS, Point, Selection, row_hash
from tests.edge.engine.parts import inspection

ROWS = 9
VERSION_1 = Path(__file__).with_name("history_version_1.db")  # twelve rows, written by the release before the chain
ids = st.integers(1, ROWS)
mutating = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def part(number: int) -> Inspection:
    verdict = list(Verdict)[number % 3]
    at = datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=number)
    return replace(inspection(number, verdict=verdict), at=at, bundle_digest="ab" * 32, typical=1.5)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "events.db"
    log = EventLog(path)
    for number in range(1, ROWS + 1):
        log.append(part(number))
    log.close()
    return path


def complaint(original: Path, folder: Path, change: Callable[[sqlite3.Connection], object]) -> str:
    """What verify says of a copy that was changed by other means than the event log; empty when it finds nothing."""
    path = folder / "events.db"
    for leftover in folder.glob("events.db*"):
        leftover.unlink()
    shutil.copy(original, path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        change(db)
    log = EventLog(path, read_only=True)
    try:
        log.verify()
    except HistoryError as error:
        return str(error)
    finally:
        log.close()
    return ""


def test_an_untouched_history_is_whole(original: Path, tmp_path: Path) -> None:
    assert complaint(original, tmp_path, lambda _: None) == ""
    log = EventLog(original, read_only=True)
    assert log.verify() == log.head()
    assert log.head().last_id == ROWS
    log.close()


def test_an_empty_history_is_whole(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    assert (log.verify().last_id, log.verify().last_hash) == (0, GENESIS)
    log.close()


@given(number=ids, column=st.sampled_from([c for c in COLUMNS if c != "id"]), data=st.data())
@mutating
def test_any_altered_field_is_found_and_its_row_named(
    original: Path, tmp_path: Path, number: int, column: str, data: st.DataObject
) -> None:
    with closing(sqlite3.connect(original)) as db:
        before = db.execute(f"SELECT {column} FROM inspections WHERE id = ?", (number,)).fetchone()[0]  # noqa: S608
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    values = st.floats(allow_nan=False) | st.none() if isinstance(before, float) else text
    after = data.draw(values.filter(lambda value: value != before))
    update = f"UPDATE inspections SET {column} = ? WHERE id = ?"  # noqa: S608
    found = complaint(original, tmp_path, lambda db: db.execute(update, (after, number)))
    assert f"row {number} was altered" in found


@given(number=ids)
@mutating
def test_a_removed_row_is_found_and_named(original: Path, tmp_path: Path, number: int) -> None:
    found = complaint(original, tmp_path, lambda db: db.execute("DELETE FROM inspections WHERE id = ?", (number,)))
    assert f"row {number} is missing" in found


@given(kept=st.integers(0, ROWS - 1))
@mutating
def test_a_tail_that_was_cut_off_is_found(original: Path, tmp_path: Path, kept: int) -> None:
    found = complaint(original, tmp_path, lambda db: db.execute("DELETE FROM inspections WHERE id > ?", (kept,)))
    assert f"row {kept + 1} is missing, and all up to row {ROWS}" in found


@given(one=ids, other=ids)
@mutating
def test_exchanged_rows_are_found(original: Path, tmp_path: Path, one: int, other: int) -> None:
    def exchange(db: sqlite3.Connection) -> None:
        for old, new in ((one, -1), (other, one), (-1, other)):
            db.execute("UPDATE inspections SET id = ? WHERE id = ?", (new, old))

    found = complaint(original, tmp_path, exchange)
    assert (f"row {min(one, other)} was altered" in found) == (one != other)


@given(number=st.integers(2, ROWS + 1))
@mutating
def test_a_row_that_was_put_in_is_found_even_with_a_hash_of_its_own(
    original: Path, tmp_path: Path, number: int
) -> None:
    """The forger knows the encoding and moves the later rows up, but does not recompute them."""

    def put_in(db: sqlite3.Connection) -> None:
        db.execute("UPDATE inspections SET id = -id - 1 WHERE id >= ?", (number,))
        db.execute("UPDATE inspections SET id = -id WHERE id < 0")
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM inspections WHERE id = ?", (number - 1,)).fetchone())
        previous = row.pop("hash")
        row.pop("previous_hash")
        row["id"] = number
        row |= {"hash": row_hash(previous, row), "previous_hash": previous}
        marks = ", ".join(f":{name}" for name in row)
        db.execute(f"INSERT INTO inspections ({', '.join(row)}) VALUES ({marks})", row)  # noqa: S608

    found = complaint(original, tmp_path, put_in)
    wanted = f"row {number} is not the last row" if number > ROWS else f"row {number + 1} was altered"
    assert wanted in found


def test_a_row_that_carries_the_wrong_row_before_it_is_found(original: Path, tmp_path: Path) -> None:
    def exchange(db: sqlite3.Connection) -> None:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM inspections WHERE id = 4").fetchone())
        fields = {name: value for name, value in row.items() if name not in {"hash", "previous_hash"}}
        db.execute(
            "UPDATE inspections SET previous_hash = ?, hash = ? WHERE id = 4", (GENESIS, row_hash(GENESIS, fields))
        )

    assert "row 4 does not follow row 3" in complaint(original, tmp_path, exchange)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE head SET last_id = last_id + 1", "row 10 is missing"),
        ("UPDATE head SET last_id = last_id - 1", "row 9 is not the last row"),
        ("UPDATE head SET last_hash = ''", "row 9 is not the last row"),
        ("UPDATE head SET ok = ok + 1", "the counts"),
    ],
)
def test_an_altered_head_record_is_found(original: Path, tmp_path: Path, statement: str, words: str) -> None:
    assert words in complaint(original, tmp_path, lambda db: db.execute(statement))


def test_a_history_without_its_head_record_is_refused(original: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="head record is missing"):
        complaint(original, tmp_path, lambda db: db.execute("DELETE FROM head"))


def test_whoever_forges_rows_and_head_alike_is_only_found_by_an_end_that_was_noted_elsewhere(
    original: Path, tmp_path: Path
) -> None:
    """What docs/how-to/troubleshoot.md says that verify cannot find. The forger makes the sums fit, too."""

    def cut_off(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM inspections WHERE id > 3")
        db.execute("DELETE FROM sums")
        db.execute("UPDATE summed SET last_id = 0")
        head = EventLog(original, read_only=True)
        rows = head.recent(ROWS)[::-1][:3]
        head.close()
        counts = [sum(row.verdict is verdict for row in rows) for verdict in (Verdict.OK, Verdict.NG, Verdict.ERROR)]
        last_hash = db.execute("SELECT hash FROM inspections WHERE id = 3").fetchone()[0]
        db.execute("UPDATE head SET last_id = 3, last_hash = ?, ok = ?, ng = ?, error = ?", (last_hash, *counts))

    assert complaint(original, tmp_path, cut_off) == ""
    log, whole = EventLog(tmp_path / "events.db", read_only=True), EventLog(original, read_only=True)
    assert log.hash_of(ROWS) is None
    assert log.hash_of(3) == whole.hash_of(3)
    log.close()
    whole.close()


def test_migration_from_version_1_keeps_every_row_and_chains_them(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    shutil.copy(VERSION_1, path)
    with closing(sqlite3.connect(path)) as db:
        old = db.execute("SELECT * FROM inspections ORDER BY id").fetchall()
        names = [column[1] for column in db.execute("PRAGMA table_info(inspections)")]
    with pytest.raises(HistoryError, match="schema 1; start the engine once"):
        EventLog(path, read_only=True)
    log = EventLog(path)
    log.close()
    with closing(sqlite3.connect(path)) as db:
        new = db.execute(f"SELECT {', '.join(names)} FROM inspections ORDER BY id").fetchall()  # noqa: S608
    assert len(old) == 12
    assert new == old
    log = EventLog(path)
    assert log.verify().last_id == 12
    assert log.counts() == Counts(6, 3, 3)
    assert {row.bundle_digest for row in log.recent(99)} == {"0123456789ab"}
    log.append(part(13))
    assert log.verify().counts == Counts(6, 4, 3)
    log.close()


def test_a_migration_that_is_cut_short_leaves_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.db"
    shutil.copy(VERSION_1, path)

    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edge.history.eventlog.from_version_1", cut_short)
        with pytest.raises(KeyboardInterrupt):
            EventLog(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
        assert db.execute("SELECT count(*) FROM inspections").fetchone()[0] == 12
    log = EventLog(path)
    assert log.verify().last_id == 12
    log.close()


def test_several_rows_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    log.append(part(1), part(2), part(3))
    with pytest.raises(HistoryError, match="row 3 after row 4"):
        log.append(part(4), part(3))
    assert log.verify().last_id == 3
    assert log.counts().total == 3
    log.close()


def test_counts_do_not_read_the_rows(original: Path) -> None:
    log = EventLog(original, read_only=True)
    with closing(sqlite3.connect(original)) as db:
        plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN SELECT * FROM head")]
    assert log.counts() == Counts(3, 3, 3)
    assert not any("inspections" in step for step in plan)
    log.close()


def test_rows_between_two_times_of_one_verdict(original: Path) -> None:
    log = EventLog(original, read_only=True)
    start = datetime(2026, 1, 2, 0, 0, 3, tzinfo=UTC)
    assert [row.id for row in log.between()] == list(range(1, ROWS + 1))
    assert [row.id for row in log.between(start, start + timedelta(seconds=4))] == [3, 4, 5, 6]
    assert [row.id for row in log.between(start, verdict=Verdict.OK)] == [3, 6, 9]
    log.close()


def test_those_of_some_ids_that_were_judged_ok(original: Path) -> None:
    log = EventLog(original, read_only=True)
    assert log.ok_of([1, 3, 4, 9, 10_000]) == {3, 9}
    log.close()


def test_rows_are_chosen_by_reason_and_time_and_shown_newest_first(original: Path) -> None:
    log = EventLog(original, read_only=True)
    start = datetime(2026, 1, 2, 0, 0, 3, tzinfo=UTC)
    chosen = Selection(start, start + timedelta(seconds=4))
    assert [row.id for row in log.recent(99, chosen=chosen)] == [6, 5, 4, 3]
    assert [row.id for row in log.recent(2, before_id=6, chosen=chosen)] == [5, 4]
    for reason in {row.reason for row in log.between()}:
        expected = [row.id for row in log.between() if row.reason is reason]
        assert [row.id for row in log.between(reason=reason)] == expected
        assert [row.id for row in log.recent(99, chosen=Selection(reason=reason))] == expected[::-1]
    log.close()


def test_points_are_the_rows_as_a_chart_shows_them(original: Path) -> None:
    log = EventLog(original, read_only=True)
    rows = list(log.between())
    assert list(log.points(Selection())) == [
        Point(row.at, row.verdict, row.score, row.threshold, row.timings.total_ms, row.typical) for row in rows
    ]
    log.close()


REASONS = [None, Reason.SCORE, Reason.LATE]


def test_no_list_and_no_start_ever_scans_the_table(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query that runs is explained: every step is a search by id, or by an index that holds all conditions."""
    asked: list[tuple[str, Any]] = []
    execute = Database.execute

    def noting(self: Database, query: str, values: Any = ()) -> sqlite3.Cursor:
        asked.append((query, values))
        return execute(self, query, values)

    monkeypatch.setattr(Database, "execute", noting)
    log = EventLog(original, read_only=True)
    start = datetime(2026, 1, 2, 0, 0, 3, tzinfo=UTC)
    for verdict in (None, *Verdict):
        for reason in REASONS:
            for times in ((None, None), (start, start + timedelta(seconds=4))):
                log.recent(3, 7, verdict, Selection(*times, reason))
                list(log.between(*times, verdict, reason))
    log.get(3)
    log.lost()
    log.counts()
    log.ok_of([1, 2, 3])
    log.ok_scores(2, "ab" * 32)
    log.hash_of(2)
    log.after(4, 3)
    list(log.points(Selection(start)))
    log.close()
    with closing(Scores(original)) as scores:
        scores.of([1, 3])
        scores.last(3, "a bundle")
        scores.rejected_after(2, 3)
    with closing(sqlite3.connect(original)) as db:
        for query, values in asked:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
            bad = [step for step in plan if "SCAN" in step and "wanted" not in step and "head" not in step]
            assert [step for step in bad if step != "SCAN clock_steps"] == [], query
            assert not any("TEMP B-TREE" in step for step in plan), query
            assert "wanted" not in query or any("rowid=?" in step for step in plan), query
    assert len(asked) > 50


@given(
    clock=st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    start=st.none() | st.integers(-20, 60),
    length=st.none() | st.integers(1, 40),
    verdict=st.none() | st.sampled_from(list(Verdict)),
    before=st.none() | st.integers(1, 31),
    limit=st.integers(1, 31),
)
@settings(max_examples=60, deadline=None)
def test_rows_of_a_time_are_all_found_and_no_other_whatever_the_clock_did(
    tmp_path_factory: pytest.TempPathFactory,
    clock: list[int],
    start: int | None,
    length: int | None,
    verdict: Verdict | None,
    before: int | None,
    limit: int,
) -> None:
    """The clock moves by so many seconds from row to row, also backwards."""
    folder = tmp_path_factory.mktemp("clock")
    log = EventLog(folder / "events.db")
    at, parts = datetime(2026, 1, 2, tzinfo=UTC), []
    for number, seconds in enumerate(clock, start=1):
        at += timedelta(seconds=seconds)
        parts.append(replace(part(number), at=at))
    log.append(*parts)
    begin = None if start is None else datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=start)
    end = None if length is None else (begin or datetime(2026, 1, 2, tzinfo=UTC)) + timedelta(seconds=length)
    for reason in REASONS:
        wanted = [
            row.id for row in parts
            if (begin is None or row.at >= begin) and (end is None or row.at < end)
            and verdict in (None, row.verdict) and reason in (None, row.reason)
        ]  # fmt: skip
        assert [row.id for row in log.between(begin, end, verdict, reason)] == wanted
        newest = [number for number in wanted[::-1] if before is None or number < before][:limit]
        assert [row.id for row in log.recent(limit, before, verdict, Selection(begin, end, reason))] == newest
    log.close()
    shutil.rmtree(folder)


def version_3(path: Path, parts: list[Inspection]) -> None:
    """Write a history as the release before the index of reasons did."""
    log = EventLog(path)
    log.append(*parts)
    log.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE clock_steps")
        db.execute("DROP INDEX inspections_by_reason")
        db.execute("CREATE INDEX inspections_by_time ON inspections (at)")
        db.execute("PRAGMA user_version = 3")


def test_a_history_of_version_3_is_found_by_time_and_reason_and_its_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    parts = [part(number) for number in range(1, 8)]
    parts[4] = replace(parts[4], at=parts[1].at)
    version_3(path, parts)
    told: list[str] = []
    log = EventLog(path, before_migration=lambda: told.append("takes time"))
    assert told == ["takes time"]
    log.append(part(8))
    assert log.verify().last_id == 8
    chosen = Selection(parts[1].at, parts[2].at)
    assert [row.id for row in log.recent(9, chosen=chosen)] == [5, 2]
    log.close()


def test_a_long_selection_is_read_in_batches_without_gap_or_repetition(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(original, read_only=True)
    whole = list(log.between())
    for batch in (1, 2, 4, ROWS):
        monkeypatch.setattr("edge.history.eventlog.BATCH", batch)
        assert list(log.between()) == whole
        assert [row.id for row in log.between(verdict=Verdict.OK)] == [3, 6, 9]
    assert list(log.between(datetime(2030, 1, 1, tzinfo=UTC))) == []
    log.close()


def version_2(path: Path, rows: int) -> None:
    """Write a history as the release before the typical score did."""
    log = EventLog(path)
    log.append(*(replace(part(number), typical=None) for number in range(1, rows + 1)))
    log.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE inspections DROP COLUMN typical")
        db.execute("PRAGMA user_version = 2")


def test_a_history_of_version_2_goes_on_with_its_chain_unbroken(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    version_2(path, 5)
    log = EventLog(path)
    log.append(part(6))
    assert log.verify().last_id == 6
    assert [row.typical for row in log.recent(9)] == [1.5, None, None, None, None, None]
    log.close()


def test_a_typical_score_put_into_an_old_row_is_found(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    version_2(path, 5)
    EventLog(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE inspections SET typical = 0.1 WHERE id = 3")
    log = EventLog(path, read_only=True)
    with pytest.raises(HistoryError, match="row 3 was altered"):
        log.verify()
    log.close()


def test_the_page_does_not_read_a_history_of_version_2_before_the_engine_has_brought_it_up(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    version_2(path, 2)
    with pytest.raises(HistoryError, match="history schema 2; start the engine once"):
        EventLog(path, read_only=True)


@pytest.mark.parametrize(
    ("score", "threshold", "typical", "wanted"),
    [(0.5, 0.5, 0.3, 1.0), (0.3, 0.5, 0.3, 0.0), (1.0, 0.5, None, 2.0), (None, 0.5, 0.3, None), (0.4, 0.3, 0.3, None)],
)
def test_the_distance_of_a_row(
    score: float | None, threshold: float, typical: float | None, wanted: float | None
) -> None:
    row = replace(part(1), score=score, threshold=threshold, typical=typical)
    assert row.distance == (None if wanted is None else pytest.approx(wanted))
