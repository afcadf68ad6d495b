"""`edge soak`: many triggers at full speed; rows = triggers = output actions, and the memory does not grow."""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np

from edge.commands import CommandError
from edge.commands.acceptance.sensors import Sensors
from edge.commands.acceptance.station import EngineProcess, TrialStation, broken_sequence, inspecting, unrecorded
from edge.commands.evidence import Evidence, Plot, prove, say
from edge.config.station import ConfigError
from edge.core.types import Inspection, Verdict
from edge.exchange.health import Health
from edge.exchange.trigger_socket import TriggerAnswer
from edge.inference.bundle import Bundle, open_bundle

SAMPLES = 200  # of the memory, over the whole run
WARM_UP = 0.3  # share of the run after which the slope is measured
MAX_SLOPE_MB = 20.0  # per 100 000 parts
CONCLUSIVE = 20_000  # parts from which the slope is more than the noise of an allocator
SAY_S = 5.0
GOODS = 20  # good parts in view for each bad one, as on a line
CAMERA = {"type": "folder", "path": "camera", "fps": 500, "seconds_per_image": 0.1}
STORAGE = {"max_image_mb": 10, "keep_free_mb": 0, "ok_every": 50}


@dataclass
class SoakRun:
    """The triggers and answers of one run, and the values that were read beside them."""

    frames: int
    answers: list[TriggerAnswer] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)  # (part, MB)
    temperature: list[tuple[float, float]] = field(default_factory=list)  # (part, deg C); empty when not readable
    throttled: int | None = None  # how often the CPU slowed itself down meanwhile
    took_s: float = 0.0
    status: int = -1  # exit status of the engine
    health: Health | None = None  # its last words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--frames", type=int, default=100_000, metavar="N", help="how many triggers (100000)")
    parser.add_argument("--page", type=Path, default=Path("evidence/soak.html"), metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    """Write the evidence and print one line; raises CommandError when a property failed."""
    if not 10 <= arguments.frames <= 10_000_000:
        raise ConfigError("soak takes 10 to 10000000 --frames")
    return prove(lambda: soak(arguments.bundle, arguments.frames, arguments.page), arguments.page)


def soak(bundle_path: Path, frames: int, page: Path) -> Evidence:
    """Trigger so many parts, one as soon as the one before is answered; returns the evidence.

    Ctrl-C ends it earlier: the parts until then are judged. Raises BundleError for the bundle, CommandError
    when the engine does not start, OSError for the page.
    """
    bundle = open_bundle(bundle_path)
    evidence = Evidence("Soak: rows = triggers = output actions", bundle.title)
    with tempfile.TemporaryDirectory(prefix="linewatch-soak-") as folder:
        station = TrialStation(Path(folder) / "station", bundle, camera=CAMERA, storage=STORAGE)
        _mostly_good(station, bundle)
        run = SoakRun(frames)
        with inspecting(station) as engine, _asked_to_end() as ended:
            _drive(station, engine, run, ended)
            run.status = engine.stop()
            run.health = station.health()
        say("reading the history")
        rows = station.rows()
        _hold_counts(evidence, station, run, rows)
    _hold_memory(evidence, run.memory, len(run.answers))
    _hold_latency(evidence, rows)
    _tell_heat(evidence, run)
    evidence.write(page)
    return evidence


def _mostly_good(station: TrialStation, bundle: Bundle) -> None:
    """Show the good references again and again, the others once."""
    for reference in bundle.manifest.references:
        if reference.score < bundle.manifest.threshold.value:
            for number in range(GOODS):
                shutil.copy(bundle.file(reference.file), station.parts / f"again_{number}_{Path(reference.file).name}")


@contextmanager
def _asked_to_end() -> Iterator[Event]:
    """Give an event that Ctrl-C sets, so that it takes effect between two parts."""
    ended = Event()
    before = signal.signal(signal.SIGINT, lambda *_: ended.set())
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)


def _drive(station: TrialStation, engine: EngineProcess, run: SoakRun, ended: Event) -> None:
    every, began, said_at = max(1, run.frames // SAMPLES), time.monotonic(), 0.0
    sensors = Sensors()
    before = sensors.read()
    for number in range(run.frames):
        if ended.is_set():
            break
        answer = station.trigger()
        if answer is None:
            raise CommandError(f"trigger {number + 1} got no answer; see the engine's log")
        run.answers.append(answer)
        run.took_s = time.monotonic() - began
        if number % every == 0:
            run.memory.append((float(number), engine.rss_mb()))
            now = sensors.read()
            if now.temperature_c is not None:
                run.temperature.append((float(number), now.temperature_c))
            if now.throttled is not None and before.throttled is not None:
                run.throttled = now.throttled - before.throttled
        if run.took_s - said_at > SAY_S:
            said_at, rate = run.took_s, len(run.answers) / run.took_s
            left_min = (run.frames - len(run.answers)) / rate / 60
            say(
                f"{len(run.answers)} of {run.frames} parts, {rate:.0f} a second, "
                f"{left_min:.1f} min left, {run.memory[-1][1]:.0f} MB"
            )


def _hold_counts(evidence: Evidence, station: TrialStation, run: SoakRun, rows: list[Inspection]) -> None:
    triggers = len(run.answers)
    evidence.facts["run"] = f"{triggers} triggers in {run.took_s:.0f} s: {triggers / run.took_s:.0f} parts a second"
    if triggers < run.frames:
        evidence.facts["ended"] = f"by Ctrl-C, {run.frames} were asked for"
    answered = len({answer.id for answer in run.answers})
    told = sum(output.told for output in run.health.outputs) if run.health else 0
    overruns = run.health.overruns if run.health else 0
    evidence.hold(
        "rows = triggers = output actions = answers",
        triggers == answered == len(rows) == told and not overruns,
        f"{triggers} triggers, {answered} answers, {len(rows)} rows, {told} output actions, {overruns} overruns",
    )
    missing = unrecorded(run.answers, rows)
    evidence.hold("each verdict told is the one in the history", not missing, f"{len(missing)} differ or are missing")
    wrong = broken_sequence(rows) or station.verify()
    evidence.hold("sequence unbroken, database whole, chain verified", not wrong, wrong or f"1 to {len(rows)}")
    evidence.hold("the engine stops as usual", run.status == 0, f"status {run.status}")


def _hold_memory(evidence: Evidence, memory: list[tuple[float, float]], frames: int) -> None:
    settled = np.array(memory[int(WARM_UP * len(memory)) :])
    slope_mb = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) * 100_000 if len(settled) > 2 else 0.0
    conclusive = frames >= CONCLUSIVE
    evidence.hold(
        f"memory grows by less than {MAX_SLOPE_MB:g} MB in 100 000 parts",
        slope_mb < MAX_SLOPE_MB or not conclusive,
        f"{slope_mb:+.1f} MB in 100 000 parts, {memory[-1][1]:.0f} MB at the end"
        + ("" if conclusive else f"; not judged below {CONCLUSIVE} parts"),
    )
    evidence.plots.append(Plot("Resident memory, by part", "MB", memory))


def _hold_latency(evidence: Evidence, rows: list[Inspection]) -> None:
    totals = np.array([row.timings.total_ms for row in rows])
    p50, p99, most = (float(np.percentile(totals, share, method="higher")) for share in (50, 99, 100))
    evidence.facts["trigger to output"] = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"
    judged = sum(row.verdict is not Verdict.ERROR for row in rows)
    evidence.hold("parts were judged, not refused", judged > 0.99 * len(rows), f"{judged} of {len(rows)} OK or NG")
    every = max(1, len(totals) // SAMPLES)
    blocks = [(float(start), float(totals[start : start + every].max())) for start in range(0, len(totals), every)]
    evidence.plots.append(Plot("Trigger to output, longest of each block, by part", "ms", blocks))


def _tell_heat(evidence: Evidence, run: SoakRun) -> None:
    """Say how hot the CPU was; heat by itself is no failure."""
    degrees = [value for _, value in run.temperature]
    evidence.facts["CPU temperature"] = f"{min(degrees):.0f} to {max(degrees):.0f} °C" if degrees else "not readable"
    evidence.facts["CPU throttled"] = "not readable" if run.throttled is None else f"{run.throttled} times"
    if degrees:
        evidence.plots.append(Plot("CPU temperature, by part", "°C", run.temperature))
