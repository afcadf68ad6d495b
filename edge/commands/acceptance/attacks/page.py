"""An attack by browsers: more requests than the page can answer, while parts are judged."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edge.commands.acceptance.station import TrialStation, broken_sequence, free_port, inspecting, late_releases
from edge.commands.evidence import Evidence
from edge.core.types import Inspection, Reason
from edge.exchange.trigger_socket import TriggerAnswer
from edge.inference.bundle import Bundle

DEADLINE_MS = 100.0
ROUNDS = 4  # each without a flood, then with one: what else the computer does is the same for both
PARTS = 20  # a round
PAUSE_S = 0.05  # between two parts
CLIENTS = 4
# They stand for other computers, so they take only what this one does not need.
CLIENT = """
import http.client, itertools, os, sys
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
for path in itertools.cycle(("/", "/api/status", "/live.jpg", "/api/report", "/api/inspections?limit=200", "/history")):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass
    connection.close()
"""


def flood(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Ask the page of a running engine without a pause: parts take as long as they take without a flood."""
    port = free_port()
    station = TrialStation(folder, bundle, DEADLINE_MS, page={"port": port})
    calm, flooded = list[TriggerAnswer](), list[TriggerAnswer]()
    with inspecting(station, page=True) as engine:
        _parts(station)  # what the first parts of an engine take is not the question
        for _ in range(ROUNDS):
            calm += _parts(station)
            with _clients(port):
                flooded += _parts(station)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60.0) as found:
            reachable = found.status == 200
        status = engine.stop()
    rows = station.rows()
    evidence.hold(
        f"a flood of the page, deadline {DEADLINE_MS:g} ms: no OK or NG after the deadline, and the page lives on",
        reachable and status == 0 and not late_releases(rows, DEADLINE_MS) and not broken_sequence(rows),
        f"trigger to verdict without a flood {_times(calm, rows)}; with it {_times(flooded, rows)}; status {status}",
    )


def _parts(station: TrialStation) -> list[TriggerAnswer]:
    answers = []
    for _ in range(PARTS):
        answers += station.triggers(1)
        time.sleep(PAUSE_S)
    return answers


@contextmanager
def _clients(port: int) -> Iterator[None]:
    clients = [subprocess.Popen([sys.executable, "-c", CLIENT, str(port)]) for _ in range(CLIENTS)]
    try:
        time.sleep(0.5)  # until they ask
        yield
    finally:
        for one in clients:
            one.kill()
            one.wait()


def _times(answers: Sequence[TriggerAnswer], rows: Sequence[Inspection]) -> str:
    """Return what these parts took, in words."""
    chosen = {answer.id for answer in answers}
    found = [row for row in rows if row.id in chosen]
    took = [row.timings.total_ms for row in found]
    p50, p99 = np.percentile(took, (50, 99)) if took else (0.0, 0.0)
    late = sum(row.reason is Reason.LATE for row in found)
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {late} of {len(found)} late"
