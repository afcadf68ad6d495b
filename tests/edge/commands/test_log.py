"""`edge log verify` and `edge log export`, as a person uses them."""

import csv
import io
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.config.load import load_config
from edge.core.types import Verdict
from edge.history.csv_export import HEADER, ROWS_AT_ONCE, as_csv
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle
from tests.edge.commands.test_main import ROOT, complained, edge, station
from tests.edge.engine.parts import inspection

T0 = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def file(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A station with nine rows, one a minute from midnight."""
    file = station(tmp_path, tiny_bundle.path)
    events = EventLog(load_config(file).events_db)
    for number in range(1, 10):
        row = inspection(number, verdict=list(Verdict)[number % 3])
        events.append(replace(row, at=T0 + timedelta(minutes=number), detail="=1+1" if number == 5 else ""))
    events.close()
    return file


def exported(file: Path, *arguments: str) -> list[dict[str, str]]:
    result = edge("log", "export", "--config", file, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_verify_is_one_line_with_the_end_of_the_chain_that_can_be_noted(file: Path) -> None:
    result = edge("log", "verify", "--config", file)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("9 rows, none altered")
    noted = result.stdout.split()[-1]
    assert noted.startswith("9:")
    assert edge("log", "verify", "--config", file, "--expect", noted).returncode == 0
    other = f"9:{'0' * 64}"
    assert "row 9 is not the one" in complained(edge("log", "verify", "--config", file, "--expect", other))
    assert "ID:HASH" in complained(edge("log", "verify", "--config", file, "--expect", "nine"), status=2)


def test_verify_names_the_first_wrong_row_in_one_line(file: Path) -> None:
    with closing(sqlite3.connect(load_config(file).events_db)) as db, db:
        db.execute("UPDATE inspections SET verdict = 'OK', score = 0.1 WHERE id IN (4, 7)")
    line = complained(edge("log", "verify", "--config", file))
    assert "row 4 was altered" in line
    with closing(sqlite3.connect(load_config(file).events_db)) as db, db:
        db.execute("DELETE FROM inspections WHERE id >= 3")
    assert "row 3 is missing, and all up to row 9" in complained(edge("log", "verify", "--config", file))


def test_export_is_chosen_by_time_and_verdict(file: Path) -> None:
    rows = exported(file)
    assert tuple(rows[0]) == HEADER
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 10)]
    assert float(rows[0]["score"]) == inspection(1).score
    assert rows[4]["detail"] == "'=1+1", "no spreadsheet computes a text"
    chosen = exported(file, "--from", "2026-01-02T00:03", "--to", "2026-01-02T00:07Z", "--verdict", "OK")
    assert [row["id"] for row in chosen] == ["3", "6"]
    assert exported(file, "--from", "2026-01-03") == []


def test_an_export_to_a_full_disk_is_one_line_and_no_success(file: Path) -> None:
    command = [sys.executable, "-m", "edge", "log", "export", "--config", str(file)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "linewatch: the output is not whole (No space left on device); make room\n"


def test_the_removed_option_csv_is_refused_in_one_line_that_names_export(file: Path) -> None:
    assert "`edge log export`" in complained(edge("log", "--config", file, "--csv"), status=2)


@pytest.mark.parametrize("arguments", [("--from", "noon"), ("--verdict", "MAYBE"), ("--to", "2026-13-01")])
def test_a_wrong_choice_is_one_line_and_status_2(file: Path, arguments: tuple[str, str]) -> None:
    assert arguments[1] in complained(edge("log", "export", "--config", file, *arguments), status=2)


def test_the_table_is_made_piece_by_piece() -> None:
    rows = (inspection(number) for number in range(1, 3 * ROWS_AT_ONCE))
    pieces = as_csv(rows)
    first = next(pieces)
    assert first.count("\r\n") == ROWS_AT_ONCE + 1
    assert next(rows).id == ROWS_AT_ONCE + 1, "no more was read than was asked for"


def test_a_history_of_version_1_is_not_read_before_the_engine_has_brought_it_up(file: Path) -> None:
    path = load_config(file).events_db
    for old in path.parent.glob("events.db*"):
        old.unlink()
    shutil.copy(Path(__file__).parents[1] / "history" / "history_version_1.db", path)
    assert "start the engine once" in complained(edge("log", "verify", "--config", file))
    EventLog(path).close()
    assert edge("log", "verify", "--config", file).stdout.startswith("12 rows")
