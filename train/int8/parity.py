"""The proof that a file is all INT8 and that every runtime answers the same with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_ONNX
from edge.inference.detector import Detector, Runtime
from edge.inference.usable import load_photo
from train.int8 import Int8Error
from train.int8.compiled import runtime_nodes
from train.network.bank import image_tensor
from train.run import FitReport, Run

FP32_TOLERANCE = 1e-3  # relative, torch = ONNX Runtime = OpenVINO on the float graph
# Relative, ONNX Runtime against OpenVINO on the INT8 file: they round at different places. Standard deviation: 1.5 %,
# and at most 5.7 %, on 122 test images of two runs with taught backbones (docs/decisions/0003).
INT8_TOLERANCE = 0.08
PARITY_IMAGES = 8


def int8_convolutions(model: Path) -> int:
    """Return the number of convolutions of the compiled graph, all in 8 bits; raises Int8Error when one is not."""
    nodes = [node for node in runtime_nodes(model) if node.kind == "Convolution"]
    slow = sorted(node.name.partition("/")[0] for node in nodes if node.precision not in ("u8", "i8"))
    if slow or not nodes:
        raise Int8Error(f"{model.name}: {len(slow)} of {len(nodes)} convolutions run in float: {', '.join(slow)}")
    return len(nodes)


def parity(work: Run, network: nn.Module, report: FitReport, typical: float = 0.0) -> dict[str, Any]:
    """Largest relative score difference between runtimes on real images; raises Int8Error over the tolerance.

    typical: score of an unseen good part. Lower scores, those of images that are in the bank, are measured against it:
    there little is left of two large numbers, and nothing depends on it.
    """
    files = [report.data / name for name in (*report.holdout_images, *report.fit_images)][:PARITY_IMAGES]
    spec = report.input
    with torch.inference_mode():
        torch_fp32 = np.array([float(network(image_tensor(path, spec))[0]) for path in files])
    compared: tuple[tuple[str, Runtime], ...] = (
        (FP32_ONNX, "openvino"),
        (FP32_ONNX, "onnxruntime"),
        (INT8_IR, "openvino"),
        (INT8_ONNX, "onnxruntime"),
    )
    scores = {
        (name, runtime): _scores(Detector(work.file(name), spec, None, runtime), files) for name, runtime in compared
    }
    int8 = scores[INT8_IR, "openvino"]
    fp32_onnx = {name: scores[FP32_ONNX, name] for name in ("openvino", "onnxruntime")}
    onnx_int8 = scores[INT8_ONNX, "onnxruntime"]
    return {
        "images": len(files),
        "fp32_openvino": _gate("FP32 in OpenVINO", fp32_onnx["openvino"], torch_fp32, FP32_TOLERANCE, typical),
        "fp32_onnxruntime": _gate(
            "FP32 in ONNX Runtime", fp32_onnx["onnxruntime"], torch_fp32, FP32_TOLERANCE, typical
        ),
        "fp32_tolerance": FP32_TOLERANCE,
        "int8_onnxruntime": _gate("INT8 in ONNX Runtime", onnx_int8, int8, INT8_TOLERANCE, typical),
        "int8_tolerance": INT8_TOLERANCE,
        "int8_against_fp32": float(np.max(np.abs(int8 - torch_fp32) / np.maximum(torch_fp32, typical))),
    }


def _scores(detector: Detector, files: Sequence[Path]) -> np.ndarray[Any, Any]:
    return np.array([detector.predict(load_photo(path, detector.spec)).score for path in files])


def _gate(what: str, scores: Any, expected: Any, tolerance: float, typical: float) -> float:
    apart = float(np.max(np.abs(scores - expected) / np.maximum(expected, typical)))
    if not apart <= tolerance:
        raise Int8Error(f"{what}: scores are {apart:.2%} off, allowed are {tolerance:.2%}; do not ship this model")
    return apart
