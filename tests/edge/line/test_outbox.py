"""No row is lost on its way to a receiver, whatever lies in the folder of its outbox."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge.history.eventlog import EventLog
from edge.line.outputs import OutputError
from edge.line.outputs.message import message
from edge.line.outputs.outbox import MARK, PIECE, Outbox
from tests.edge.engine.parts import inspection


class Station:
    """A history and one outbox of it."""

    def __init__(self, folder: Path) -> None:
        self.events_db = folder / "events.db"
        self.folder = folder / "outbox" / "mqtt"
        self.log = EventLog(self.events_db)
        self.box = self.opened()

    def opened(self) -> Outbox:
        return Outbox(self.folder, self.events_db, "Cell 4")

    def restart(self) -> Outbox:
        self.box.close()
        self.box = self.opened()
        return self.box

    def store(self, count: int) -> None:
        """Have so many parts judged, told and stored."""
        last = self.log.last_id()
        for number in range(last + 1, last + 1 + count):
            self.box.expect(number)
            self.log.append(inspection(number))

    def sequences(self) -> list[int]:
        """Read everything that waits, as a carrier does."""
        found: list[int] = []
        while piece := self.box.pending(after=found[-1] if found else 0):
            assert len(piece) <= PIECE
            assert [number for number, _ in piece] == [json.loads(body)["sequence"] for _, body in piece]
            found += [number for number, _ in piece]
        return found

    def close(self) -> None:
        self.box.close()
        self.log.close()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.close()


class Traffic(RuleBasedStateMachine):
    """Parts, acknowledgements, stops and kills in any order, against two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.station = Station(Path(self.folder.name))
        self.last = self.acked = 0

    def teardown(self) -> None:
        self.station.close()
        self.folder.cleanup()

    @rule(count=st.integers(1, 30))
    def parts(self, count: int) -> None:
        self.station.store(count)
        self.last += count

    @rule(count=st.integers(0, 12))
    def ack(self, count: int) -> None:
        self.acked = min(self.last, self.acked + count)
        self.station.box.ack(self.acked)

    @rule()
    def ack_too_much(self) -> None:
        self.station.box.ack(self.last + 100)
        self.acked = self.last

    @rule()
    def kill(self) -> None:
        self.station.box = self.station.opened()

    @rule()
    def restart(self) -> None:
        self.station.restart()

    @invariant()
    def what_is_not_acknowledged_is_pending_in_order(self) -> None:
        assert self.station.sequences() == list(range(self.acked + 1, self.last + 1))
        assert (self.station.box.waiting(), self.station.box.acked) == (self.last - self.acked, self.acked)


class TestOutbox(Traffic.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_a_new_output_begins_with_the_next_part(station: Station) -> None:
    station.store(5)
    other = Outbox(station.folder.with_name("webhook"), station.events_db, "Cell 4")
    assert (other.waiting(), other.pending(), other.noted) == (0, [], 0)
    other.close()


def test_a_row_that_is_told_and_not_stored_yet_comes_when_it_is_stored(station: Station) -> None:
    station.box.expect(1)
    assert (station.box.pending(), station.box.waiting()) == ([], 1)
    station.log.append(inspection(1))
    assert station.sequences() == [1]


def test_what_was_acknowledged_does_not_come_again_after_kill_9(station: Station) -> None:
    station.store(3)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom edge.line.outputs.outbox import Outbox\n"
        "box = Outbox(Path(sys.argv[1]), Path(sys.argv[2]), 'Cell 4')\nbox.ack(2)\nos.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", code, str(station.folder), str(station.events_db)]
    assert subprocess.run(command, timeout=60).returncode == -9
    station.restart()
    assert station.sequences() == [3]


NOTES = {
    "zeroed": bytes(60),
    "empty": b"",
    "cut": b"0123",
    "a number alone": b"999999\n",
    "too high, without its checksum": b"%s 00000000000999999999 00000000\n",
    "noise": b"\xff\x00\xfe" * 30,
}


@pytest.mark.parametrize("note", NOTES)
def test_a_damaged_note_is_named_and_every_row_is_sent_again(
    station: Station, caplog: pytest.LogCaptureFixture, note: str
) -> None:
    station.store(13)
    station.box.ack(4)
    station.box.close()
    history = station.log.head().history.encode()
    (station.folder / MARK).write_bytes(NOTES[note].replace(b"%s", history))
    station.box = station.opened()
    assert station.sequences() == list(range(1, 14))
    assert "all 13 rows are sent again" in caplog.text
    station.box.ack(13)
    station.restart()
    assert station.sequences() == []


def test_a_folder_or_a_file_in_the_way_is_set_aside_and_every_row_is_sent_again(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    station.store(3)
    station.box.close()
    (station.folder / MARK).unlink()
    (station.folder / MARK).mkdir()
    station.box = station.opened()
    assert station.sequences() == [1, 2, 3]
    assert "foreign" in caplog.text
    station.box.close()
    shutil.rmtree(station.folder)
    station.folder.write_bytes(b"a file")
    station.box = station.opened()
    station.store(1)
    assert station.sequences() == [4]


def test_foreign_files_are_named_and_left_alone(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    station.store(2)
    station.box.ack(1)
    (station.folder / "foo.log").write_bytes(b"a friend's notes")
    (station.folder / "backup.log").mkdir()
    station.restart()
    assert station.sequences() == [2]
    assert (station.folder / "foo.log").read_bytes() == b"a friend's notes"
    assert "foo.log" in caplog.text
    assert "backup.log" in caplog.text


def test_an_outbox_of_another_history_is_named_its_ids_are_kept_and_every_row_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = Station(tmp_path / "old"), Station(tmp_path / "new")
    old.store(500)
    old.box.ack(400)
    new.store(5)
    old.box.close()
    new.box.close()
    shutil.copy(old.folder / MARK, new.folder / MARK)
    new.box = new.opened()
    assert new.box.noted == 400, "the engine gives out none of these again"
    assert new.sequences() == [1, 2, 3, 4, 5]
    assert "another history" in caplog.text
    old.log.close()
    new.close()


def test_a_history_that_is_removed_and_begins_anew_is_followed(station: Station) -> None:
    station.store(3)
    station.box.ack(2)
    station.log.close()
    for path in station.events_db.parent.glob("events.*"):
        path.unlink()
    station.log = EventLog(station.events_db)
    station.log.append(inspection(3))
    station.store(2)
    assert station.sequences() == [3, 4, 5]
    station.box.ack(4)
    station.restart()
    assert station.sequences() == [5]


def test_a_history_that_cannot_be_read_is_one_line_and_what_waits_comes_later(station: Station) -> None:
    station.store(3)
    away = station.events_db.rename(station.events_db.with_suffix(".away"))
    with pytest.raises(OutputError, match="history") as caught:
        station.box.pending()
    assert os.linesep not in str(caught.value)
    away.rename(station.events_db)
    assert station.sequences() == [1, 2, 3]


def test_a_message_names_the_type_of_each_region() -> None:
    told = json.loads(message("press", inspection(1)))
    assert told["regions"] == [{"x": 1, "y": 2, "w": 3, "h": 4, "peak": 60.0, "label": "anomaly"}]


def earlier(folder: Path, *messages: tuple[int, int, int]) -> None:
    """The file of an earlier version with messages (number, sequence, acknowledged)."""
    folder.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(folder / "outbox.db")
    db.execute("CREATE TABLE messages (number INTEGER PRIMARY KEY, body BLOB, checksum INTEGER, acked INTEGER)")
    for number, sequence, acked in messages:
        body = json.dumps({"sequence": sequence}).encode()
        db.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (number, body, zlib.crc32(body), acked))
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("messages", "waits"),
    [
        ([(7, 3, 0), (8, 4, 0)], [3, 4, 5]),
        ([(9, 4, 1)], [5]),
        ([(9, 900, 1)], [1, 2, 3, 4, 5]),
        ([], [1, 2, 3, 4, 5]),
    ],
)
def test_the_outbox_of_an_earlier_version_is_taken_over_once(
    station: Station, messages: list[tuple[int, int, int]], waits: list[int]
) -> None:
    station.store(5)
    station.box.close()
    shutil.rmtree(station.folder)
    earlier(station.folder, *messages)
    station.box = station.opened()
    assert station.sequences() == waits
    assert [path.name for path in station.folder.iterdir()] == [MARK]
    station.restart()
    assert station.sequences() == waits


@pytest.mark.parametrize("name", ["outbox.db", "000000000001.log"])
def test_a_damaged_outbox_of_an_earlier_version_has_every_row_sent_again(
    station: Station, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    station.store(3)
    station.box.close()
    shutil.rmtree(station.folder)
    station.folder.mkdir()
    (station.folder / name).write_bytes(bytes(4096))
    station.box = station.opened()
    assert station.sequences() == [1, 2, 3]
    assert "sent again" in caplog.text


def test_a_long_backlog_is_read_in_pieces(station: Station) -> None:
    station.log.append(*(inspection(number) for number in range(1, 2001)))
    station.box.expect(2000)
    assert len(station.box.pending(10_000)) == PIECE
    assert station.sequences() == list(range(1, 2001))
