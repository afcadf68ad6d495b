"""The engine's start: the line opens last, and what was opened is closed in reverse."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.cameras.capture import Capture
from edge.engine.daemon import run_engine
from edge.engine.page_process import PageProcess
from edge.engine.recorder import Recorder
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from edge.inference.bundle import Bundle
from edge.line import LineError
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
