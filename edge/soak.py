"""`edge soak`: many triggers at full speed; rows = triggers = verdicts told, and the memory does not grow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.bundle import open_bundle
from edge.evidence import Evidence, Plot
from edge.proof import EngineProcess, ProofError, Subject, broken_sequence, unrecorded
from edge.softtrigger import TriggerAnswer
from edge.types import Inspection, Verdict

SAMPLES = 200  # of the memory, over the whole run
WARM_UP = 0.3  # share of the run after which the slope is measured
MAX_SLOPE_MB = 20.0  # per 100 000 parts
CONCLUSIVE = 20_000  # parts from which the slope is more than the noise of an allocator


def soak(bundle_path: Path, frames: int, page: Path, say: Callable[[str], None]) -> bool:
    """Trigger so many parts, one as soon as the one before is answered; True when every property held.

    Raises BundleError for the bundle, ProofError when the engine does not start, OSError for the page.
    """
    bundle = open_bundle(bundle_path)
    evidence = Evidence("Soak: rows = triggers = verdicts told", bundle.title)
    with tempfile.TemporaryDirectory(prefix="linewatch-soak-") as folder:
        subject = Subject(Path(folder) / "station", bundle)
        with EngineProcess(subject) as engine:
            if not engine.ready():
                raise ProofError("the engine is not READY within the time; see `edge check` for the bundle")
            began = time.monotonic()
            answers, memory = _run(subject, engine, frames, say)
            took_s = time.monotonic() - began
            health = subject.health()
            overruns = health.overruns if health else 0
            status = engine.stop()
        rows = subject.rows()
        evidence.facts["run"] = f"{frames} triggers in {took_s:.0f} s: {frames / took_s:.0f} parts a second"
        _hold_counts(evidence, subject, frames, answers, rows, overruns, status)
    _hold_memory(evidence, memory, frames)
    _hold_latency(evidence, rows)
    evidence.write(page)
    return evidence.held


def _run(
    subject: Subject, engine: EngineProcess, frames: int, say: Callable[[str], None]
) -> tuple[list[TriggerAnswer], list[tuple[float, float]]]:
    answers: list[TriggerAnswer] = []
    memory: list[tuple[float, float]] = []
    every = max(1, frames // SAMPLES)
    for number in range(frames):
        answer = subject.trigger()
        if answer is None:
            raise ProofError(f"trigger {number + 1} got no answer; see the engine's log")
        answers.append(answer)
        if number % every == 0:
            memory.append((float(number), engine.rss_mb()))
        if number % max(1, frames // 20) == 0:
            say(f"{number} of {frames} parts, {memory[-1][1]:.0f} MB")
    return answers, memory


def _hold_counts(
    evidence: Evidence,
    subject: Subject,
    frames: int,
    answers: list[TriggerAnswer],
    rows: list[Inspection],
    overruns: int,
    status: int,
) -> None:
    told = len({answer.id for answer in answers})
    evidence.hold(
        "rows = triggers = verdicts told",
        frames == told == len(rows) and not overruns,
        f"{frames} triggers, {told} verdicts told, {len(rows)} rows, {overruns} overruns",
    )
    missing = unrecorded(answers, rows)
    evidence.hold("each verdict told is the one in the history", not missing, f"{len(missing)} differ or are missing")
    wrong = broken_sequence(rows) or subject.verify()
    evidence.hold("sequence unbroken, database whole, chain verified", not wrong, wrong or f"1 to {len(rows)}")
    evidence.hold("the engine stops as usual", status == 0, f"status {status}")


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
