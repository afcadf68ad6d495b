"""The real engine's records: ids, chain and pictures through kills and full disks."""

import contextlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config.load import load_config
from edge.core.types import Reason, Verdict
from edge.engine.daemon import STOP_WITHIN_S
from edge.exchange.health import METRICS, Drift
from edge.history.eventlog import EventLog
from edge.history.ids import AHEAD
from edge.history.pictures import INPUT, picture_path
from edge.inference.bundle import Bundle, write_bundle
from tests.edge.engine.parts import wait_for
from tests.system.disk import tmpfs
from tests.system.station import HANG_S, ROOT, Engine, Station

DISK_MB = 7


def edge(*arguments: str) -> tuple[int, str]:
    """Exit status, and everything it said."""
    command = [sys.executable, "-m", "edge", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S, check=False)
    return done.returncode, done.stdout + done.stderr


def test_kill_9_at_random_moments_leaves_a_whole_chain_without_a_hole(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle, rate_hz=50)
    moments, seen = random.Random(5), 0
    for _ in range(4):
        with Engine(station, "--no-page") as engine:
            engine.ready()
            wait_for(lambda least=seen: len(station.rows()) > least)
            time.sleep(moments.uniform(0, 0.3))
            assert engine.stop(signal.SIGKILL) == -signal.SIGKILL
        health = station.health()
        assert health is not None
        seen = max(len(station.rows()), health.last_id)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= seen
    assert all(row.verdict is Verdict.ERROR for row in rows if row.reason is Reason.ENGINE_DIED)
    assert all(row.bundle_digest == tiny_bundle.digest for row in rows if row.reason is not Reason.ENGINE_DIED)
    assert sum(row.reason is Reason.ENGINE_DIED for row in rows) <= 4 * 2, "only what was in flight"
    status, said = edge("log", "verify", "--config", str(station.file))
    assert (status, said.split()[0]) == (0, str(len(rows)))


def test_a_stop_ends_in_time_while_the_disk_stands_and_every_part_is_accounted_for(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    """A lock that another process holds makes rows wait like a disk that does not answer."""
    station = Station(tmp_path, tiny_bundle, rate_hz=50)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 5)
        with contextlib.closing(sqlite3.connect(station.config.events_db)) as other:
            other.execute("BEGIN IMMEDIATE")
            stored = len(station.rows())
            wait_for(lambda: (health := station.health()) is not None and health.recorder_queue >= AHEAD - 1)
            before = time.monotonic()
            assert engine.stop(signal.SIGTERM) == 1
            assert time.monotonic() - before < STOP_WITHIN_S + 2
    assert "Traceback" not in engine.said
    assert "rows are not stored" in engine.said
    health = station.health()
    assert health is not None
    told = health.last_id
    assert stored + AHEAD - 1 <= told <= stored + AHEAD
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert {row.reason for row in rows[stored:told]} == {Reason.ENGINE_DIED}
    assert {row.reason for row in rows[told:]} <= {Reason.SCORE}


def test_a_history_that_is_deleted_under_a_running_engine_is_whole_after_a_kill(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    station = Station(tmp_path, tiny_bundle, rate_hz=50)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 5)
        for path in station.config.state_dir.glob("events.db*"):
            path.unlink()
        wait_for(lambda: len(station.rows()) >= 10)
        engine.stop(signal.SIGKILL)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert {row.reason for row in rows[:5]} == {Reason.SCORE}
    assert edge("log", "verify", "--config", str(station.file))[0] == 0


def test_what_the_engine_stored_is_replayed_to_the_same_score(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: {row.verdict for row in station.rows()} >= {Verdict.OK, Verdict.NG})
        assert engine.stop() == 0
    for verdict in (Verdict.OK, Verdict.NG):
        row = next(row for row in station.rows() if row.verdict is verdict)
        status, said = edge("replay", str(row.id), "--config", str(station.file))
        assert (status, "exactly" in said) == (0, True), said


def test_drift_is_told_in_health_metrics_and_log_and_stays_after_a_restart(tmp_path: Path, tiny_bundle: Bundle) -> None:
    """The held-out parts scored about 1; those on the line score more, and are still OK."""
    facts = tiny_bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
    facts |= {"version": "held-out", "holdout_scores": [1.0 + n / 100 for n in range(40)]}
    files = {name: tiny_bundle.file(name) for name in tiny_bundle.manifest.files}
    station = Station(tmp_path, write_bundle(tmp_path / "bundle", facts, files), rate_hz=50)
    (station.camera / "b_bad.png").unlink()

    def drift() -> Drift | None:
        health = station.health()
        return health.drift if health else None

    def alarm() -> bool:
        now = drift()
        return now is not None and now.alarm

    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(alarm)
        wait_for(lambda: "linewatch_drift_alarm 1.0" in (station.config.run_dir / METRICS).read_text())
        assert engine.stop() == 0
    told = drift()
    assert told is not None
    assert told.since is not None
    assert "higher" in told.detail
    assert engine.said.count("drift: since part") == 1
    assert {row.verdict for row in station.rows()} == {Verdict.OK}, "a drift alarm is no verdict"
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(alarm)
        assert engine.stop() == 0
    again = drift()
    assert again is not None
    assert again.since == told.since
    assert "drift: since part" not in engine.said


@pytest.fixture
def small_disk(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[Station]:
    """A station whose state_dir is a disk of its own."""
    station = Station(tmp_path, tiny_bundle, rate_hz=90)
    station.file.write_text(f"{station.file.read_text()}[storage]\nkeep_free_mb = 2\nmax_image_mb = 10\n")
    station.config = load_config(station.file)
    with tmpfs(station.config.state_dir, f"size={DISK_MB}m"):
        yield station


@pytest.fixture
def small_run_dir(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[Station]:
    station = Station(tmp_path, tiny_bundle, rate_hz=50)
    with tmpfs(station.config.run_dir, f"size={DISK_MB}m"):
        yield station


def test_a_full_run_dir_makes_reports_old_and_costs_no_row(small_run_dir: Station) -> None:
    station = small_run_dir
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 5)
        other = fill(station.config.run_dir, leave=0)
        wait_for(lambda: "run_dir is full" in engine.said)
        rows = len(station.rows())
        wait_for(lambda: len(station.rows()) >= rows + 20)
        other.unlink()
        wait_for(lambda: "run_dir has space again" in engine.said)
        wait_for(lambda: "pictures are stored again" in engine.said)
        assert engine.stop() == 0
    assert [row.id for row in station.rows()] == list(range(1, len(station.rows()) + 1))


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file; the engine goes on writing meanwhile."""
    other = disk / "of somebody else"
    with contextlib.suppress(OSError), other.open("wb", buffering=0) as stream:
        while shutil.disk_usage(disk).free > leave:
            stream.write(b"x" * 4096)
    return other


def test_a_full_disk_stops_pictures_and_not_rows_and_all_comes_back(small_disk: Station) -> None:
    config = small_disk.config

    def fault() -> str:
        health = small_disk.health()
        return (health.storage_fault or "") if health else ""

    with Engine(small_disk, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(small_disk.rows()) >= 40)
        other = fill(config.state_dir, leave=1_500_000)
        wait_for(fault)
        assert "storage.keep_free_mb" in fault()
        wait_for(lambda: "linewatch_storage_fault 1.0" in (config.run_dir / METRICS).read_text())
        rows = len(small_disk.rows())
        wait_for(lambda: len(small_disk.rows()) >= rows + 40)
        assert not picture_path(config.images_dir, small_disk.rows()[-2].id, "frame").exists()
        other.unlink()
        wait_for(lambda: not fault())
        wait_for(lambda: picture_path(config.images_dir, small_disk.rows()[-3].id, INPUT).exists())
        assert engine.stop() == 0
    assert {row.reason for row in small_disk.rows()} == {Reason.SCORE}
    assert engine.said.count("pictures cannot be stored") == 1
    assert engine.said.count("pictures are stored again") == 1


def test_when_rows_find_no_place_pictures_go_and_then_the_engine_stops_safely(small_disk: Station) -> None:
    config = small_disk.config
    with Engine(small_disk, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(small_disk.rows()) >= 40)
        other = fill(config.state_dir, leave=0)
        before = len(small_disk.rows())
        assert engine.ended() == 1
    lines = [line for line in engine.said.splitlines() if line.startswith("linewatch: ")]
    assert len(lines) == 1
    assert "full" in lines[0]
    assert "outputs safe" in engine.said
    assert "Traceback" not in engine.said
    assert not list(config.images_dir.rglob("*.jpg")), "pictures went first"
    assert len(small_disk.rows()) >= before
    with Engine(small_disk, "--no-page") as engine:
        assert engine.ended() == 1
    assert "full" in next(line for line in engine.said.splitlines() if line.startswith("linewatch: "))
    other.unlink()
    with Engine(small_disk, "--no-page") as engine:
        engine.ready()
        assert engine.stop() == 0
    log = EventLog(config.events_db, read_only=True)
    assert log.verify().last_id >= before
    log.close()
