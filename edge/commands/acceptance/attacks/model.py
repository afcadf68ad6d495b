"""Attacks by a model that raises, and by one that hangs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.commands.acceptance.station import TrialStation, broken_sequence, happens, inspecting, unrecorded
from edge.commands.evidence import Evidence
from edge.core.types import Reason
from edge.inference.bundle import Bundle

WATCHDOG_S = 2.5  # the loop beats at least every second
RAISES = """
from edge.inference.detector import Detector
predict, count = Detector.predict, 0
def broken(self, image):
    global count
    count += 1
    if count > 40 and count % 3 == 0:
        raise ZeroDivisionError("a defect that was put in")
    return predict(self, image)
Detector.predict = broken
"""
HANGS = """
import time
from edge.inference.detector import Detector
predict, count = Detector.predict, 0
def hanging(self, image):
    global count
    count += 1
    while count > 60:
        time.sleep(1)
    return predict(self, image)
Detector.predict = hanging
"""


def raises(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Let the model raise now and then: only that part is an ERROR."""
    station = TrialStation(folder, bundle)
    with inspecting(station, RAISES) as engine:
        answers = station.triggers(120)
        status = engine.stop()
    failed = [answer for answer in answers if answer.reason is Reason.INFERENCE_FAILED]
    good = [answer for answer in answers if answer.reason is Reason.SCORE]
    evidence.hold(
        "inference raises: that part is ERROR/inference_failed, the next is judged as usual",
        len(answers) == len(station.rows()) == 120 and bool(failed) and bool(good) and status == 0,
        f"{len(answers)} triggers, {len(station.rows())} rows, {len(failed)} inference_failed",
    )


def hangs(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Let the model never answer: the watchdog gets no beat, so systemd kills and restarts the engine."""
    station = TrialStation(folder, bundle)
    with ThreadPoolExecutor(max_workers=1) as line, inspecting(station, HANGS) as engine:
        hanging = line.submit(station.triggers, 200)
        silent = happens(lambda: engine.beats(WATCHDOG_S) == 0)
        engine.kill()
        answers = hanging.result()
    with inspecting(station) as engine:
        after = station.trigger()
        engine.stop()
    rows = station.rows()
    evidence.hold(
        "inference hangs: the watchdog is not beaten, and after the restart every id is accounted for",
        silent and after is not None and not broken_sequence(rows) and not unrecorded(answers, rows),
        f"no beat for {WATCHDOG_S:g} s: {'seen' if silent else 'NOT seen'}; {len(rows)} rows",
    )
