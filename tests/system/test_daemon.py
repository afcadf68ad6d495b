"""The real engine in a process of its own: what a line, a power cut and an operator do to it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cameras.capture import Capture
from edge.core.types import Image, Reason, Verdict
from edge.core.worker import WorkerError
from edge.engine.daemon import run_engine
from edge.exchange.health import LATEST, METRICS, State
from edge.exchange.live import read_live
from edge.exchange.requests import REQUESTS, Requests
from edge.exchange.sockets import connect
from edge.history.pictures import picture_path
from edge.inference.bundle import Bundle, open_bundle, write_bundle
from edge.inference.detector import Detector
from edge.inference.preprocess import prepare
from edge.line.outputs.memory import MemoryOutput
from tests.edge.engine.parts import wait_for
from tests.edge.exchange.test_requests import BAD_FRAMES, frame, send
from tests.system.station import HANG_S, Engine, Station
from tests.tiny import bad_image, write_tiny_bundle


def test_every_trigger_is_one_row_and_the_bad_part_is_ng(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        wait_for(lambda: {row.verdict for row in station.rows()[-40:]} >= {Verdict.OK, Verdict.NG})
        wait_for(lambda: len(station.rows()) >= 12)
        assert engine.stop() == 0
    rows, health = station.rows(), station.health()
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert [row.trigger_id for row in rows] == [f"free-run-{n}" for n in range(1, len(rows) + 1)]
    assert {row.reason for row in rows} == {Reason.SCORE}
    assert all(row.regions for row in rows if row.verdict is Verdict.NG)
    assert health is not None
    assert sum(health.counts.values()) == health.last_id == len(rows)
    assert (health.state, health.recorder_queue) == (State.STOPPED, 0)
    assert f'linewatch_inspections_total{{reason="score",verdict="NG"}} {health.counts["NG"]:.1f}' in (
        station.config.run_dir / METRICS
    ).read_text(encoding="utf-8")
    assert picture_path(station.config.images_dir, rows[-1].id, "heat").exists()
    assert "Traceback" not in engine.said
    assert "outputs safe" in engine.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_page_and_takes_it_along_when_it_stops(
    tmp_path: Path, tiny_bundle: Bundle, number: signal.Signals
) -> None:
    station = Station(tmp_path, tiny_bundle)
    with Engine(station) as engine:
        url = engine.ready().removeprefix("READY ")
        assert url == f"http://127.0.0.1:{station.port}"
        with urllib.request.urlopen(f"{url}/api/status", timeout=HANG_S) as response:
            assert json.load(response)["engine"]["state"] == "running"
        assert_the_page_has_what_the_engine_leaves_of_the_cpu(engine)
        assert engine.stop(number) == 0
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", station.port), timeout=5):
        pass
    assert "Traceback" not in engine.said


def assert_the_page_has_what_the_engine_leaves_of_the_cpu(engine: Engine) -> None:
    """A priority holds only inside one session: Linux gives each session the same share."""
    (page,) = map(int, Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children").read_text().split())
    assert (os.sched_getscheduler(page), os.getpriority(os.PRIO_PROCESS, page)) == (os.SCHED_BATCH, 19)
    assert os.getsid(page) == os.getsid(engine.process.pid)
    assert os.getpgid(page) != os.getpgid(engine.process.pid), "Ctrl-C reaches the engine only"


def test_a_page_that_dies_is_started_again(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthz", timeout=HANG_S):
            return True
        return False

    with Engine(station) as engine:
        url = engine.ready().removeprefix("READY ")
        children = Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children")
        first = children.read_text().split()
        os.kill(int(first[0]), signal.SIGKILL)
        wait_for(lambda: children.read_text().split() not in ([], first))
        wait_for(answers)
        rows = len(station.rows())
        wait_for(lambda: len(station.rows()) > rows)
        assert engine.stop() == 0
    assert engine.said.count("the page died") == 1


def test_after_kill_9_ids_go_on_and_the_page_goes_too(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    with Engine(station) as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 5)
        assert engine.stop(signal.SIGKILL) == -signal.SIGKILL
    before = station.rows()
    leftover = station.config.run_dir / "requests" / f"{'0' * 32}.npy"  # where earlier releases took requests
    leftover.parent.mkdir()
    leftover.write_bytes(b"asked of the dead engine")
    with Engine(station) as engine:
        engine.ready()
        assert leftover.read_bytes() == b"asked of the dead engine", "nobody looks there"
        wait_for(lambda: len(station.rows()) >= len(before) + 5)
        assert engine.stop() == 0
    rows = station.rows()
    assert rows[: len(before)] == before
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))


def test_a_camera_that_goes_and_comes_back(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle, deadline_ms=500.0)
    away = tmp_path / "away"

    def state() -> State | None:
        health = station.health()
        return health.state if health else None

    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 3)
        station.camera.rename(away)
        wait_for(lambda: state() is State.CAMERA_FAULT)
        wait_for(lambda: [row.reason for row in station.rows()[-1:]] == [Reason.NO_FRAME])
        lost = station.rows()[-1].id
        away.rename(station.camera)
        wait_for(lambda: state() is State.RUNNING)
        wait_for(lambda: any(row.id > lost and row.reason is Reason.SCORE for row in station.rows()))
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert all(row.verdict is Verdict.ERROR for row in rows if row.reason is Reason.NO_FRAME)


def test_it_starts_without_a_camera_and_rejects(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle, deadline_ms=100.0)
    shutil.rmtree(station.camera)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 3)
        health = station.health()
        assert engine.stop() == 0
    assert {(row.verdict, row.reason) for row in station.rows()} == {(Verdict.ERROR, Reason.NO_FRAME)}
    assert health is not None
    assert health.state is State.CAMERA_FAULT
    assert str(station.camera) in health.detail


def test_an_upload_is_answered_between_parts(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    detector = Detector.from_bundle(tiny_bundle)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        box = Requests(station.config.run_dir)
        answer = box.ask(prepare(bad_image(), detector.spec), HANG_S)
        assert engine.stop() == 0
    assert answer.score == pytest.approx(detector.predict(bad_image()).score)
    assert answer.bundle == tiny_bundle.title
    ids = [row.id for row in station.rows()]
    assert ids == list(range(1, len(ids) + 1)), "an upload is not a part"


def test_systemd_hears_ready_and_the_beat_of_the_loop(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = Station(tmp_path, tiny_bundle)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(HANG_S)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        with Engine(station, "--no-page") as engine:
            engine.ready()
            heard = ""
            while "READY=1" not in heard:
                heard = listener.recv(1000).decode()
            while heard != "WATCHDOG=1":
                heard = listener.recv(1000).decode()
            engine.process.send_signal(signal.SIGTERM)
            while heard != "STOPPING=1":
                heard = listener.recv(1000).decode()
            assert engine.ended() == 0


@pytest.mark.parametrize("thread", ["capture", "recorder"])
def test_a_dead_thread_stops_the_engine_with_outputs_safe(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    """In this process, because a driver's defect must be put in; signals are put back after."""
    station = Station(tmp_path, tiny_bundle)
    outputs: list[MemoryOutput] = []

    class Watched(MemoryOutput):
        def __init__(self) -> None:
            super().__init__()
            outputs.append(self)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("edge.line.wiring.MemoryOutput", Watched)
    if thread == "capture":
        monkeypatch.setattr(Capture, "_read_frames", fail)
    else:
        monkeypatch.setattr("edge.history.eventlog.EventLog.append", fail)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    interval = sys.getswitchinterval()
    try:
        with pytest.raises(WorkerError, match=f"thread {thread} died"):
            run_engine(station.file, with_page=False)
    finally:
        sys.setswitchinterval(interval)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert [output.line for output in outputs] == ["reject"]
    health = station.health()
    assert health is not None
    assert health.state is State.STOPPED
    assert thread in health.detail


def refused(station: Station, *arguments: str) -> tuple[int, str]:
    with Engine(station, *arguments) as engine:
        status = engine.ended()
    lines = [line for line in engine.said.splitlines() if line.startswith("linewatch: ")]
    assert len(lines) == 1, engine.said
    assert "Traceback" not in engine.said
    return status, lines[0]


def test_a_second_engine_on_the_same_folders_is_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert refused(station, "--no-page") == (
            1,
            f"linewatch: {station.config.state_dir}: another engine uses it; stop that one first",
        )
        assert engine.stop() == 0


def test_a_port_in_use_is_one_line(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", station.port))
        taken.listen()
        status, line = refused(station)
    assert status == 1
    assert f"127.0.0.1:{station.port}" in line


def test_a_missing_bundle_a_bad_key_and_an_unusable_folder_are_one_line_each(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    station = Station(tmp_path, tiny_bundle)
    text = station.file.read_text()
    (tmp_path / "file").write_text("")
    for old, new, wanted, words in (
        (str(tiny_bundle.path), "nowhere", 2, "bundle: {0}/nowhere: no such bundle folder"),
        ("rate_hz", "rate", 2, "trigger.rate"),
        ('state_dir = "state"', 'state_dir = "file/state"', 1, "file"),
    ):
        station.file.write_text(text.replace(old, new))
        status, line = refused(station, "--no-page")
        assert status == wanted
        assert words.format(tmp_path) in line


def test_a_damaged_history_is_refused_and_left_as_it_is(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    station.config.state_dir.mkdir()
    station.config.events_db.write_bytes(b"no database" * 100)
    status, line = refused(station, "--no-page")
    assert status == 1
    assert "events.db" in line
    assert "docs/how-to/troubleshoot.md" in line
    assert station.config.events_db.read_bytes() == b"no database" * 100


def test_a_bundle_whose_references_this_cpu_does_not_reproduce_never_gets_ready(tmp_path: Path) -> None:
    good = write_tiny_bundle(tmp_path / "good", tmp_path / "work")
    facts = good.manifest.model_dump(mode="json", exclude={"format", "files"})
    facts["references"][0]["score"] = 30.0
    write_bundle(tmp_path / "bad", facts, {name: good.file(name) for name in good.manifest.files})
    station = Station(tmp_path, open_bundle(tmp_path / "bad"))
    status, line = refused(station, "--no-page")
    assert status == 1
    assert "references/good.png" in line
    assert station.rows() == []


def test_the_inspection_is_not_disturbed_by_a_flood_of_uploads(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle, rate_hz=20)
    tensor: Image = np.zeros((1, 64, 64, 3), np.uint8)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        box = Requests(station.config.run_dir)
        answers = [box.ask(tensor, HANG_S) for _ in range(20)]
        wait_for(lambda: len(station.rows()) >= 10)
        assert engine.stop() == 0
    rows = station.rows()
    assert len(answers) == 20
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert {row.reason for row in rows} == {Reason.SCORE}


def test_between_rare_parts_the_engine_reports_and_answers_uploads(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle, rate_hz=0.001)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) == 1)
        written: set[object] = set()

        def reported() -> bool:
            health = station.health()
            written.add(health.written_at if health else None)
            return len(written) >= 4

        wait_for(reported)
        box = Requests(station.config.run_dir)
        box.ask(np.zeros((1, 64, 64, 3), np.uint8), HANG_S)
        assert engine.stop() == 0
    assert len(station.rows()) == 1


def test_in_a_camera_fault_the_live_picture_goes_on_without_a_part(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle, rate_hz=0.05)
    for name in ("a_good.png", "b_bad.png"):
        cv2.imwrite(str(station.camera / name), np.zeros((96, 128, 3), np.uint8))

    def view() -> str | None:
        found = read_live(station.config.run_dir / LATEST)
        return found.key if found is not None and found.part is None else None

    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: view() is not None)
        first = view()
        wait_for(lambda: view() not in {None, first})
        assert len(station.rows()) <= 2, "no part was needed for it"
        assert engine.stop() == 0


def test_a_run_folder_that_is_taken_away_stops_the_engine_with_one_line(tmp_path: Path, tiny_bundle: Bundle) -> None:
    station = Station(tmp_path, tiny_bundle)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 2)
        station.config.run_dir.rename(tmp_path / "away")
        assert engine.ended() == 1
    assert [line for line in engine.said.splitlines() if line.startswith("linewatch: ")] == [
        engine.said.splitlines()[-1]
    ]
    assert str(station.config.run_dir) in engine.said
    assert "outputs safe" in engine.said
    assert "Traceback" not in engine.said


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_nothing_that_the_page_writes_stops_the_engine_or_keeps_it_from_starting(
    tmp_path: Path, tiny_bundle: Bundle, runtime: str
) -> None:
    station = Station(tmp_path, tiny_bundle)
    station.file.write_text(station.file.read_text().replace("[page]", f'runtime = "{runtime}"\n[page]'))
    run_dir = station.config.run_dir
    for name in (REQUESTS, "requests", f"requests/{'0' * 32}.npy"):  # the last two: where earlier releases looked
        (run_dir / name).mkdir(parents=True)
    os.mkfifo(run_dir / "requests" / f"{'1' * 32}.json")
    with Engine(station, "--no-page") as engine:
        engine.ready()
        page = Requests(run_dir)
        for data in (*BAD_FRAMES.values(), frame(b'{"height": 8, "width": 8}', bytes(192)), b"GET / HTTP/1.1"):
            send(run_dir, data)
            send(run_dir, data, read=False)
        with contextlib.ExitStack() as silent:
            for _ in range(6):
                silent.enter_context(connect(run_dir, REQUESTS, HANG_S))
            before = len(station.rows())
            wait_for(lambda: len(station.rows()) > before + 5)
        assert page.ask(np.zeros((1, 64, 64, 3), np.uint8), HANG_S).bundle == tiny_bundle.title
        assert engine.stop() == 0
    rows = station.rows()
    assert {row.reason for row in rows} == {Reason.SCORE}
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert "Traceback" not in engine.said
