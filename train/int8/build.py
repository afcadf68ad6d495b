"""A trained network quantised in one way, through Neural Compressor: the INT8 ONNX file and the OpenVINO IR."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx
import openvino
import torch
from torch import nn
from torch.fx import GraphModule

from edge.inference import runtimes
from edge.inference.bundle import INT8_IR, INT8_ONNX
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.usable import load_photo
from train.int8.bias import IMAGES, input_means
from train.int8.graph import finish, fold_weights
from train.int8.onnx_export import example, outputs, quiet, to_onnx
from train.int8.ranges import Observer, observe
from train.int8.switched import INT8_SWITCHED, bank_goods, write_switched
from train.int8.trials import Settings
from train.network.backbones import fold_batch_norms
from train.network.bank import collect_patches, image_tensor, normality_head, statistics
from train.network.boxes.fit import load_boxes
from train.network.model import InspectionNet, Normality, PatchFeatures, Place, SecondScale
from train.network.saved import load_network, saved_banks
from train.network.second.place import Places, collect_places
from train.run import FitReport, Run, progress

FEATURES = ("features", "second")  # outputs of the graph that only extracts them
PLACES = ("fine", "coarse")  # its stages at strides 8 and 16, where places are judged


def build(work: Run, report: FitReport, settings: Settings, folder: Path) -> None:
    """Quantise a run's network in one way: INT8_ONNX and INT8_IR, in the folder."""
    if report.boxes:
        detector = load_boxes(work)
        _write_int8(detector, report, settings, outputs(report, detector), folder / INT8_ONNX)
        return
    network = load_network(work)
    banks, places = int8_banks(network.normality.features, saved_banks(work), report, settings)
    network.normality = _normality(network.normality, banks, places)
    _write_int8(network, report, settings, outputs(report, network), folder / INT8_ONNX)
    if report.cross:
        write_switched(folder / INT8_ONNX, banks, folder / INT8_SWITCHED, places)


def write_untrained(network: InspectionNet, report: FitReport, folder: Path) -> Path:
    """Write the INT8 IR of an untrained network, which takes as long as a trained network of its shape."""
    _write_int8(network, report, Settings("untrained", images=1), outputs(report, network), folder / INT8_ONNX)
    return folder / INT8_IR


class _Scales(nn.Module):
    """Image -> the patch features of each scale, (1, C, h, w), or those of one scale and the stages of places."""

    def __init__(self, features: PatchFeatures, count: int, places: bool) -> None:
        super().__init__()
        self.features = features
        self.count = count
        self.places = places

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self.places:
            return self.features.scales(image, self.count)
        stages = self.features.backbone(image)
        return self.features.patches(stages), *stages[-2:]


def int8_banks(
    features: PatchFeatures, banks: Sequence[Mapping[str, torch.Tensor]], report: FitReport, settings: Settings
) -> tuple[list[dict[str, torch.Tensor]], Places | None]:
    """Build the memory banks and the places again, from the same photographs, but as the INT8 features see them.

    A bank of float features would measure rounding as if it were wear: on parts that hardly vary, that costs more
    than the rounding itself (docs/decisions/0003).
    """
    goods = bank_goods(report)
    names, places = FEATURES[: len(banks)], None
    shown = (*names, *PLACES) if report.recipe.places else names
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "features.onnx"
        _write_int8(_Scales(features, len(banks), report.recipe.places), report, settings, shown, path)
        extract = _extractor(path.with_suffix(".xml"), report.input)
        files = [sample.path for sample in goods]
        drawn = collect_patches(lambda file: [extract(file)[name] for name in names], files, report.recipe)
        if report.recipe.places:
            places = collect_places(lambda file: [extract(file)[name] for name in PLACES], goods, report.recipe)
    found = []
    for one, bank in zip(drawn, banks, strict=True):
        mean, std = statistics(one.rows, features.fine_channels, report.recipe)
        rows = {"patches": one.rows[bank["chosen"]], "spare": one.rows[bank["spare_chosen"]]}
        found.append({**bank, **rows, "mean": mean, "std": std})
    return found, places


def _normality(normality: Normality, banks: Sequence[Mapping[str, torch.Tensor]], places: Places | None) -> Normality:
    """Return the same head around other memory banks and places."""
    heads = [normality_head(bank) for bank in banks]
    second = normality.second
    if isinstance(second, Place) and places is not None:
        second = Place(places.known(), second.share, second.shift)
    elif isinstance(second, SecondScale):
        second = SecondScale(heads[1], second.share, second.shift)
    return Normality(normality.features, heads[0], normality.top_k, second).eval()


def _extractor(ir: Path, spec: InputSpec) -> Callable[[Path], dict[str, torch.Tensor]]:
    """Return a function from an image file to its (C, h, w) features by name, computed by OpenVINO as on the device."""
    run = runtimes.load(ir, "openvino", runtimes.Settings()).run

    def extract(path: Path) -> dict[str, torch.Tensor]:
        found = run(prepare(load_photo(path, spec), spec))
        return {name: torch.from_numpy(values[0]) for name, values in found.items()}

    return extract


def _write_int8(
    network: nn.Module, report: FitReport, settings: Settings, names: Sequence[str], onnx_file: Path
) -> None:
    """Quantise a network, store its weights as int8 and write it as ONNX and, beside it, as OpenVINO IR."""
    model = _exported(network, report, settings, names)
    tensors = [
        prepare(load_photo(path, report.input), report.input) for path in calibration_files(report, settings)[:IMAGES]
    ]
    fold_weights(model, input_means(model, tensors, report.input))
    finish(model, report.input.height, report.input.width)
    onnx.save(model, onnx_file)
    openvino.save_model(openvino.convert_model(onnx_file), onnx_file.with_suffix(".xml"), compress_to_fp16=False)


def _exported(network: nn.Module, report: FitReport, settings: Settings, names: Sequence[str]) -> onnx.ModelProto:
    """Return the network's ONNX graph with Q/DQ pairs and float weights."""
    spec = report.input
    folded = copy.deepcopy(network)
    fold_batch_norms(folded)
    with quiet():
        quantised = _quantised(folded, calibration_files(report, settings), spec, settings.observer)
        return to_onnx(torch.export.export(quantised, (example(spec),)), spec, names)


def calibration_files(report: FitReport, settings: Settings) -> list[Path]:
    """Good images the ranges are measured on, spread evenly over those the model was fitted to."""
    files = [report.data / name for name in report.fit_images]
    step = max(1, len(files) // settings.images)
    return files[::step][: settings.images]


def _quantised(network: nn.Module, files: Sequence[Path], spec: InputSpec, observer: Observer) -> GraphModule:
    """Neural Compressor's post-training static quantisation on the exported graph (PT2E)."""
    # Imported here, inside quiet(): the packages write to the log while they are imported.
    from neural_compressor.torch.export import export as export_graph
    from neural_compressor.torch.quantization import INT8StaticQuantConfig, convert
    from neural_compressor.torch.quantization import prepare as prepare_graph

    exported = export_graph(network, (example(spec),))
    prepared = prepare_graph(exported, INT8StaticQuantConfig(act_algo="kl" if observer == "kl" else "minmax"))
    observe(prepared, observer)
    with torch.no_grad():
        for path in progress(files, "INT8 ranges"):
            prepared(image_tensor(path, spec))
    return convert(prepared)
