"""Bundle -> Prediction. The only file of the device side that imports openvino or onnxruntime."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import openvino
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from edge.bundle import FP32_ONNX, INT8_IR, INT8_ONNX, Bundle, Calibration
from edge.preprocess import InputSpec, load_image, prepare
from edge.types import AnomalyMap, EdgeError, Image, Prediction

Runtime = Literal["openvino", "onnxruntime"]
Precision = Literal["int8", "fp32"]
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
# OpenVINO raises RuntimeError; each error of ONNX Runtime stands alone under Exception.
_LOAD_ERRORS = (
    RuntimeError,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoSuchFile,
    ort.NotImplemented,
    ort.RuntimeException,
)


class DetectorError(EdgeError):
    """A model that cannot be loaded or whose answer is not usable."""


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """One reference image of a bundle, scored on this CPU."""

    file: str
    expected: float
    score: float
    tolerance: float
    infer_ms: float

    @property
    def passed(self) -> bool:
        """Written so that a score that is not a number does not pass."""
        return abs(self.score - self.expected) <= self.tolerance


class Detector:
    """One compiled model, batch 1. Not thread-safe: one engine, one detector."""

    def __init__(
        self,
        model: Path,
        spec: InputSpec,
        calibration: Calibration | None = None,
        runtime: Runtime = "openvino",
        threads: int = 0,
    ) -> None:
        """Load and compile a model file (IR or ONNX). threads 0 leaves the number to the runtime.

        The model takes `image` (1, height, width, 3) uint8 RGB and answers `score` (1,) and
        `anomaly_map` (1, 1, h, w), both float32. Raises DetectorError when it does not.
        """
        self.spec = spec
        self.runtime = runtime
        self._calibration = calibration
        load = _load_openvino if runtime == "openvino" else _load_onnxruntime
        try:
            self._run, shape = load(model, threads)
        except _LOAD_ERRORS as error:
            raise DetectorError(f"{model}: {runtime} cannot load it ({_last_line(error)})") from error
        if shape != (1, spec.height, spec.width, 3):
            raise DetectorError(f"{model}: takes input {shape}, the manifest says {spec.width}x{spec.height} RGB")

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, runtime: Runtime = "openvino", precision: Precision = "int8", threads: int = 0
    ) -> Detector:
        """The detector of a verified bundle; int8 is what ships, fp32 is the yardstick for the benchmark."""
        int8 = INT8_IR if runtime == "openvino" else INT8_ONNX
        name = int8 if precision == "int8" else FP32_ONNX
        return cls(bundle.file(name), bundle.manifest.input, bundle.manifest.calibration, runtime, threads)

    def predict(self, image: Image) -> Prediction:
        """Judge one (H, W, 3) uint8 BGR frame; raises ImageError when it does not fit the input spec."""
        start = time.perf_counter()
        tensor = prepare(image, self.spec)
        return self._answer(tensor, (time.perf_counter() - start) * 1e3)

    def predict_prepared(self, tensor: Image) -> Prediction:
        """Judge a tensor that `prepare` made, (1, height, width, 3) uint8 RGB."""
        if tensor.shape != (1, self.spec.height, self.spec.width, 3) or tensor.dtype != np.uint8:
            raise DetectorError(f"a prepared image of {tensor.shape} {tensor.dtype} does not fit {self.spec}")
        return self._answer(tensor, 0.0)

    def infer(self, tensor: Image) -> tuple[float, AnomalyMap]:
        """The raw graph: (score, (h, w) float32 map) of a prepared tensor."""
        score, anomaly_map = self._run(tensor)
        return float(np.asarray(score).reshape(())), np.asarray(anomaly_map, dtype=np.float32)[0, 0]

    def _answer(self, tensor: Image, prepare_ms: float) -> Prediction:
        start = time.perf_counter()
        score, anomaly_map = self.infer(tensor)
        infer_ms = (time.perf_counter() - start) * 1e3
        return Prediction(score, probability(score, self._calibration), anomaly_map, prepare_ms, infer_ms)


def _last_line(error: Exception) -> str:
    """OpenVINO puts its source lines first and the cause last."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def probability(score: float, calibration: Calibration | None) -> float:
    """Calibrated defect probability, 0..1; NaN where the score is not a number or nothing is calibrated."""
    if calibration is None or not math.isfinite(score):
        return math.nan
    return 0.5 * (1.0 + math.tanh(0.5 * (score - calibration.midpoint) / calibration.scale))


def check_references(detector: Detector, bundle: Bundle) -> list[ReferenceCheck]:
    """Score the bundle's reference images on this CPU, through the path that parts take."""
    checks = []
    for reference in bundle.manifest.references:
        prediction = detector.predict(load_image(bundle.file(reference.file)))
        total_ms = prediction.prepare_ms + prediction.infer_ms
        checks.append(ReferenceCheck(reference.file, reference.score, prediction.score, reference.tolerance, total_ms))
    return checks


Run = Callable[[Image], tuple[Any, Any]]


def _load_openvino(model: Path, threads: int) -> tuple[Run, tuple[int, ...]]:
    """f32 hint: an AMX machine would otherwise run what is not INT8 in bf16, and scores would differ by CPU."""
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(model), "CPU", options)
    request = compiled.create_infer_request()
    score, anomaly_map = compiled.output("score"), compiled.output("anomaly_map")

    def run(tensor: Image) -> tuple[Any, Any]:
        request.infer([tensor])
        return request.get_tensor(score).data.copy(), request.get_tensor(anomaly_map).data.copy()

    return run, tuple(compiled.input("image").shape)


def _load_onnxruntime(model: Path, threads: int) -> tuple[Run, tuple[int, ...]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def run(tensor: Image) -> tuple[Any, Any]:
        score, anomaly_map = session.run(["score", "anomaly_map"], {"image": tensor})
        return score, anomaly_map

    return run, tuple(session.get_inputs()[0].shape)
