"""Nothing that was put is lost, whatever is interleaved with whatever crash."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import edge.line.outputs.outbox
from edge.line.outputs import OutputError
from edge.line.outputs.outbox import ACKED, Outbox

LETTERS = bytes(byte for byte in range(256) if byte != 10).decode("latin-1")
MESSAGES = st.lists(st.text(LETTERS, max_size=60), min_size=1, max_size=5)
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
        self.folder = tempfile.TemporaryDirectory()
        self.box = Outbox(Path(self.folder.name))
        self.waiting: list[tuple[int, bytes]] = []
        self.last = 0
        self.newest: bytes | None = None

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(words=MESSAGES)
    def put(self, words: list[str]) -> None:
        messages = [word.encode("latin-1") for word in words]
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

    @rule(torn=st.binary(max_size=40))
    def crash(self, torn: bytes) -> None:
        """kill -9 in the middle of a write: the beginning of a message may be there."""
        files = sorted(Path(self.folder.name).glob("*.log"))
        if files:
            with files[-1].open("ab") as stream:
                stream.write(torn)
        self.box = Outbox(Path(self.folder.name))

    @rule()
    def power_cut(self) -> None:
        """The mark of what is acknowledged is lost: what is still there comes again, and nothing is missing."""
        (Path(self.folder.name) / ACKED).unlink(missing_ok=True)
        self.box = Outbox(Path(self.folder.name))
        again = self.box.pending(10_000)
        assert again[len(again) - len(self.waiting) :] == self.waiting
        assert [number for number, _ in again] == list(range(self.last - len(again) + 1, self.last + 1))
        if again:
            self.box.ack(self.last - len(self.waiting))

    @invariant()
    def what_was_put_and_not_acknowledged_is_there_in_order(self) -> None:
        assert self.box.pending(10_000) == self.waiting
        assert self.box.waiting() == len(self.waiting)
        assert self.box.pending(2) == self.waiting[:2]
        assert self.box.newest() == self.newest
        if self.waiting:
            middle = self.waiting[len(self.waiting) // 2][0]
            assert self.box.pending(3, after=middle) == [one for one in self.waiting if one[0] > middle][:3]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.line.outputs.outbox, "FILE_BYTES", 300)


class TestOutbox(Traffic.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_files_go_when_all_their_messages_are_acknowledged(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    for number in range(200):
        box.put([b"x" * 50])
        box.ack(number + 1)
    assert len(list(tmp_path.glob("*.log"))) <= 2
    assert box.waiting() == 0
    assert Outbox(tmp_path).put([b"next"]) == 201


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


def test_a_message_that_the_disk_forgot_does_not_hold_up_the_others(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.put([b"one", b"two", b"three"])
    file = next(tmp_path.glob("*.log"))
    file.write_bytes(file.read_bytes().replace(b"two", b"tvo"))
    assert [message for _, message in Outbox(tmp_path).pending(9)] == [b"one", b"three"]


def test_a_message_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="newline"):
        Outbox(tmp_path).put([b"a\nb"])


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="the outbox cannot be used") as caught:
        Outbox(tmp_path / "file")
    assert os.linesep not in str(caught.value)
