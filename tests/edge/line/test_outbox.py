"""Nothing that was put is lost, whatever is interleaved with whatever crash."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge.line.outputs import OutputError
from edge.line.outputs.outbox import FILE, Outbox

MESSAGES = st.lists(st.binary(max_size=60), min_size=1, max_size=5)
CHILD = """
import sys
from pathlib import Path
from edge.line.outputs.outbox import Outbox
box = Outbox(Path(sys.argv[1]))
number = box.waiting()
while True:
    number = box.put([b"m%d" % (number + 1)])
    print(number, flush=True)
"""


class Traffic(RuleBasedStateMachine):
    """put, read, ack and crash in any order, against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.folders = [tempfile.TemporaryDirectory()]
        self.box = Outbox(Path(self.folders[0].name))
        self.waiting: list[tuple[int, bytes]] = []
        self.last = 0
        self.newest: bytes | None = None

    def teardown(self) -> None:
        self.box.close()
        for folder in self.folders:
            folder.cleanup()

    @rule(messages=MESSAGES)
    def put(self, messages: list[bytes]) -> None:
        last = self.box.put(messages)
        self.waiting += enumerate(messages, start=self.last + 1)
        self.last += len(messages)
        self.newest = messages[-1]
        assert last == self.last

    @rule(count=st.integers(0, 12))
    def ack(self, count: int) -> None:
        if self.waiting[:count]:
            self.box.ack(self.waiting[:count][-1][0])
            del self.waiting[:count]

    @rule(torn=st.binary(max_size=5000))
    def crash(self, torn: bytes) -> None:
        """kill -9 or a power cut in the middle of a write: the files as they are, and a piece of what comes next."""
        before = Path(self.folders[-1].name)
        self.folders.append(tempfile.TemporaryDirectory())
        after = Path(self.folders[-1].name)
        for end in ("", "-wal"):
            if (before / f"{FILE}{end}").exists():
                shutil.copy(before / f"{FILE}{end}", after)
        with (after / f"{FILE}-wal").open("ab") as stream:
            stream.write(torn)
        self.box.close()
        self.box = Outbox(after)

    @rule()
    def restart(self) -> None:
        self.box.close()
        self.box = Outbox(Path(self.folders[-1].name))

    @invariant()
    def what_was_put_and_not_acknowledged_is_there_in_order(self) -> None:
        assert self.box.pending(10_000) == self.waiting
        assert self.box.waiting() == len(self.waiting)
        assert self.box.pending(2) == self.waiting[:2]
        assert self.box.newest() == self.newest
        if self.waiting:
            middle = self.waiting[len(self.waiting) // 2][0]
            assert self.box.pending(3, after=middle) == [one for one in self.waiting if one[0] > middle][:3]


class TestOutbox(Traffic.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_space_of_acknowledged_messages_is_given_back(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    for _ in range(50):
        box.put([b"x" * 1000] * 100)
    assert size(tmp_path) > 5_000_000
    for number in range(20, 5001, 20):
        box.ack(number)
    assert box.waiting() == 0
    box.close()
    assert size(tmp_path) < 100_000
    assert Outbox(tmp_path).put([b"next"]) == 5001


def test_traffic_that_is_acknowledged_does_not_grow_the_files(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    sizes = []
    for number in range(1, 401):
        box.put([b"x" * 500])
        box.ack(number)
        sizes.append(size(tmp_path))
    assert max(sizes) == max(sizes[:200])


def test_what_was_acknowledged_does_not_come_again_after_kill_9(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom edge.line.outputs.outbox import Outbox\n"
        "box = Outbox(Path(sys.argv[1]))\nbox.put([b'1', b'2', b'3'])\nbox.ack(2)\nos.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60).returncode == -9
    box = Outbox(tmp_path)
    assert box.pending(9) == [(3, b"3")]
    box.ack(3)
    assert (Outbox(tmp_path).waiting(), Outbox(tmp_path).newest()) == (0, b"3")


def test_a_killed_writer_leaves_every_message_that_it_was_promised(tmp_path: Path) -> None:
    promised = 0
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(30):
                promised = int(writer.stdout.readline())
            writer.kill()
            promised = max([promised, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        found = Outbox(tmp_path).pending(1_000_000)
        assert len(found) >= promised
        assert found == [(n, b"m%d" % n) for n in range(1, len(found) + 1)]


def test_a_full_disk_refuses_whole_messages_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.put([b"first"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be used"):
            box.put([b"y" * 60, b"z" * 60])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert box.put([b"second"]) == 2
    assert [message for _, message in box.pending(9)] == [b"first", b"second"]
    assert Outbox(tmp_path).pending(9) == box.pending(9)


def test_a_full_disk_does_not_send_an_acknowledged_message_again(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.put([b"first", b"second", b"third"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be used"):
            box.ack(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert box.pending(9) == [(2, b"second"), (3, b"third")]
    box.ack(2)
    assert Outbox(tmp_path).pending(9) == [(3, b"third")]


def test_a_message_that_the_disk_altered_does_not_hold_up_the_others(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.put([b"one", b"two", b"three"])
    box.close()
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes().replace(b"two", b"tvo").replace(b"three", b"thre3"))
    box = Outbox(tmp_path)
    assert [message for _, message in box.pending(9)] == [b"one"]
    assert box.newest() == b"one"
    assert box.put([b"four"]) == 4
    assert [message for _, message in box.pending(2)] == [b"one", b"four"]


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_set_aside_and_named_and_the_outbox_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    box = Outbox(tmp_path)
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == content
    assert f"{FILE}.damaged" in caplog.text
    assert box.put([b"one"]) == 1
    assert Outbox(tmp_path).pending(9) == [(1, b"one")]


def test_damage_that_is_found_while_it_runs_is_one_error_and_then_numbers_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Outbox(tmp_path)
    for _ in range(30):
        box.put([b"x" * 1000] * 100)
    box.close()
    with (tmp_path / FILE).open("r+b") as stream:
        stream.seek(300 * 4096)
        stream.write(b"\xff" * 4096)
    box = Outbox(tmp_path)
    with pytest.raises(OutputError, match="the outbox cannot be used"):
        box.pending(3000)
    assert f"{FILE}.damaged" in caplog.text
    assert (box.waiting(), box.pending(9)) == (0, [])
    assert box.put([b"next"]) == 3001
    assert box.pending(9) == [(3001, b"next")]


def earlier(number: int, message: bytes) -> bytes:
    """A line of the text files of an earlier version."""
    body = b"%d %s" % (number, message)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def test_what_waits_in_the_text_files_of_an_earlier_version_is_taken_over_once(tmp_path: Path) -> None:
    (tmp_path / "000000000003.log").write_bytes(earlier(3, b"c") + earlier(4, b"d"))
    (tmp_path / "000000000005.log").write_bytes(earlier(5, b"e") + earlier(6, b"f") + earlier(7, b"torn")[:-4])
    (tmp_path / "acked").write_bytes(b"4\n")
    box = Outbox(tmp_path)
    assert box.pending(9) == [(5, b"e"), (6, b"f")]
    assert not list(tmp_path.glob("*.log"))
    assert box.put([b"g"]) == 7
    box.ack(5)
    box.close()
    (tmp_path / "000000000005.log").write_bytes(earlier(5, b"e") + earlier(6, b"f"))  # killed before it was removed
    assert Outbox(tmp_path).pending(9) == [(6, b"f"), (7, b"g")]


def test_of_text_files_with_nothing_waiting_the_last_message_is_known(tmp_path: Path) -> None:
    (tmp_path / "000000000001.log").write_bytes(earlier(1, b"a") + earlier(2, b"b"))
    (tmp_path / "acked").write_bytes(b"2\n")
    box = Outbox(tmp_path)
    assert (box.waiting(), box.newest(), box.last) == (0, b"b", 2)


def test_text_files_whose_mark_is_lost_are_sent_again(tmp_path: Path) -> None:
    (tmp_path / "000000000002.log").write_bytes(earlier(2, b"b") + earlier(3, b"c"))
    (tmp_path / "acked").write_bytes(b"")
    assert Outbox(tmp_path).pending(9) == [(2, b"b"), (3, b"c")]


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="the outbox cannot be used") as caught:
        Outbox(tmp_path / "file")
    assert os.linesep not in str(caught.value)
