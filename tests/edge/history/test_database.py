"""The file of a database while it is open: removed, replaced or locked by somebody else."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from edge.history.database import Database, HistoryError
from edge.history.eventlog import EventLog
from tests.edge.engine.parts import inspection


@pytest.mark.parametrize("gone", [("events.db",), ("events.db-wal",), ("events.db-wal", "events.db-shm"), (
    "events.db", "events.db-wal", "events.db-shm")])  # fmt: skip
def test_a_file_that_is_removed_while_it_is_open_is_written_again_whole(
    tmp_path: Path, gone: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(tmp_path / "events.db")
    name = log.head().history
    for number in range(1, 6):
        log.append(inspection(number))
    for file in gone:
        (tmp_path / file).unlink()
    log.append(inspection(6))
    with closing(sqlite3.connect(tmp_path / "events.db")) as other:
        assert other.execute("SELECT count(*) FROM inspections").fetchone()[0] == 6
    log.append(inspection(7))
    log.close()
    again = EventLog(tmp_path / "events.db", read_only=True)
    assert (again.verify().last_id, again.head().history) == (7, name)
    again.close()
    assert "somebody removed it" in caplog.text
    assert not list(tmp_path.glob("*.draft"))


def test_a_file_that_is_replaced_while_it_is_open_keeps_the_rows_beside_and_ends_the_writing(tmp_path: Path) -> None:
    log, other = EventLog(tmp_path / "events.db"), EventLog(tmp_path / "other.db")
    log.append(inspection(1))
    other.close()
    (tmp_path / "other.db").replace(tmp_path / "events.db")
    with pytest.raises(HistoryError, match=r"another file was put in its place.*events\.db\.kept"):
        log.append(inspection(2))
    log.close()
    kept = EventLog(tmp_path / "events.db.kept", read_only=True)
    assert kept.verify().last_id == 1
    kept.close()


def test_a_lock_of_another_process_is_told_as_what_passes(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    log.reserve(32)
    with closing(sqlite3.connect(tmp_path / "events.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match="locked") as refused:
            log.append(inspection(1))
        assert refused.value.busy
    log.append(inspection(1))
    log.close()


def test_a_write_that_the_disk_does_not_answer_holds_up_neither_another_one_nor_the_end(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", "history")
    answer, begun = threading.Event(), threading.Event()

    def write() -> None:
        with database.transaction():
            begun.set()
            answer.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(60)
    before = time.monotonic()
    with pytest.raises(HistoryError, match="the disk does not answer") as refused, database.transaction():
        pass
    assert refused.value.busy
    database.close()
    assert time.monotonic() - before < 30
    answer.set()
    writer.join()
    database.close()
