"""A real engine as a child process, on a folder camera and the tiny bundle."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import cv2

from edge.commands.acceptance.station import free_port
from edge.config.load import load_config
from edge.core.types import Inspection
from edge.exchange import ExchangeError
from edge.exchange.health import Health, read_health
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle
from tests.tiny import bad_image, good_image

HANG_S = 120.0
ROOT = Path(__file__).parents[2]


class Station:
    """A station's folder: station.toml, camera images, state."""

    def __init__(self, folder: Path, bundle: Bundle, rate_hz: float = 10.0, deadline_ms: float = 2000.0) -> None:
        self.folder = folder
        self.camera = folder / "camera"
        self.camera.mkdir()
        cv2.imwrite(str(self.camera / "a_good.png"), good_image())
        cv2.imwrite(str(self.camera / "b_bad.png"), bad_image())
        self.port = free_port()
        self.file = folder / "station.toml"
        self.file.write_text(
            f'name = "Test"\nbundle = "{bundle.path}"\nstate_dir = "state"\nrun_dir = "run"\n'
            f'bundle_signatures = "optional"\n'
            f'[camera]\ntype = "folder"\npath = "camera"\nfps = 100\nseconds_per_image = 0.3\n'
            f'[trigger]\ntype = "free_run"\nrate_hz = {rate_hz}\n'
            f"[inspection]\ndeadline_ms = {deadline_ms}\n[page]\nport = {self.port}\n"
        )
        self.config = load_config(self.file)

    def rows(self) -> list[Inspection]:
        """The whole history, oldest first."""
        if not self.config.events_db.exists():
            return []
        log = EventLog(self.config.events_db, read_only=True)
        try:
            return log.recent(1_000_000)[::-1]
        finally:
            log.close()

    def health(self) -> Health | None:
        try:
            return read_health(self.config.run_dir)
        except ExchangeError:
            return None


class Engine:
    """`python -m edge run`; killed at the end of a with block if it still runs."""

    def __init__(self, station: Station, *arguments: str) -> None:
        command = [sys.executable, "-m", "edge", "run", "--config", str(station.file), *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.errors: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=lambda: [self._lines.put(line) for line in self.process.stdout or ()]),
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ())),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._finish()

    def _finish(self) -> None:
        self.process.wait(HANG_S)
        for reader in self._readers:
            reader.join(HANG_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def ready(self) -> str:
        """The line the engine prints when it is ready."""
        return self._lines.get(timeout=HANG_S).strip()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        self._finish()
        return self.process.returncode

    def ended(self) -> int:
        self._finish()
        return self.process.returncode

    @property
    def said(self) -> str:
        """All of stderr, once the process has ended."""
        return "".join(self.errors)
