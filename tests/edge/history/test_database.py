"""The file of a database while it is open: removed, replaced or locked by somebody else."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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


WRITER = """
import sys, time
from pathlib import Path
from edge.history.eventlog import EventLog
from tests.edge.engine.parts import inspection
log = EventLog(Path(sys.argv[1]))
for number in range(1, 6):
    log.append(inspection(number))
print("written", flush=True)
sys.stdin.read()
log.close()
"""


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be another user of the group of the files for a while."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
@pytest.mark.parametrize("end", ["none", "stopped", "killed"])
def test_who_may_only_read_reads_the_history_of_a_writer_that_runs_has_stopped_or_was_killed(end: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o750)
        path = folder / "events.db"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, umask=0o027
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"written\n"
            if end == "killed":
                writer.send_signal(signal.SIGKILL)
                writer.wait()
            elif end == "stopped":
                writer.stdin.close()
                writer.wait()
            before = sorted(path.name for path in folder.iterdir())
            with somebody_else():
                log = EventLog(path, read_only=True)
                assert (log.verify().last_id, log.counts().total) == (5, 5)
                log.close()
                with pytest.raises(OSError, match="Permission denied"):
                    (folder / "other").touch()
            assert sorted(path.name for path in folder.iterdir()) == before
            writer.kill()
