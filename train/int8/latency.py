"""The latency of model files through edge.inference.detector, in turns; also standing in for a lesser CPU.

It is measured in a process of its own (`python -m train.int8.latency PLAN`), since oneDNN reads its cap once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.core.types import EdgeError
from edge.inference.cpu import ISA_CAP, cpu_tier
from edge.inference.detector import Detector
from edge.inference.preprocess import InputSpec, load_image
from train.int8 import Int8Error
from train.run import progress

TURNS, SETTLE, BLOCK = 10, 2, 5  # in each turn a model judges so many images uncounted, then so many counted ones


@dataclass(frozen=True, slots=True)
class Timed:
    """A model file, and the photograph it is shown."""

    model: Path
    spec: InputSpec
    image: Path


@dataclass(frozen=True, slots=True)
class Latency:
    """p50 of the inference alone, and with the preparation of the photograph."""

    infer_ms: float
    total_ms: float


def measure(models: Sequence[Timed], cap: str | None) -> tuple[str, list[Latency]]:
    """The tier that was measured on, and the latency of each model there.

    cap: a value of oneDNN's ONEDNN_MAX_CPU_ISA; None for all that this CPU can. Raises Int8Error.
    """
    environment = {name: value for name, value in os.environ.items() if name != ISA_CAP}
    if cap is not None:
        environment[ISA_CAP] = cap
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        rows = [[str(one.model.resolve()), one.spec.model_dump(), str(one.image.resolve())] for one in models]
        plan.write_text(json.dumps(rows), encoding="utf-8")
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "train.int8.latency", str(plan)]
        done = subprocess.run(command, env=environment)
        if done.returncode:
            raise Int8Error(f"measuring {len(models)} models failed (exit status {done.returncode}); see above")
        answer = json.loads(plan.read_bytes())
        return answer["tier"], [Latency(**row) for row in answer["latencies"]]


def _run(plan: Path) -> None:
    """Take the plan's place with what was measured."""
    rows = [(Path(model), InputSpec(**spec), Path(image)) for model, spec, image in json.loads(plan.read_bytes())]
    images = {path: load_image(path) for path in {image for _, _, image in rows}}
    ready = [(Detector(model, spec), images[image]) for model, spec, image in progress(rows, "compiling")]
    counted: list[list[tuple[float, float]]] = [[] for _ in ready]
    for _ in progress(range(TURNS), "latency"):
        for (detector, image), times in zip(ready, counted, strict=True):
            found = [detector.predict(image) for _ in range(SETTLE + BLOCK)][SETTLE:]
            times += [(one.infer_ms, one.prepare_ms + one.infer_ms) for one in found]
    medians = [Latency(*(float(value) for value in np.median(times, axis=0))) for times in counted]
    answer = {"tier": cpu_tier(), "latencies": [asdict(latency) for latency in medians]}
    plan.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    try:
        _run(Path(sys.argv[1]))
    except EdgeError as error:
        sys.exit(f"linewatch: {error}")
