"""Bundle -> Prediction: what a model's answers mean. How it is run is in edge/inference/runtimes.py."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edge.core.types import AnomalyMap, EdgeError, Image, Located, Prediction
from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_ONNX, Bundle, Calibration
from edge.inference.cpu import require_cpu
from edge.inference.placement import MapGeometry, on_frame, placed, said_by
from edge.inference.placement.boxes import BoxFacts, boxes_on_frame, located
from edge.inference.preprocess import InputSpec, load_image, prepare, view_of
from edge.inference.runtimes import RUNTIMES, Loaded, Runtime, Settings, load

__all__ = [
    "RUNTIMES",
    "Detector",
    "DetectorError",
    "Precision",
    "ReferenceCheck",
    "Runtime",
    "check_references",
    "model_file",
    "probability",
]

Precision = Literal["int8", "fp32"]
SCORE, ANOMALY_MAP = "score", "anomaly_map"  # what every model answers
TYPES = "defect_types"  # (1, K) shares of the K types, where the manifest names types
CLASS_MAP = "class_map"  # (1, 1, h, w) as the map, where the model has one: its mean is the log odds of "defective"
BOXES, BOX_TYPES = "boxes", "box_types"  # (1, 4, h, w) sides in input pixels, (1, K, h, w) shares, where it names boxes
DEFAULT_SETTINGS = Settings()


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
        settings: Settings = DEFAULT_SETTINGS,
        types: Sequence[str] = (),
        geometry: MapGeometry | None = None,
        boxes: BoxFacts | None = None,
    ) -> None:
        """Load and compile a model file (IR or ONNX); geometry: where the cells of its map look; boxes: of a detector.

        Without a geometry the detector is for scores only: its maps are the model's own cells, in no frame's pixels.

        The model takes `image` (1, height, width, 3) uint8 RGB and answers `score` (1,), `anomaly_map` (1, 1, h, w)
        and, with types, `defect_types` (1, K), and with boxes `boxes` (1, 4, h, w) and `box_types` (1, K, h, w), all
        float32. It may answer `class_map` (1, 1, h, w). Raises DetectorError when it does not, RuntimeLoadError when
        the runtime does not load it, CpuError when this CPU is none for INT8.
        """
        require_cpu()
        self.spec = spec
        self.runtime = runtime
        self._calibration, self._boxes = calibration, boxes
        self._types = tuple(types)
        loaded = load(model, runtime, settings)
        if loaded.shape != (1, spec.height, spec.width, 3):
            raise DetectorError(
                f"{model}: takes input {loaded.shape}, the manifest says {spec.width}x{spec.height} RGB"
            )
        _refuse_other_answers(model, loaded, types, boxes)
        self._geometry = geometry
        rows, columns = loaded.outputs[ANOMALY_MAP][-2:]
        if geometry is not None and (geometry.columns, geometry.rows) != (columns, rows):
            raise DetectorError(
                f"{model}: answers a map of {columns}x{rows} cells, the manifest says "
                f"{geometry.columns}x{geometry.rows}; pack the bundle again"
            )
        self.map_size = columns, rows  # cells
        self.run = loaded.run  # the bare model: prepared tensor -> output name -> array

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        runtime: Runtime = "openvino",
        precision: Precision = "int8",
        settings: Settings = DEFAULT_SETTINGS,
    ) -> Detector:
        """Load a verified bundle's model; int8 is what ships, fp32 is for comparison."""
        manifest, model = bundle.manifest, model_file(bundle, runtime, precision)
        spec, calibration, types = manifest.input, manifest.calibration, manifest.types
        detector = cls(model, spec, calibration, runtime, settings, types, manifest.map, manifest.boxes)
        if manifest.map is None:
            detector._geometry = manifest.format_1_geometry(*detector.map_size)
        return detector

    def predict(self, image: Image) -> Prediction:
        """Judge one (H, W, 3) uint8 BGR frame; the map covers the prediction's box of the frame.

        Raises ImageError when it does not fit the input spec, PartNotFoundError when the part is not found.
        """
        start = time.perf_counter()
        view = view_of(image, self.spec)
        tensor = prepare(image, self.spec, view)
        prepared = time.perf_counter()
        found = self._answer(tensor, (prepared - start) * 1e3)
        anomaly_map = on_frame(found.anomaly_map, view, self.spec, image.shape)
        class_map = found.class_map
        if class_map is not None:
            class_map = on_frame(class_map, view, self.spec, image.shape)
        if found.boxes is not None:
            found = boxes_on_frame(found, view, self.spec, image.shape)
            found = replace(found, defect_probability=probability(found.score, self._calibration))
        infer_ms = (time.perf_counter() - prepared) * 1e3
        return replace(found, anomaly_map=anomaly_map, class_map=class_map, infer_ms=infer_ms, box=view.box)

    def predict_prepared(self, tensor: Image) -> Prediction:
        """Judge a tensor that `prepare` made, (1, height, width, 3) uint8 RGB; the map covers the region (on_frame)."""
        if tensor.shape != (1, self.spec.height, self.spec.width, 3) or tensor.dtype != np.uint8:
            raise DetectorError(f"a prepared image of {tensor.shape} {tensor.dtype} does not fit {self.spec}")
        return self._answer(tensor, 0.0)

    def infer(self, tensor: Image) -> tuple[float, AnomalyMap]:
        """Run the bare graph on a prepared tensor: (score, the model's own (rows, columns) float32 cells)."""
        score, cells, *_ = self._infer(tensor)
        return score, cells

    def _infer(self, tensor: Image) -> tuple[float, AnomalyMap, str, AnomalyMap | None]:
        answers = self.run(tensor)
        score, cells = float(answers[SCORE].reshape(())), np.asarray(answers[ANOMALY_MAP], dtype=np.float32)[0, 0]
        said = said_by(np.asarray(answers[CLASS_MAP], np.float32)[0, 0]) if CLASS_MAP in answers else None
        return score, cells, self._types[int(np.argmax(answers[TYPES]))] if self._types else "", said

    def _infer_boxes(self, tensor: Image, facts: BoxFacts) -> tuple[float, AnomalyMap, tuple[Located, ...]]:
        answers = self.run(tensor)
        cells, sides, shares = (np.asarray(answers[name], np.float32)[0] for name in (ANOMALY_MAP, BOXES, BOX_TYPES))
        anomaly_map, found = located(cells[0], sides, shares, facts, (self.spec.width, self.spec.height))
        return (found[0].score if found else math.nan), anomaly_map, found

    def _answer(self, tensor: Image, prepare_ms: float) -> Prediction:
        start = time.perf_counter()
        boxes: tuple[Located, ...] | None = None
        said: AnomalyMap | None = None
        if self._boxes is None:
            score, cells, defect_type, said = self._infer(tensor)
        else:
            score, cells, boxes = self._infer_boxes(tensor, self._boxes)
            defect_type = boxes[0].label if boxes else ""
        anomaly_map = cells if self._geometry is None else placed(cells, self._geometry, tensor)
        if said is not None and self._geometry is not None:
            said = placed(said, self._geometry, tensor)
        infer_ms = (time.perf_counter() - start) * 1e3
        chance = probability(score, self._calibration)
        return Prediction(score, chance, anomaly_map, prepare_ms, infer_ms, defect_type, boxes=boxes, class_map=said)


def _refuse_other_answers(model: Path, loaded: Loaded, types: Sequence[str], boxes: BoxFacts | None) -> None:
    """Raise DetectorError where an answer is missing, or boxes do not belong to the map's cells or the types."""
    for name in (SCORE, ANOMALY_MAP, *([TYPES] if types else []), *([BOXES, BOX_TYPES] if boxes else [])):
        if name not in loaded.outputs:
            raise DetectorError(f"{model}: answers {', '.join(loaded.outputs)} and no {name!r}; export it again")
    cells = loaded.outputs[ANOMALY_MAP][-2:]
    wanted = {} if boxes is None else {BOXES: (1, 4, *cells), BOX_TYPES: (1, len(boxes.types), *cells)}
    if CLASS_MAP in loaded.outputs:
        wanted[CLASS_MAP] = (1, 1, *cells)
    for name, shape in wanted.items():
        if tuple(loaded.outputs[name]) != shape:
            raise DetectorError(
                f"{model}: answers {name!r} of {loaded.outputs[name]}, the manifest says {shape}; pack the bundle again"
            )


def model_file(bundle: Bundle, runtime: Runtime, precision: Precision) -> Path:
    """The file of a bundle that a runtime takes for a precision."""
    int8 = INT8_IR if runtime == "openvino" else INT8_ONNX
    return bundle.file(int8 if precision == "int8" else FP32_ONNX)


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
