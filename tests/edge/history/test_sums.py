"""The sums of the shift report say what the rows say, whatever ended the engine and whichever release wrote them."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Inspection, Reason, Region, Verdict
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.reading import sums
from edge.history.reading.sums import QUARTER_S, Sums
from tests.edge.engine.parts import inspection

START = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
KINDS = (
    (Verdict.OK, Reason.SCORE, ""),
    (Verdict.NG, Reason.SCORE, "scratch"),
    (Verdict.NG, Reason.SCORE, ""),
    (Verdict.ERROR, Reason.LATE, ""),
)
WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from edge.history.eventlog import EventLog
from tests.edge.history.test_sums import row
log = EventLog(Path(sys.argv[1]))
number = log.last_id()
while True:
    rows = [row(number + step, timedelta(seconds=97 * (number + step)), (number + step) % 4) for step in (1, 2, 3)]
    log.append(*rows)
    number += 3
    print(number, flush=True)
"""
seconds = st.integers(0, 4 * 3600)


def row(number: int, after: timedelta, kind: int) -> Inspection:
    """Return a row of one of the KINDS, so long after START."""
    verdict, reason, label = KINDS[kind]
    regions = (Region(1, 1, 5, 5, 25, 80.0, label), Region(9, 9, 5, 5, 25, 70.0, "other")) if label else ()
    return replace(inspection(number, verdict=verdict), at=START + after, reason=reason, regions=regions)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def filled(path: Path, rows: int = 40) -> list[Inspection]:
    """Store rows of four hours, and set the clock back now and then."""
    found = [row(one, timedelta(seconds=367 * (one % 35)), one % 4) for one in range(1, rows + 1)]
    with closing(EventLog(path)) as log:
        log.append(*found)
    return found


def read(path: Path, start: datetime, end: datetime) -> Counter[tuple[datetime, Verdict, Reason, str]]:
    found: Counter[tuple[datetime, Verdict, Reason, str]] = Counter()
    with closing(Sums(path)) as reader:
        for one in reader.between(start, end):
            found[one.at, one.verdict, one.reason, one.label] += one.parts
    return found


def counted(rows: list[Inspection], start: datetime, end: datetime) -> Counter[tuple[datetime, Verdict, Reason, str]]:
    """Count rows without the help of the code under test."""
    return Counter(
        (
            START + QUARTER_S * timedelta(seconds=(one.at - START).total_seconds() // QUARTER_S),
            one.verdict,
            one.reason,
            one.regions[0].label if one.regions else "",
        )
        for one in rows
        if start <= one.at < end
    )


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


DAY = (START, START + timedelta(days=1))


@pytest.fixture(scope="module", params=[120, 70, 0], ids=["summed up", "half of it", "from before"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Inspection]]:
    """A history of which the sums count so many rows: a release that keeps none stored the others."""
    path = tmp_path_factory.mktemp("sums") / "events.db"
    rows = filled(path, 120)
    with closing(EventLog(path)) as log, log._db.transaction():
        sums.count_anew(log._db, request.param)
    return path, rows


@given(first=seconds, last=seconds)
@settings(max_examples=60)
def test_the_sums_of_any_time_are_those_of_its_rows(
    history: tuple[Path, list[Inspection]], first: int, last: int
) -> None:
    start, end = START + timedelta(seconds=first), START + timedelta(seconds=last)
    assert read(history[0], start, end) == counted(history[1], start, end)


def test_a_history_from_before_the_sums_is_read_right_and_then_summed_up(path: Path) -> None:
    rows = filled(path)
    changed(path, "DROP TABLE sums", "DROP TABLE summed")
    assert read(path, *DAY) == counted(rows, *DAY)
    with closing(EventLog(path)) as log:
        assert sums.summed_to(log._db) == 40
        assert sums.agree(log._db)
    assert read(path, *DAY) == counted(rows, *DAY)


def test_the_oldest_history_is_summed_up_too(path: Path) -> None:
    shutil.copy(Path(__file__).with_name("history_version_1.db"), path)
    with closing(EventLog(path)) as log:
        assert sums.summed_to(log._db) == log.last_id() > 0
        assert sum(sums.totals(log._db).values()) == log.counts().total


def test_a_killed_engine_leaves_sums_that_are_those_of_its_rows(path: Path) -> None:
    repo = Path(__file__).parents[3]
    for kept in (30, 90):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, cwd=repo, stdout=subprocess.PIPE, text=True) as engine:
            assert engine.stdout is not None
            while int(engine.stdout.readline()) < kept:
                pass
            engine.kill()
        assert engine.returncode == -signal.SIGKILL
        with closing(EventLog(path, read_only=True)) as log:
            stored = list(log.between())
            assert len(stored) >= kept
            assert sums.summed_to(log._db) == log.last_id()
            log.verify()
        assert read(path, *DAY) == counted(stored, *DAY)


def test_altered_sums_are_found_and_the_next_start_counts_anew(path: Path) -> None:
    filled(path)
    changed(path, "UPDATE sums SET parts = parts + 1 WHERE verdict = 'NG'")
    with closing(EventLog(path, read_only=True)) as log, pytest.raises(HistoryError, match="sums of the shift report"):
        log.verify()
    with closing(EventLog(path)) as log:
        log.verify()
