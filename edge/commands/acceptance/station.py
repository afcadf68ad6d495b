"""A real engine as a child process, on a station made for the trial: `edge chaos` and `edge soak` attack it."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.commands import CommandError
from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.types import EdgeError, Inspection, Reason, Verdict
from edge.exchange import ExchangeError
from edge.exchange.health import Health, State, read_health
from edge.exchange.trigger_socket import TriggerAnswer, ask_trigger
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle

STARTS_WITHIN_S = 180.0  # of a machine that has little time for it
HAPPENS_WITHIN_S = 120.0


class TrialStation:
    """A station in a folder of its own; its camera shows the bundle's reference images."""

    def __init__(self, folder: Path, bundle: Bundle, deadline_ms: float = 2000.0, **sections: dict[str, Any]) -> None:
        """Write station.toml; `sections` add to it or replace, e.g. trigger={"type": "free_run", "rate_hz": 20}."""
        folder.mkdir(parents=True)
        self.parts = folder / "camera"
        self.parts.mkdir()
        for reference in bundle.manifest.references:
            shutil.copy(bundle.file(reference.file), self.parts)
        settings: dict[str, Any] = {
            "camera": {"type": "folder", "path": "camera", "fps": 200, "seconds_per_image": 0.1},
            "trigger": {"type": "software"},
            "inspection": {"deadline_ms": deadline_ms, "watch_drift": False},
            "storage": {"max_image_mb": 10, "keep_free_mb": 0},
            **sections,
        }
        self.file, self.log = folder / "station.toml", folder / "engine.log"
        head = {"name": "Proof", "bundle": str(bundle.path.resolve()), "state_dir": "state", "run_dir": "run"}
        head["bundle_signatures"] = "optional"  # the trial is of the engine, not of whose bundle it is
        self.file.write_text(_toml(head, settings), encoding="utf-8")
        self.config: StationConfig = load_config(self.file)

    def trigger(self) -> TriggerAnswer | None:
        """Trigger one part and return the answer that the line was told; None when the engine gave none."""
        try:
            return ask_trigger(self.config.run_dir, HAPPENS_WITHIN_S)
        except (ExchangeError, OSError):
            return None

    def triggers(self, count: int) -> list[TriggerAnswer]:
        """Trigger so many parts, each as soon as the one before is answered; returns the answers that came."""
        return [answer for answer in (self.trigger() for _ in range(count)) if answer is not None]

    def reason(self) -> Reason | None:
        """Trigger one more part and return its reason."""
        answer = self.trigger()
        return answer.reason if answer else None

    def rows(self) -> list[Inspection]:
        """Return the whole history, oldest first."""
        if not self.config.events_db.exists():
            return []
        log = EventLog(self.config.events_db, read_only=True)
        try:
            return list(log.between())
        finally:
            log.close()

    def verify(self) -> str:
        """Return what is wrong with the database or its chain; empty when both are whole."""
        try:
            log = EventLog(self.config.events_db, read_only=True)
            try:
                log.verify()
            finally:
                log.close()
        except EdgeError as error:
            return str(error)
        return ""

    def health(self) -> Health | None:
        try:
            return read_health(self.config.run_dir)
        except ExchangeError:
            return None

    def state(self) -> State | None:
        health = self.health()
        return health.state if health else None

    def waiting(self) -> int:
        """Return how many messages are on the disk and not yet with their receiver."""
        health = self.health()
        return sum(output.waiting for output in health.outputs) if health else 0

    def said(self) -> str:
        """Return everything that the station's engines logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def _toml(head: dict[str, str], sections: dict[str, dict[str, Any]]) -> str:
    """Write a station.toml; strings, numbers and booleans of JSON are valid in TOML too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in head.items()]
    for name, keys in sections.items():
        lines.append(f"[[{name}]]" if name == "output" else f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


class EngineProcess:
    """A child process of `edge run`, with or without a defect put in; killed when a with block ends."""

    def __init__(
        self, station: TrialStation, defect: str = "", environment: dict[str, str] | None = None, page: bool = False
    ) -> None:
        """Start the child, with its page or without.

        `defect` is Python that it runs before its engine, `environment` is added to its own.
        """
        self.station = station
        address = (
            f"linewatch-proof-{secrets.token_hex(8)}"  # in the abstract name space: no path, however long, is in it
        )
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(f"\0{address}")
        self._log = station.log.open("ab")
        arguments = ["run", "--config", str(station.file), *["--no-page"] * (not page)]
        start = f"import sys\nfrom edge.__main__ import main\n{defect}\nsys.exit(main({arguments!r}))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "NOTIFY_SOCKET": f"@{address}", **(environment or {})},
            cwd=Path(__file__).parents[3],
            start_new_session=True,
        )

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(HAPPENS_WITHIN_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()
        self._notified.close()

    def ready(self, within_s: float = STARTS_WITHIN_S) -> bool:
        """Wait for READY; False when it did not come within the time. Raises CommandError when the engine ended."""
        if self.process.stdout is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(within_s):
                return False
        if not self.process.stdout.readline().startswith(b"READY"):
            raise CommandError(f"the engine does not start: {(self.station.said().splitlines() or [''])[-1]}")
        return True

    def kill(self) -> None:
        """Kill the engine as a power cut would: nothing is asked, nothing is finished."""
        self.process.kill()
        self.process.wait(HAPPENS_WITHIN_S)

    def stop(self) -> int:
        """Send SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(HAPPENS_WITHIN_S)

    def beats(self, seconds: float) -> int:
        """Count the watchdog beats that come within so many seconds; beats before are forgotten."""
        self._notified.setblocking(False)
        self._drain()
        time.sleep(seconds)
        return self._drain()

    def _drain(self) -> int:
        count = 0
        try:
            while True:
                count += self._notified.recv(4096) == b"WATCHDOG=1"
        except BlockingIOError:
            return count

    def rss_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise CommandError("the engine has ended; see its engine.log")


@contextmanager
def inspecting(
    station: TrialStation, defect: str = "", environment: dict[str, str] | None = None, page: bool = False
) -> Iterator[EngineProcess]:
    """Start an engine and wait for READY; it is killed at the end when it still runs."""
    with EngineProcess(station, defect, environment, page) as engine:
        if not engine.ready():
            raise CommandError("the engine is not READY within the time; see `edge check` for the bundle")
        yield engine


def happens(what: Callable[[], object], within_s: float = HAPPENS_WITHIN_S) -> bool:
    """Wait until `what` returns something true; returns False when it does not in time."""
    give_up = time.monotonic() + within_s
    while not what():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def broken_sequence(rows: Sequence[Inspection]) -> str:
    """Return the first id that breaks the sequence 1, 2, 3 ..., in words; empty when none does."""
    wrong = next((row.id for number, row in enumerate(rows, 1) if row.id != number), None)
    return "" if wrong is None else f"id {wrong} is out of sequence"


def unrecorded(answers: Sequence[TriggerAnswer], rows: Sequence[Inspection]) -> list[int]:
    """Return the ids that the line was told and the history does not have, or has with another verdict.

    A row ERROR/engine_died stands for a verdict whose row was lost with the engine: the id is accounted for.
    """
    known = {row.id: row for row in rows}
    missing = []
    for answer in answers:
        row = known.get(answer.id or 0)
        if row is None or (row.reason is not Reason.ENGINE_DIED and row.verdict is not answer.verdict):
            missing.append(answer.id or 0)
    return missing


def late_releases(rows: Sequence[Inspection], deadline_ms: float) -> list[int]:
    """Return the ids of parts that were judged OK or NG after the deadline."""
    return [row.id for row in rows if row.verdict is not Verdict.ERROR and row.timings.total_ms > deadline_ms]
