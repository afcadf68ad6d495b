"""Stage yardstick: NNCF's INT8 of the same float graph, beside the one that ships: accuracy and latency.

Development only: NNCF is installed with the tests, nothing here gets into a bundle.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from edge.core.cli import OneLineParser
from edge.inference.bundle import FP32_ONNX, INT8_IR
from edge.inference.cpu import cpu_tier
from edge.inference.detector import Detector
from edge.inference.preprocess import load_image, prepare
from train import TrainError
from train.int8.trials import HeldOut, Settings, compare, held_out
from train.run import FitReport, Work
from train.stages.export import quiet

NNCF_IR = "yardstick_int8.xml"
REPORT = "yardstick.json"


class YardstickError(TrainError):
    """NNCF is not there."""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train yardstick", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--n", type=int, default=300, help="inferences of each file, in turns (default 300)")
    args = parser.parse_args(argv)
    yardstick(Work(args.work), args.n)


def yardstick(work: Work, n: int) -> dict[str, Any]:
    """Quantise the run's float graph with NNCF, measure both INT8 files against it, write yardstick.json."""
    report = work.fit_report()
    files = {"float": work.need(FP32_ONNX, "export"), "shipped": work.need(INT8_IR, "quantize")}
    files["nncf"] = work.file(NNCF_IR)
    _nncf(files["float"], report, files["nncf"])
    images = held_out(report)
    scores = {name: images.scores(path, report.input) for name, path in files.items()}
    latency = _in_turns(files, report, images, n)
    facts: dict[str, Any] = {"measured_on": images.source, "cpu_tier": cpu_tier(), "n": n, "ms_p50": latency}
    for name in ("shipped", "nncf"):
        trial = compare(Settings(name), images, scores[name], scores["float"])
        facts[name] = {"auroc_drop": trial.auroc_drop, "correlation": trial.correlation, "flips": trial.flips}
        print(f"yardstick: {trial.words}, p50 {latency[name]:.2f} ms")
    print(f"yardstick: float p50 {latency['float']:.2f} ms; {images.source}, {facts['cpu_tier']}, n = {n} in turns")
    work.write_report(REPORT, facts)
    return facts


def _nncf(model: Path, report: FitReport, target: Path) -> None:
    """NNCF's post-training quantisation with its defaults, on the images that set the shipped file's ranges."""
    with quiet():
        try:
            import nncf
        except ImportError:
            raise YardstickError("nncf is missing; install the development packages: `make test` does") from None
        names = report.fit_images[:: max(1, len(report.fit_images) // report.recipe.calibration_images)]
        chosen = names[: report.recipe.calibration_images]
        data = nncf.Dataset([prepare(load_image(report.data / name), report.input) for name in chosen])
        quantised = nncf.quantize(openvino.Core().read_model(model), data, subset_size=len(chosen))
    openvino.save_model(quantised, target, compress_to_fp16=False)


def _in_turns(files: dict[str, Path], report: FitReport, images: HeldOut, n: int) -> dict[str, float]:
    """p50 of an inference in ms for each file, one after the other in every turn, so that all see the same machine."""
    detectors = {name: Detector(path, report.input) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(n + 10):
        tensor = images.tensors[turn % len(images.tensors)]
        for name, detector in detectors.items():
            start = time.perf_counter()
            detector.infer(tensor)
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(found[10:])) for name, found in times.items()}
