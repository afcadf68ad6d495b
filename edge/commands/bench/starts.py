"""How long a station needs from the start of its process: a real engine, with and without its compiled model."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.commands.acceptance.station import EngineProcess, ProofError, Subject
from edge.inference.bundle import Bundle

ROUNDS = 3
PARTS = 20  # judged before its memory is read


def measure_starts(bundle: Bundle, progress: Callable[[str], None]) -> dict[str, Any]:
    """Seconds to READY and to the first verdict of `edge run`, with a cold and a warm cache, and its memory in MB.

    Cold: state_dir holds no compiled model. In both the files are in the kernel's cache after the first round, which is
    therefore not counted. Raises ProofError when the engine does not come up.
    """
    found: dict[str, Any] = {kind: {"ready_s": [], "first_verdict_s": []} for kind in ("cold", "warm")}
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(Path(folder) / "station", bundle)
        _start(subject)
        for number in range(ROUNDS):
            progress(f"start {number + 1} of {ROUNDS}")
            shutil.rmtree(subject.config.compiled_dir, ignore_errors=True)
            for kind in ("cold", "warm"):
                ready_s, first_s, found["rss_mb"] = _start(subject)
                found[kind]["ready_s"].append(ready_s)
                found[kind]["first_verdict_s"].append(first_s)
    progress("")
    return found


def _start(subject: Subject) -> tuple[float, float, float]:
    began = time.monotonic()
    with EngineProcess(subject) as engine:
        if not engine.ready():
            raise ProofError("the engine is not READY within the time; see `edge check` for the bundle")
        ready_s = time.monotonic() - began
        if subject.trigger() is None:
            raise ProofError("the engine gives no verdict; see `edge check` for the bundle")
        first_s = time.monotonic() - began
        for _ in range(PARTS):
            subject.trigger()
        rss_mb = engine.rss_mb()
        engine.stop()
    return ready_s, first_s, rss_mb
