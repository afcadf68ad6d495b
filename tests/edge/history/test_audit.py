"""The audit: rows that survive, are chained, and cannot be changed unseen."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.history.audit import AUDIT, AuditLog, Deed
from edge.history.database import HistoryError

SWITCH = Deed("Anna", "operator", "page", "192.0.2.7", "Line 3", "recipe", "default", "washer", "asked")


def five_rows(folder: Path) -> Path:
    log = AuditLog(folder)
    for number in range(5):
        log.append(replace(SWITCH, after=f"washer {number}"))
    log.close()
    return folder / AUDIT


def test_rows_are_read_back_newest_first_and_by_another_process_too(tmp_path: Path) -> None:
    one, other = AuditLog(tmp_path), AuditLog(tmp_path)
    assert [one.append(SWITCH), other.append(replace(SWITCH, outcome="done")), one.append(SWITCH)] == [1, 2, 3]
    reader = AuditLog(tmp_path, read_only=True)
    assert [row.id for row in reader.recent(2)] == [3, 2]
    assert reader.recent(9, before=2)[0].deed == SWITCH
    number, end = reader.verify()
    assert (number, reader.hash_of(3)) == (3, end)
    for log in (one, other, reader):
        log.close()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE deeds SET who = 'Bert' WHERE id = 3", "row 3 of the audit was altered"),
        ("DELETE FROM deeds WHERE id = 3", "row 3 of the audit is missing"),
        ("DELETE FROM deeds WHERE id = 5", "row 4 of the audit is not the last"),
        ("DELETE FROM deeds", "row 0 of the audit is not the last"),
    ],
)
def test_a_row_that_was_changed_or_taken_out_is_named(tmp_path: Path, change: str, found: str) -> None:
    file = five_rows(tmp_path)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(change)
    log = AuditLog(tmp_path, read_only=True)
    with pytest.raises(HistoryError, match=found):
        log.verify()
    log.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=3, max_size=3))
def test_any_text_is_one_line_and_leaves_the_chain_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("audit")
    log = AuditLog(folder)
    log.append(replace(SWITCH, who=texts[0], before=texts[1], outcome=texts[2] * 60))
    assert log.verify()[0] == 1
    assert "\n" not in log.recent(1)[0].deed.outcome
    log.close()
