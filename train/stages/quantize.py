"""Stage quantize: model.pt -> model_int8.onnx and the OpenVINO IR, through Neural Compressor; parity is a gate."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.cli import OneLineParser
from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_ONNX
from train.int8.build import build, calibration_files
from train.int8.parity import int8_convolutions, parity
from train.int8.switched import FP32_SWITCHED, INT8_SWITCHED
from train.int8.trials import HeldOut, Trial, choose, compare, held_out, over_limits, ways
from train.network.boxes.fit import load_boxes
from train.network.saved import load_network
from train.run import FitReport, Run

MOST_SECONDS = 150  # after this no further way is tried: photos to bundle are to take about five minutes


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train quantize", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    quantize(Run(parser.parse_args(argv).work))


def quantize(work: Run) -> None:
    """Write the INT8 model, prove that it is INT8 and that all runtimes agree on it, and report what was measured."""
    report = work.fit_report()
    work.need(FP32_ONNX, "export")
    network = load_boxes(work) if report.boxes else load_network(work)
    with tempfile.TemporaryDirectory() as scratch:
        images = held_out(report)
        fp32 = images.scores(work.file(FP32_ONNX), report.input, work.file(FP32_SWITCHED))
        tried = _attempts(work, report, images, fp32, Path(scratch))
        chosen = choose([trial for trial, _ in tried])
        folder = next(folder for trial, folder in tried if trial is chosen)
        for path in folder.iterdir():
            shutil.copy(path, work.file(path.name))
    convolutions = int8_convolutions(work.file(INT8_IR))
    facts: dict[str, Any] = {
        "tool": "neural_compressor PT2E static, activations u8 per tensor, weights s8 per channel (dense: 7 bits)",
        "calibration_images": len(calibration_files(report, chosen.settings)),
        "convolutions": {"all": convolutions, "int8": convolutions},
        "trials": [trial.facts(trial is chosen) for trial, _ in tried],
        "measured_on": images.source,
        "within_limits": chosen.passed,
        "parity": parity(work, network, report, float(np.median(fp32[~images.defective]))),
        "bytes": work.file(INT8_ONNX).stat().st_size,
    }
    work.write_report("quantize.json", facts)
    print(
        f"quantize: all {convolutions} convolutions in INT8, "
        f"{facts['bytes'] / 1e6:.1f} MB; {chosen.words} ({images.source})"
    )
    if not chosen.passed:
        print(f"quantize: warning: {over_limits(len(tried))}")


def _attempts(
    work: Run, report: FitReport, images: HeldOut, fp32: NDArray[np.float64], scratch: Path
) -> list[tuple[Trial, Path]]:
    """Quantise until the limits are kept or nothing is left to try; each trial with the folder of its files."""
    start = time.monotonic()
    trials: list[Trial] = []
    folders: list[Path] = []
    for settings in ways(report.recipe.calibration_images):
        folders.append(scratch / str(len(trials)))
        folders[-1].mkdir()
        build(work, report, settings, folders[-1])
        int8 = images.scores(folders[-1] / INT8_IR, report.input, folders[-1] / INT8_SWITCHED)
        trials.append(compare(settings, images, int8, fp32))
        if trials[-1].passed or time.monotonic() - start > MOST_SECONDS:
            break
        print(f"quantize: over the limits, trying on. {trials[-1].words}")
    return list(zip(trials, folders, strict=True))
