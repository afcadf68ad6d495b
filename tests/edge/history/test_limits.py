"""Limits that people set: the last one of a bundle counts, and a file that was altered is never believed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge.history.database import HistoryError
from edge.history.limits import LIMITS, LimitLog, limit_in_force

END = (7, "f" * 64)


def change(folder: Path, digest: str, after: float | None) -> None:
    with closing(LimitLog(folder)) as limits:
        limits.append("Anna", "rust marks are fine", digest, (50.0, after), END)


def in_force(folder: Path, digest: str) -> float | None:
    found = limit_in_force(folder, digest)
    return None if found is None else found.after


def test_the_last_change_of_a_bundle_counts_and_can_be_taken_back(tmp_path: Path) -> None:
    assert in_force(tmp_path, "a") is None
    change(tmp_path, "a", 60.0)
    change(tmp_path, "b", 70.0)
    change(tmp_path, "a", 65.0)
    assert (in_force(tmp_path, "a"), in_force(tmp_path, "b"), in_force(tmp_path, "c")) == (65.0, 70.0, None)
    change(tmp_path, "a", None)
    assert in_force(tmp_path, "a") is None
    with closing(LimitLog(tmp_path, read_only=True)) as limits:
        assert [one.after for one in limits.recent(9)] == [None, 65.0, 70.0, 60.0]
        assert (limits.recent(1)[0].who, limits.recent(1)[0].last_id) == ("Anna", 7)


@pytest.mark.parametrize(
    "what",
    [
        "UPDATE limits SET after = 90 WHERE number = 2",
        "UPDATE limits SET who = 'Bo' WHERE number = 1",
        "DELETE FROM limits WHERE number = 1",
        "INSERT INTO limits SELECT 4, at, who, reason, bundle_digest, before, 99, last_id, last_hash, hash, hash"
        " FROM limits WHERE number = 3",
    ],
)
def test_a_limit_that_was_written_by_hand_judges_nothing(tmp_path: Path, what: str) -> None:
    for after in (60.0, 61.0, 62.0):
        change(tmp_path, "a", after)
    with closing(sqlite3.connect(tmp_path / LIMITS)) as file, file:
        file.execute(what)
    with pytest.raises(HistoryError, match="was altered"):
        limit_in_force(tmp_path, "a")


def test_a_file_that_is_none_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / LIMITS).write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(HistoryError, match="file of limits"):
        limit_in_force(tmp_path, "a")
