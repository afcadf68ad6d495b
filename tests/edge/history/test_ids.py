import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Inspection, Reason, Verdict
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.ids import AHEAD, MARK, Ids
from tests.edge.engine.parts import inspection

ROOT = Path(__file__).parents[3]
Folders = tuple[Path, Path]
FOREVER = """
import sys, queue, threading
from pathlib import Path
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from tests.edge.engine.parts import inspection
state, run = Path(sys.argv[1]), Path(sys.argv[2])
events = EventLog(state / "events.db")
sequence = Ids(events, run)
line = open(sys.argv[3], "a", buffering=1)
rows = queue.SimpleQueue()
def record():
    while True:
        events.append(inspection(rows.get()))
threading.Thread(target=record, daemon=True).start()
print("READY", flush=True)
while True:
    if sequence.has_room():
        number = sequence.next_id()
        line.write(f"{number}\\n")  # the output to the line
        rows.put(number)
"""


@contextmanager
def opened(folders: Folders, boot_id: str = "boot") -> Iterator[tuple[EventLog, Ids]]:
    """As an engine that ends without a word: nothing is given back."""
    state, run = folders
    events = EventLog(state / "events.db")
    yield events, Ids(events, run, boot_id)
    events.close()


def rows(folders: Folders) -> list[Inspection]:
    log = EventLog(folders[0] / "events.db", read_only=True)
    try:
        found = list(log.between())
        assert log.verify().last_id == len(found)
        return found
    finally:
        log.close()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    return tmp_path / "state", tmp_path / "run"


def test_ids_count_up_from_one_and_go_on_after_a_stop(folders: Folders) -> None:
    with opened(folders) as (events, sequence):
        for wanted in (1, 2, 3):
            assert sequence.next_id() == wanted
            events.append(inspection(wanted))
        sequence.close()
    shutil.rmtree(folders[1])
    folders[1].mkdir()
    with opened(folders, "another boot") as (_, sequence):
        assert sequence.filled == 0, "nothing was reserved when it stopped"
        assert sequence.next_id() == 4


def test_a_stop_that_could_not_store_every_row_gives_none_of_their_ids_again(folders: Folders) -> None:
    with opened(folders) as (events, sequence):
        for number in [sequence.next_id() for _ in range(5)][:2]:
            events.append(inspection(number))
        sequence.close()
    with opened(folders, "another boot") as (_, sequence):
        assert (sequence.filled, sequence.next_id()) == (3, 6)


@given(given_out=st.integers(0, 20), stored=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_after_a_kill_exactly_the_ids_that_were_given_out_have_rows(
    tmp_path_factory: pytest.TempPathFactory, given_out: int, stored: int
) -> None:
    folder = tmp_path_factory.mktemp("kill")
    folders = folder, folder
    stored = min(stored, given_out)
    with opened(folders) as (events, sequence):
        for number in [sequence.next_id() for _ in range(given_out)][:stored]:
            events.append(inspection(number))
    with opened(folders) as (_, sequence):
        assert sequence.filled == given_out - stored
        assert sequence.next_id() == given_out + 1
    found = rows(folders)
    assert [row.id for row in found] == list(range(1, given_out + 1))
    assert all((row.verdict, row.reason) == (Verdict.ERROR, Reason.ENGINE_DIED) for row in found[stored:])
    assert all(row.reason is Reason.SCORE for row in found[:stored])
    shutil.rmtree(folder)


def lose_the_tmpfs(run: Path) -> str:
    (run / MARK).unlink()
    return "boot"


def boot_again(_: Path) -> str:
    return "another boot"


def tear_the_note(run: Path) -> str:
    (run / MARK).write_text("boot ")
    return "boot"


@pytest.mark.parametrize("cut", [lose_the_tmpfs, boot_again, tear_the_note])
def test_after_a_power_cut_no_id_comes_twice_and_none_is_missing(folders: Folders, cut: Callable[[Path], str]) -> None:
    with opened(folders) as (events, sequence):
        used = [sequence.next_id() for _ in range(10)]
        events.append(*(inspection(number) for number in used[:4]))
        used += [sequence.next_id() for _ in range(AHEAD - 6)]
        assert not sequence.has_room()
    with opened(folders, cut(folders[1])) as (_, sequence):
        assert sequence.next_id() > used[-1]
    found = rows(folders)
    assert [row.id for row in found] == list(range(1, 4 + AHEAD + 1))
    assert {row.reason for row in found[4:]} == {Reason.ENGINE_DIED}


def test_no_more_ids_are_given_than_the_history_has_reserved(folders: Folders) -> None:
    with opened(folders) as (events, sequence):
        given_out = [sequence.next_id() for _ in range(AHEAD)]
        with pytest.raises(HistoryError, match="look at the disk"):
            sequence.next_id()
        events.append(inspection(given_out[0]))
        assert sequence.next_id() == AHEAD + 1


def lose(folders: Folders, left: str) -> None:
    """Take away everything that shows which ids were given out, but for one thing."""
    state, run = folders
    for path in [*state.iterdir(), *run.iterdir()]:
        if path.name != left:
            path.unlink()


@pytest.mark.parametrize("left", [MARK, "events.ids", "events.db"])
def test_ids_go_on_while_anything_shows_that_they_were_given_out(folders: Folders, left: str) -> None:
    with opened(folders) as (events, sequence):
        for _ in range(9):
            events.append(inspection(sequence.next_id()))
    lose(folders, left)
    with opened(folders) as (events, sequence):
        assert sequence.next_id() >= 10
        assert events.get(1) is not None, "each of them has a row"
        assert [reason for reason in {row.reason for row in rows(folders)} if reason is not Reason.ENGINE_DIED] == (
            [Reason.SCORE] if left == "events.db" else []
        )


def test_ids_go_on_after_a_picture_when_nothing_else_is_left(folders: Folders) -> None:
    events = EventLog(folders[0] / "events.db")
    sequence = Ids(events, folders[1], "boot", seen=24)
    assert (sequence.filled, sequence.last) == (24, 24)
    assert events.lost() == [(1, 24)]
    assert events.verify().last_id == 24
    sequence.go_on_after(30)
    assert sequence.next_id() == 31
    assert events.lost() == [(1, 30)]
    events.close()


def test_a_write_ahead_log_and_a_note_that_are_gone_give_no_id_twice_and_verify_tells(folders: Folders) -> None:
    """The file of the database stands as it was when the log was last moved into it."""
    with opened(folders) as (events, sequence):
        for _ in range(13):
            events.append(inspection(sequence.next_id()))
    with opened(folders) as (events, sequence):
        name = events.head().history
        for _ in range(14, 25):
            events.append(inspection(sequence.next_id()))
        before = (folders[0] / "events.db").read_bytes()
        mark = (folders[0] / "events.ids").read_bytes()
    for path in [*folders[0].iterdir(), *folders[1].iterdir()]:
        path.unlink()
    (folders[0] / "events.db").write_bytes(before)
    (folders[0] / "events.ids").write_bytes(mark)
    with opened(folders) as (events, sequence):
        assert sequence.next_id() > 24
        assert events.head().history == name
        assert events.lost() == [(14, 24)]
        assert [events.get(number).reason for number in (13, 14, 24)] == [  # type: ignore[union-attr]
            Reason.SCORE, Reason.ENGINE_DIED, Reason.ENGINE_DIED,
        ]  # fmt: skip
        events.verify()


def test_many_lost_ids_get_one_row_that_stands_for_all_of_them(folders: Folders) -> None:
    with opened(folders) as (events, sequence):
        events.append(inspection(sequence.next_id()))
        sequence.go_on_after(300_000)
        events.append(inspection(sequence.next_id()))
        assert events.lost() == [(2, 300_000)]
        assert events.verify().counts.total == 3
        assert events.last_id() == 300_001


@pytest.mark.parametrize("digits", ["00000000000000300000", "99999999999999999999", "-0000000000000000001", "x" * 20])
def test_a_note_with_another_number_than_was_written_is_named_and_not_used(
    folders: Folders, digits: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(folders) as (events, sequence):
        for _ in range(3):
            events.append(inspection(sequence.next_id()))
    note = folders[1] / MARK
    note.write_text(note.read_text().replace("00000000000000000003", digits))
    with opened(folders) as (events, sequence):
        assert 3 < sequence.next_id() <= 3 + AHEAD + 1
        assert "sequence: damaged" in caplog.text
        assert events.verify().counts.total <= 3 + AHEAD


@pytest.mark.parametrize("name", [MARK, "events.ids"])
@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, lambda path: path.write_bytes(bytes(5000))])
def test_what_lies_where_a_note_belongs_is_named_and_stepped_over(
    folders: Folders, name: str, put: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    put((folders[1] if name == MARK else folders[0]) / name)
    with opened(folders) as (_, sequence):
        assert sequence.next_id() == 1
    assert name in caplog.text


def test_one_id_is_left_for_a_trigger_that_was_accepted_before_the_disk_was_seen_to_stand(folders: Folders) -> None:
    with opened(folders) as (_, sequence):
        while sequence.has_room():
            sequence.next_id()
        assert sequence.next_id() == AHEAD


def test_the_rows_of_a_history_that_was_put_back_are_filled_up(folders: Folders) -> None:
    """A copy of yesterday: what was given out since must not come again."""
    with opened(folders) as (events, sequence):
        for _ in range(3):
            events.append(inspection(sequence.next_id()))
        sequence.close()
        backup = folders[0] / "copy"
        shutil.copy(folders[0] / "events.db", backup)
        shutil.copy(folders[0] / "events.db-wal", folders[0] / "copy-wal")
    with opened(folders) as (events, sequence):
        for _ in range(40):
            events.append(inspection(sequence.next_id()))
        sequence.close()
    for suffix in ("", "-wal"):
        (folders[0] / f"copy{suffix}").replace(folders[0] / f"events.db{suffix}")
    (folders[0] / "events.db-shm").unlink(missing_ok=True)
    with opened(folders) as (_, sequence):
        assert (sequence.filled, sequence.next_id()) == (40, 44)


@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.02, 0.11])
def test_kill_9_at_any_moment_leaves_an_unbroken_sequence(folders: Folders, after_s: float) -> None:
    """A real process writes to the line and to the history as fast as it can until it is killed, twice."""
    line = folders[1] / "line"
    for _ in range(2):
        command = [sys.executable, "-c", FOREVER, str(folders[0]), str(folders[1]), str(line)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"READY\n"
            time.sleep(after_s)
            os.kill(process.pid, signal.SIGKILL)
    events = EventLog(folders[0] / "events.db")
    sequence = Ids(events, folders[1])
    shown = [int(number) for number in line.read_text().split()]
    assert shown == sorted(set(shown)), "no id was shown twice"
    assert events.last_id() >= max(shown, default=0)
    assert events.last_id() <= max(shown, default=0) + 1, "at most one id was given and not shown"
    sequence.close()
    events.close()
    found = rows(folders)
    assert [row.id for row in found] == list(range(1, len(found) + 1))
    assert {row.reason for row in found} <= {Reason.SCORE, Reason.ENGINE_DIED}
