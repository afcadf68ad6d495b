"""Stage quantize: model.pt -> model_int8.onnx and the OpenVINO IR, through Neural Compressor; parity is a gate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import torch
from torch import nn
from torch.fx import GraphModule

from edge.arguments import OneLineParser
from edge.bundle import FP32_ONNX, INT8_IR, INT8_ONNX
from edge.detector import Detector, Runtime
from edge.preprocess import InputSpec, load_image, prepare
from train.errors import TrainError
from train.export import example, outputs, quiet, to_onnx
from train.fit import chosen_patches, collect_patches, image_tensor, load_features, load_network, statistics
from train.graph import finish, fold_weights
from train.model import InspectionNet, NormalityHead, PatchFeatures
from train.profile import runtime_nodes
from train.work import FitReport, Work, progress

FP32_TOLERANCE = 1e-3  # relative, torch = ONNX Runtime = OpenVINO on the float graph
INT8_TOLERANCE = 0.03  # relative, ONNX Runtime against OpenVINO on the INT8 file: they round at different places
PARITY_IMAGES = 8


class QuantizeError(TrainError):
    """The INT8 file is not what it says: not all INT8, or not the same in every runtime."""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train quantize", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    quantize(Work(parser.parse_args(argv).work))


def quantize(work: Work) -> None:
    """Write the INT8 model, prove that it is INT8 and that all runtimes agree on it, and report what was measured."""
    report = work.fit_report()
    work.need(FP32_ONNX, "export")
    features = load_features(work)
    head = int8_head(features, chosen_patches(work), report)
    network = load_network(work, head)
    _write_int8(network, report, outputs(report), work.file(INT8_ONNX), work.file(INT8_IR))
    convolutions = int8_convolutions(work.file(INT8_IR))
    facts: dict[str, Any] = {
        "tool": "neural_compressor PT2E static, activations u8 per tensor, weights s8 per channel (dense: 7 bits)",
        "calibration_images": len(_calibration_files(report)),
        "convolutions": {"all": len(convolutions), "int8": sum(convolutions.values())},
        "parity": parity(work, load_network(work), report),
        "bytes": work.file(INT8_ONNX).stat().st_size,
    }
    work.write_report("quantize.json", facts)
    print(
        f"quantize: {len(convolutions)} of {len(convolutions)} convolutions in INT8, {facts['bytes'] / 1e6:.1f} MB; "
        f"INT8 against FP32 score {facts['parity']['int8_against_fp32']:.2%} apart at most"
    )


def int8_head(features: PatchFeatures, chosen: torch.Tensor, report: FitReport) -> NormalityHead:
    """The memory bank again, from the same patches, but as the INT8 features see them.

    A bank of float features would measure rounding as if it were wear: on parts that hardly vary, that costs more
    than the rounding itself (docs/decisions/0003).
    """
    files = [report.data / name for name in report.fit_images]
    with tempfile.TemporaryDirectory() as scratch:
        ir = Path(scratch) / "features.xml"
        _write_int8(features, report, ["features"], ir.with_suffix(".onnx"), ir)
        patches = collect_patches(_extractor(ir, report.input), files, report.recipe)
    mean, std = statistics(patches, features.fine_channels, report.recipe)
    return NormalityHead(mean, std, (patches[chosen] - mean) / std)


def _extractor(ir: Path, spec: InputSpec) -> Callable[[Path], torch.Tensor]:
    """Image file -> (C, h, w) features, computed by OpenVINO as on the device."""
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(ir), "CPU", options).create_infer_request()

    def extract(path: Path) -> torch.Tensor:
        request.infer([prepare(load_image(path), spec)])
        return torch.from_numpy(request.get_output_tensor(0).data[0].copy())

    return extract


def _write_int8(network: nn.Module, report: FitReport, names: Sequence[str], onnx_file: Path, ir: Path) -> None:
    """Quantise a network, store its weights as int8 and write both files."""
    spec = report.input
    with quiet():
        quantised = _quantised(network, _calibration_files(report), spec)
        model = to_onnx(torch.export.export(quantised, (example(spec),)), spec, names)
    fold_weights(model)
    finish(model, spec.height, spec.width)
    onnx.save(model, onnx_file)
    openvino.save_model(openvino.convert_model(onnx_file), ir, compress_to_fp16=False)


def _calibration_files(report: FitReport) -> list[Path]:
    """Good images the ranges are measured on, spread evenly over those the model was fitted to."""
    files = [report.data / name for name in report.fit_images]
    step = max(1, len(files) // report.recipe.calibration_images)
    return files[::step][: report.recipe.calibration_images]


def _quantised(network: nn.Module, files: Sequence[Path], spec: InputSpec) -> GraphModule:
    """Neural Compressor's post-training static quantisation on the exported graph (PT2E)."""
    # Imported here, inside quiet(): the packages write to the log while they are imported.
    from neural_compressor.torch.export import export as export_graph
    from neural_compressor.torch.quantization import INT8StaticQuantConfig, convert
    from neural_compressor.torch.quantization import prepare as observe

    exported = export_graph(network, (example(spec),))
    prepared = observe(exported, INT8StaticQuantConfig())
    _observe_extremes(prepared)
    with torch.no_grad():
        for path in progress(files, "INT8 ranges"):
            prepared(image_tensor(path, spec))
    return convert(prepared)


def _observe_extremes(prepared: GraphModule) -> None:
    """Let every activation's range be the smallest and largest value seen.

    The default is a moving average that forgets slowly: after a hundred images its range is still almost that of
    the first one, and what lies outside it is clipped, which is where defects are.
    """
    from torchao.quantization.pt2e.observer import MinMaxObserver, MovingAverageMinMaxObserver

    for name, observer in list(prepared.named_children()):
        if isinstance(observer, MovingAverageMinMaxObserver):
            extremes = MinMaxObserver(
                dtype=observer.dtype,
                qscheme=observer.qscheme,
                quant_min=observer.quant_min,
                quant_max=observer.quant_max,
            )
            setattr(prepared, name, extremes)


def int8_convolutions(model: Path) -> dict[str, bool]:
    """Name -> computed in 8 bits, for every convolution of the compiled graph; raises QuantizeError if one is not."""
    nodes = [node for node in runtime_nodes(model) if node.kind == "Convolution"]
    found = {node.name: node.precision in ("u8", "i8") for node in nodes}
    slow = [name for name, int8 in found.items() if not int8]
    if slow or not found:
        raise QuantizeError(f"{model.name}: {len(slow)} of {len(found)} convolutions run in float: {', '.join(slow)}")
    return found


def parity(work: Work, network: InspectionNet, report: FitReport) -> dict[str, Any]:
    """Largest relative score difference between runtimes on real images; raises QuantizeError over the tolerance."""
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
    return {
        "images": len(files),
        "fp32_openvino": _gate("FP32 in OpenVINO", scores[FP32_ONNX, "openvino"], torch_fp32, FP32_TOLERANCE),
        "fp32_onnxruntime": _gate("FP32 in ONNX Runtime", scores[FP32_ONNX, "onnxruntime"], torch_fp32, FP32_TOLERANCE),
        "fp32_tolerance": FP32_TOLERANCE,
        "int8_onnxruntime": _gate("INT8 in ONNX Runtime", scores[INT8_ONNX, "onnxruntime"], int8, INT8_TOLERANCE),
        "int8_tolerance": INT8_TOLERANCE,
        "int8_against_fp32": float(np.max(np.abs(int8 - torch_fp32) / torch_fp32)),
    }


def _scores(detector: Detector, files: Sequence[Path]) -> np.ndarray[Any, Any]:
    return np.array([detector.predict(load_image(path)).score for path in files])


def _gate(what: str, scores: Any, expected: Any, tolerance: float) -> float:
    apart = float(np.max(np.abs(scores - expected) / expected))
    if not apart <= tolerance:
        raise QuantizeError(f"{what}: scores are {apart:.2%} off, allowed are {tolerance:.2%}; do not ship this model")
    return apart
