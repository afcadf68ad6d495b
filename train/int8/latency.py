"""The p50 of a model file on the CPU that a latency budget is for.

A target is a tier that this CPU stands in for, or a device that reports its own speed. The measurement runs in a
process of its own (`python -m train.int8.latency`, models on stdin), since oneDNN reads its cap once.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from edge.core.types import EdgeError, Image
from edge.inference.bundle import INT8_IR, Bundle, open_bundle
from edge.inference.cpu import ISA_CAP, TIER_CAPS, TIERS, cpu_tier, read_cpu
from edge.inference.detector import Detector
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.runtimes import Settings
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.int8 import Int8Error
from train.network.backbones import Backbone
from train.network.heads import DefectHeads
from train.network.model import PatchFeatures
from train.run import progress

TURNS, SETTLE, BLOCK = 10, 2, 5  # in each turn a model judges so many images uncounted, then so many counted ones
BUSY = 1.5  # processes that want a core, per core; training alone keeps each core busy once
QUICK = 0.1  # quantile of the times that counts where other work on this machine must not
REFERENCE = Path(__file__).parents[2] / "models" / "default"  # the bundle that the device's report and this CPU measure
REMEDY = "run `python -m edge bench --bundle models/default --json FILE` on the device, with this models/default"


@dataclass(frozen=True)
class Target:
    """The CPU that will judge parts."""

    name: str
    cap: str | None = None  # ONEDNN_MAX_CPU_ISA, where this CPU stands in for a lesser one
    reference: Bundle | None = None  # the bundle that a device's report measured
    infer_ms: float = 0.0  # the p50 of the reference on that device


def read_target(text: str | None) -> Target:
    """Return the target of a tier's name or of a file that `edge bench --json` wrote; None means this CPU.

    A tier may be written small. Raises Int8Error.
    """
    cpu = read_cpu()
    tier = None if text is None else text.upper()
    if text is None or tier == cpu.native_tier:
        return Target(cpu.native_tier)
    if tier not in TIERS:
        return _device(text)
    if tier not in cpu.tiers:
        raise Int8Error(f"--target {text}: this CPU is only {cpu.native_tier}; {REMEDY} and give --target FILE")
    return Target(tier, TIER_CAPS[tier])


def _device(text: str) -> Target:
    try:
        report = json.loads(Path(text).read_bytes())
        shipped = next(row for row in report["results"] if (row["runtime"], row["precision"]) == ("openvino", "int8"))
        digest, infer_ms = report["bundle"]["digest"], float(shipped["stages"]["infer_ms"]["p50"])
        name = f"{report['cpu']['model']}, {shipped['tier']}"
    except OSError as error:
        raise Int8Error(f"--target {text}: no tier ({', '.join(TIERS)}), and no file ({error.strerror})") from None
    except (ValueError, KeyError, StopIteration, TypeError):
        raise Int8Error(f"--target {text}: is no report of the benchmark; {REMEDY}") from None
    if not 0 < infer_ms < math.inf:
        raise Int8Error(f"--target {text}: says that a part takes {infer_ms:g} ms; {REMEDY}")
    reference = open_bundle(REFERENCE)
    if digest != reference.digest:
        raise Int8Error(f"--target {text}: measured another bundle than this models/default; {REMEDY}")
    return Target(name, None, reference, infer_ms)


def measure_latency(model: Path, spec: InputSpec, image: Path, target: Target, threads: int = 0) -> tuple[str, float]:
    """Return the tier that was measured on, and the p50 in ms of preparing and judging the photograph on the target.

    threads: of the runtime; 0: as many as it takes by itself. For a device the time here is multiplied by what the
    reference bundle takes there over what it takes here. Raises Int8Error.
    """
    rows = [[str(model.resolve()), spec.model_dump(), str(image.resolve())]]
    if target.reference is not None:
        rows.append(_shipped(target.reference))
    answer = _measured(rows, target.cap, threads)
    total_ms: float = answer["total_ms"][0]
    return answer["tier"], total_ms if target.reference is None else total_ms * target.infer_ms / answer["infer_ms"][1]


def _shipped(bundle: Bundle) -> list[Any]:
    """Return a bundle's model, its input and a photograph, as they are measured."""
    shown = bundle.file(bundle.manifest.references[0].file)
    return [str(bundle.file(INT8_IR)), bundle.manifest.input.model_dump(), str(shown)]


def _measured(rows: list[list[Any]], cap: str | None, threads: int = 0) -> dict[str, Any]:
    """Measure model files in a process of its own: (model, input, photograph) each."""
    environment = {name: value for name, value in os.environ.items() if name != ISA_CAP}
    if cap is not None:
        environment[ISA_CAP] = cap
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "train.int8.latency", str(threads)]
    done = subprocess.run(command, env=environment, input=json.dumps(rows), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Int8Error(f"measuring the latency failed (exit status {done.returncode}); see above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def prepare_ms(photo: Path, spec: InputSpec) -> float:
    """Return the ms that preparing a photograph takes on this CPU when it is quiet; locating the part is most of it."""
    frame = load_photo(photo, spec)
    counted = []
    for _ in range(TURNS * BLOCK):
        start = time.perf_counter()
        prepare(frame, spec)
        counted.append(1e3 * (time.perf_counter() - start))
    return float(np.quantile(counted, QUICK))


def predicted_ms(
    features: PatchFeatures, spec: InputSpec, recipe: TrainConfig, heads: DefectHeads | None = None
) -> float:
    """Predict the p50 in ms of inference on this CPU when it is quiet, from multiply-accumulates.

    The shipped bundle is measured, and its time scaled by what the networks have to multiply. The quickest tenth
    counts: other work on this machine must not make a smaller network.
    """
    reference = open_bundle(REFERENCE)
    manifest = reference.manifest
    ms: float = _measured([_shipped(reference)], None)["quick_ms"][0]
    known = TrainConfig.model_validate(manifest.training["recipe"])
    shipped = PatchFeatures(Backbone(known.backbone), known.patch_stride).eval()
    one = multiply_accumulates(shipped, manifest.input, known)
    return ms * multiply_accumulates(features, spec, recipe, heads) / one


def slowed() -> str:
    """Return words to append to times of this moment where other work makes them longer, or nothing."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    said = f"; other work slows it (load {load:.1f} of {cores}): fit again when it is quiet"
    return said if load > BUSY * cores else ""


def affordable_side(pixels: int, before_ms: float, infer_ms: float, limit_ms: float) -> int:
    """Return the side of the largest square input of at most so many pixels that takes limit_ms; 0 where none does.

    before_ms: of preparing a photograph, whatever the input; infer_ms: of judging one of so many pixels.
    """
    share = min(1.0, max(0.0, limit_ms - before_ms) / infer_ms)
    return int((pixels * share) ** 0.5)


def multiply_accumulates(
    features: PatchFeatures, spec: InputSpec, recipe: TrainConfig, heads: DefectHeads | None = None
) -> int:
    """Return how many multiply-accumulates an image takes in the backbone, the memory banks and the heads."""
    scales = max(1, recipe.scales)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        stages = features.stages(torch.zeros(1, 3, spec.height, spec.width), scales)
        patches = [features.patches(one) for one in stages]
        if heads is not None:
            for one in stages:
                heads(one)
    cells = sum(one.shape[1] * one.shape[2] * one.shape[3] for one in patches)  # times channels
    return counter.get_total_flops() // 2 + cells * recipe.bank // scales


def _answer(rows: list[list[Any]], threads: int) -> dict[str, Any]:
    """Measure the models in turns; return the tier and the p50 of each model, with and without preparation."""
    specs = [InputSpec(**spec) for _, spec, _ in rows]
    ready = [
        (Detector(Path(model), spec, settings=Settings(threads)), load_photo(Path(image), spec))
        for spec, (model, _, image) in zip(specs, rows, strict=True)
    ]
    counted = in_turns(ready)
    infer_ms, total_ms = np.median(counted, axis=1).T.tolist()
    quick_ms = np.quantile(counted, QUICK, axis=1)[:, 0].tolist()
    return {"tier": cpu_tier(), "infer_ms": infer_ms, "total_ms": total_ms, "quick_ms": quick_ms}


def in_turns(ready: Sequence[tuple[Detector, Image]]) -> NDArray[np.float64]:
    """Return (models, images, 2) milliseconds, without and with preparation: each model judges its photo in turns.

    What else the machine does then slows all of them alike.
    """
    counted: list[list[tuple[float, float]]] = [[] for _ in ready]
    for _ in progress(range(TURNS), "latency"):
        for (detector, image), times in zip(ready, counted, strict=True):
            found = [detector.predict(image) for _ in range(SETTLE + BLOCK)][SETTLE:]
            times += [(one.infer_ms, one.prepare_ms + one.infer_ms) for one in found]
    return np.asarray(counted)


if __name__ == "__main__":
    try:
        print(json.dumps(_answer(json.load(sys.stdin), int(sys.argv[1]))))
    except EdgeError as error:
        sys.exit(f"linewatch: {error}")
