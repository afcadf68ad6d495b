"""The engine's start: the line opens last, and what was opened is closed in reverse."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.cameras.capture import Capture
from edge.config.station import StationConfig
from edge.core.files import LOCK
from edge.engine.daemon import run_engine
from edge.engine.page_process import PageProcess
from edge.engine.recorder import Recorder
from edge.exchange.health import HEALTH, LATEST, LATEST_RAW, METRICS, State
from edge.history.eventlog import EventLog
from edge.history.ids import MARK, Ids
from edge.inference.bundle import Bundle
from edge.line import LineError
from edge.line.outputs.memory import MemoryOutput
from edge.line.wiring import Line, open_line
from tests.system.station import Station


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that open and close the engine's parts, in their order."""
    heard: list[str] = []

    def note(owner: type, name: str, word: str) -> None:
        original = getattr(owner, name)

        def noting(*arguments: Any, **named: Any) -> Any:
            heard.append(word)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, noting)

    for owner, opens, closes in (
        (EventLog, "__init__", "close"),
        (Ids, "__init__", "close"),
        (PageProcess, "start", "stop"),
        (Recorder, "start", "stop"),
        (Capture, "start", "stop"),
    ):
        note(owner, opens, f"{owner.__name__} opens")
        note(owner, closes, f"{owner.__name__} closes")
    note(Line, "close", "Line closes")
    monkeypatch.setattr(PageProcess, "_spawn", lambda _: None)
    return heard


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Put back the signal handlers and the switch interval, which an engine sets for its whole process."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    for number, handler in handlers.items():
        signal.signal(number, handler)


OPENED = ["EventLog", "Ids", "PageProcess", "Recorder", "Capture"]


def test_the_line_opens_last_and_when_it_cannot_all_before_it_is_closed_in_reverse(
    tmp_path: Path, tiny_bundle: Bundle, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> Line:
        heard.append("Line opens")
        raise LineError("no such chip")

    monkeypatch.setattr("edge.engine.daemon.open_line", refuse)
    with pytest.raises(LineError, match="no such chip"):
        run_engine(Station(tmp_path, tiny_bundle).file)
    opened = [f"{name} opens" for name in [*OPENED, "Line"]]
    assert heard == opened + [f"{name} closes" for name in reversed(OPENED)]


def test_the_line_is_closed_before_everything_that_was_opened_before_it(
    tmp_path: Path, tiny_bundle: Bundle, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LineError("the history cannot be told")

    monkeypatch.setattr("edge.engine.daemon.open_line", lambda config: heard.append("Line opens") or open_line(config))
    monkeypatch.setattr("edge.engine.daemon.Ids.go_on_after", fail)
    with pytest.raises(LineError, match="cannot be told"):
        run_engine(Station(tmp_path, tiny_bundle).file)
    assert heard[len(OPENED) :] == ["Line opens", "Line closes", *(f"{name} closes" for name in reversed(OPENED))]


def test_a_page_whose_port_is_taken_keeps_recorder_camera_and_line_from_opening(
    tmp_path: Path, tiny_bundle: Bundle, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(_: object) -> None:
        raise LineError("the port is taken")

    monkeypatch.setattr(PageProcess, "_check_port", taken)
    with pytest.raises(LineError, match="port is taken"):
        run_engine(Station(tmp_path, tiny_bundle).file)
    assert heard == ["EventLog opens", "Ids opens", "PageProcess opens", "Ids closes", "EventLog closes"]


def refusing(words: str) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise LineError(words)

    return refuse


@pytest.mark.parametrize("part", ["EventLog", "Ids", "Recorder", "make_camera", "open_line"])
def test_a_part_that_fails_at_the_start_is_told_in_health(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(PageProcess, "_spawn", lambda _: None)
    monkeypatch.setattr(f"edge.engine.daemon.{part}", refusing(f"{part} is not to be had"))
    station = Station(tmp_path, tiny_bundle)
    with pytest.raises(LineError, match="not to be had"):
        run_engine(station.file)
    health = station.health()
    assert health is not None
    assert (health.state, health.detail) == (State.STOPPED, f"{part} is not to be had")


def test_what_lies_in_the_way_of_the_engines_files_is_set_aside(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    station = Station(tmp_path, tiny_bundle)
    run_dir, state_dir = station.config.run_dir, station.config.state_dir
    ours = [run_dir / name for name in (HEALTH, METRICS, LATEST, LATEST_RAW, MARK, LOCK, ".x.tmp")]
    ours += [state_dir / name for name in ("events.ids", LOCK, f"drift-{tiny_bundle.digest[:12]}.json")]
    for path in ours:
        (path / "something").mkdir(parents=True)
    monkeypatch.setattr(PageProcess, "_spawn", lambda _: None)
    monkeypatch.setattr("edge.engine.daemon.open_line", refusing("that far"))
    with pytest.raises(LineError, match="that far"):
        run_engine(station.file)
    for path in ours:
        assert f"{path}: is no file" in caplog.text
        assert len(list(path.parent.glob(f"{path.name}.foreign-*/something"))) == 1


def test_ids_go_on_after_what_an_outbox_shows(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(MemoryOutput):
        def last_reported(self) -> int:
            return 24

    def opened(config: StationConfig) -> Line:
        return replace(open_line(config), outputs=[Told()])

    def enough(_config: object, _recipes: object, ids: Ids, *_: object) -> None:
        raise LineError(f"the last id is {ids.last}")

    monkeypatch.setattr(PageProcess, "_spawn", lambda _: None)
    monkeypatch.setattr("edge.engine.daemon.open_line", opened)
    monkeypatch.setattr("edge.engine.daemon.RunningStation", enough)
    with pytest.raises(LineError, match="the last id is 24"):
        run_engine(Station(tmp_path, tiny_bundle).file)
