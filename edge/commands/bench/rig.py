"""The benchmark's rig: the real path of a part, fed by a camera that is always ready.

Capture thread, FrameSlot, quality check, Inspector, detector and output are those of a commissioned station; only
the camera is replaced, so that no exposure is counted.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.cameras import Shot
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.quality import FrameCheck, baseline_of
from edge.commands import CommandError
from edge.commands.bench.compare import block_medians
from edge.config.station import QualityConfig
from edge.core.types import Frame, Image, Timings, Verdict
from edge.engine.inspector import Inspector
from edge.engine.recipes import Recipe
from edge.inference.bundle import Bundle
from edge.inference.detector import Detector, Precision, Runtime, check_references
from edge.inference.preprocess import prepare
from edge.line.outputs.memory import MemoryOutput
from edge.line.triggers import TriggerEvent

STAGES = ("grab_ms", "prepare_ms", "infer_ms", "decide_ms", "output_ms", "total_ms")
BLOCK = 10  # parts of one configuration in a row, before the next one's turn: drift hits all alike
SETTLE = 3  # uncounted parts before each block: ONNX Runtime's threads spin on for some ms after their last part
WARM_UP = 20
DEADLINE_MS = 10_000.0  # a benchmark wants to know how late, not whether


class ReadyCamera:
    """A camera that takes a picture when it is told to, at once."""

    def __init__(self, images: list[Image]) -> None:
        self.images = images
        self.shown = -1  # index of the image that was read last
        self._next = itertools.cycle(range(len(images)))
        self._told = threading.Semaphore(0)
        self._finished = False

    def expose(self) -> None:
        self._told.release()

    def finish(self) -> None:
        """Let a reader go that waits for a picture."""
        self._finished = True
        self._told.release()

    def open(self) -> None:
        """Do nothing: there is nothing to open."""

    def read(self) -> Shot:
        if not self._finished:
            self._told.acquire()
        self.shown = next(self._next)
        return Shot(self.images[self.shown].copy(), time.monotonic())  # a driver, too, fills a buffer of its own

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def describe(self) -> str:
        return "benchmark"


class CommissionedCheck(FrameCheck):
    """The quality check of a commissioned station, timed. Each image is its own commissioned view, so it passes."""

    def __init__(self, camera: ReadyCamera) -> None:
        """Commission each image of the camera; raises QualityError for one that shows nothing."""
        super().__init__(None, QualityConfig())
        self.taken_ms: list[float] = []
        self._camera = camera
        frames = (Frame(image, 1, 0.0, datetime.now(UTC)) for image in camera.images)
        self._checks = [FrameCheck(baseline_of([frame] * 3, "benchmark"), QualityConfig()) for frame in frames]

    def refusal(self, frame: Frame) -> str | None:
        start = time.perf_counter()
        refused = self._checks[self._camera.shown].refusal(frame)
        self.taken_ms.append((time.perf_counter() - start) * 1e3)
        return refused


@dataclass
class Rig:
    """One configuration of runtime and precision under measurement."""

    runtime: Runtime
    precision: Precision
    inspector: Inspector
    camera: ReadyCamera
    detector: Detector
    check: CommissionedCheck
    tensors: list[Image]  # prepared
    counted: list[Timings] = field(default_factory=list)
    quality_ms: list[float] = field(default_factory=list)  # of the quality check, which the total holds
    bare_ms: list[float] = field(default_factory=list)  # of the same compiled model, called and nothing else

    def run(self, parts: int) -> list[Timings]:
        """Inspect so many parts one after the other; raises CommandError when one gets no OK or NG."""
        timings = []
        for _ in range(parts):
            event = TriggerEvent("bench", time.monotonic())
            self.camera.expose()
            inspection = self.inspector.inspect(event)
            if inspection.verdict is Verdict.ERROR:
                raise CommandError(f"{self.runtime} {self.precision}: {inspection.reason}: {inspection.detail}")
            timings.append(inspection.timings)
        return timings

    def run_bare(self, times: int) -> list[float]:
        """Call the compiled model in a loop; returns the milliseconds of each call. No path around it can be faster."""
        taken = []
        for number in range(times):
            tensor = self.tensors[number % len(self.tensors)]
            start = time.perf_counter()
            self.detector.run(tensor)
            taken.append((time.perf_counter() - start) * 1e3)
        return taken

    def result(self) -> dict[str, Any]:
        stages = {stage: np.array([getattr(timing, stage) for timing in self.counted]) for stage in STAGES}
        series: dict[str, list[float]] = {"bare_ms": self.bare_ms}
        series |= {stage: stages[stage].tolist() for stage in ("infer_ms", "total_ms")}
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "n": len(self.counted),
            "fps": 1e3 / float(stages["total_ms"].mean()),
            "overhead": float(np.median(stages["total_ms"]) / np.median(self.bare_ms)),
            "bare_ms": _percentiles(np.array(self.bare_ms)),
            "quality_ms": _percentiles(np.array(self.quality_ms)),
            "stages": {stage: _percentiles(values) for stage, values in stages.items()},
            "blocks": {name: block_medians(values, BLOCK) for name, values in series.items()},
        }


def measure(
    bundle: Bundle,
    images: list[Image],
    configurations: Sequence[tuple[Runtime, Precision]],
    parts: int,
    seconds: float | None,
    progress: Callable[[str], None],
) -> tuple[float, list[dict[str, Any]]]:
    """Inspect `parts` parts with each configuration, or parts for `seconds` in all, in turns.

    Returns the process's memory in MB with only the first configuration loaded, which is what a station
    needs, and one result a configuration. Raises CommandError when a part gets an ERROR verdict.
    """
    with ready_camera(images) as (camera, slot):
        rigs = [make_rig(bundle, *configurations[0], camera, slot)]
        rss_mb = _rss_mb()
        rigs += [make_rig(bundle, *configuration, camera, slot) for configuration in configurations[1:]]
        _interleave(rigs, parts, seconds, progress)
    results = [{**rig.result(), "accuracy": _accuracy(rig.detector, bundle)} for rig in rigs]
    return rss_mb, results


def _accuracy(detector: Detector, bundle: Bundle) -> dict[str, Any]:
    """Compare the scores of the references with the manifest's, as a share of them, and count verdicts that differ."""
    checks, threshold = check_references(detector, bundle), bundle.manifest.threshold.value
    relative = [abs(check.score - check.expected) / max(check.expected, 1e-9) for check in checks]
    flips = sum((check.score < threshold) != (check.expected < threshold) for check in checks)
    return {
        "n": len(checks),
        "largest_relative": max(relative),
        "mean_relative": float(np.mean(relative)),
        "flips": flips,
        "scores": {check.file: check.score for check in checks},
    }


@contextmanager
def ready_camera(images: list[Image]) -> Iterator[tuple[ReadyCamera, FrameSlot]]:
    camera, slot = ReadyCamera(images), FrameSlot()
    capture = Capture(camera, slot)
    capture.start()
    try:
        yield camera, slot
    finally:
        camera.finish()
        capture.stop()


def make_rig(bundle: Bundle, runtime: Runtime, precision: Precision, camera: ReadyCamera, slot: FrameSlot) -> Rig:
    detector = Detector.from_bundle(bundle, runtime, precision)
    check = CommissionedCheck(camera)
    recipe = Recipe("bench", bundle, detector, check)
    inspector = Inspector(slot, recipe, [MemoryOutput()], DEADLINE_MS, itertools.count(1).__next__)
    tensors = [prepare(image, detector.spec) for image in camera.images]
    rig = Rig(runtime, precision, inspector, camera, detector, check, tensors)
    rig.run(WARM_UP)
    return rig


def _interleave(rigs: list[Rig], parts: int, seconds: float | None, progress: Callable[[str], None]) -> None:
    began = time.monotonic()
    while True:
        done = len(rigs[0].counted)
        elapsed = time.monotonic() - began
        progress(f"{done} parts each, {elapsed:.0f} s" if seconds else f"{done} of {parts} parts each")
        if (elapsed >= seconds) if seconds else (done >= parts):
            break
        for rig in rigs:
            block = BLOCK if seconds else min(BLOCK, parts - done)
            rig.run(SETTLE)
            rig.counted += rig.run(block)
            rig.quality_ms += rig.check.taken_ms[-block:]
            rig.check.taken_ms.clear()
            rig.run_bare(SETTLE)
            rig.bare_ms += rig.run_bare(block)
    progress("")


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Return percentiles; each is a time that was measured (method "higher"), never one between two."""
    named = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(values, share, method="higher")), 4) for name, share in named.items()}


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise CommandError("/proc/self/status: names no VmRSS; Linewatch runs on Linux")
