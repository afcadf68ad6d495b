"""edge.engine.daemon: the line opens when nothing else can fail any more, and every part that was opened is closed."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge.cameras.capture import Capture
from edge.config.station import StationConfig
from edge.engine import EngineError, daemon
from edge.engine.page_process import PageProcess
from edge.engine.recorder import Recorder
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
from edge.inference.bundle import Bundle
from edge.line.wiring import Line
from tests.edge.engine.parts import watching_station

OPENED = ["PageProcess.start", "Recorder.start", "Capture.start", "open_line"]
CLOSED = ["Line.close", "Capture.stop", "Recorder.stop", "PageProcess.stop", "Ids.close", "EventLog.close"]


class Watched:
    """A station whose parts note when they are opened and closed."""

    def __init__(self, config: StationConfig, patch: pytest.MonkeyPatch) -> None:
        self.config = config
        self.done: list[str] = []
        self._patch = patch
        for kind, names in ((Recorder, ("start", "stop")), (Capture, ("start", "stop")), (Line, ("close",))):
            for name in names:
                self.note(kind, name, getattr(kind, name))
        for kind in (Ids, EventLog):
            self.note(kind, "close", kind.close)
        for name in ("start", "stop"):
            self.note(PageProcess, name, lambda _: None)
        self.note(daemon, "open_line", daemon.open_line, "open_line")

    def note(self, owner: object, name: str, step: Callable[..., Any], words: str = "") -> None:
        def noted(*arguments: Any) -> Any:
            self.done.append(words or f"{owner.__name__}.{name}")  # type: ignore[attr-defined]
            return step(*arguments)

        self._patch.setattr(owner, name, noted)

    def open(self) -> None:
        """Open the station, and close it again."""
        page = PageProcess(Path("station.toml"), self.config.page)
        with ExitStack() as stack:
            daemon._open(self.config, page, daemon._LastWord(), stack)


@pytest.fixture
def watched(tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Watched:
    config = watching_station(tmp_path, tiny_bundle)
    config.run_dir.mkdir()
    return Watched(config, monkeypatch)


def failing(*_: object) -> None:
    raise EngineError("it cannot be had")


def test_the_line_opens_last_and_closes_first(watched: Watched) -> None:
    watched.open()
    assert watched.done == OPENED + CLOSED


def test_a_page_that_cannot_start_leaves_camera_and_line_alone(watched: Watched) -> None:
    watched.note(PageProcess, "start", failing)
    with pytest.raises(EngineError, match="cannot be had"):
        watched.open()
    assert watched.done == ["PageProcess.start", "Ids.close", "EventLog.close"]


def test_a_recorder_that_cannot_start_leaves_camera_and_line_alone(watched: Watched) -> None:
    watched.note(Recorder, "start", failing)
    with pytest.raises(EngineError, match="cannot be had"):
        watched.open()
    assert watched.done == ["PageProcess.start", "Recorder.start", "PageProcess.stop", "Ids.close", "EventLog.close"]


def test_a_line_that_cannot_be_opened_leaves_nothing_open(watched: Watched) -> None:
    watched.note(daemon, "open_line", failing, "open_line")
    with pytest.raises(EngineError, match="cannot be had"):
        watched.open()
    assert watched.done == OPENED + CLOSED[1:]
