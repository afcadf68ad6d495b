"""Stage export: model.pt -> model_fp32.onnx (and model.torchscript on request)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

from edge.core.cli import OneLineParser
from edge.inference.bundle import FP32_ONNX
from edge.inference.detector import Detector
from edge.inference.placement import MapGeometry
from train.int8.graph import OPSET, finish
from train.int8.onnx_export import example, outputs, to_onnx
from train.int8.switched import FP32_SWITCHED, bank_goods, write_switched
from train.network.boxes.fit import load_boxes
from train.network.geometry import measure_geometry, prepared_photos
from train.network.model import InspectionNet
from train.network.saved import load_network, saved_banks
from train.network.second.place import collect_places, place_stages
from train.run import FitReport, Run

TORCHSCRIPT = "model.torchscript"


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train export", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--torchscript", action="store_true", help=f"also write {TORCHSCRIPT}")
    args = parser.parse_args(argv)
    export(Run(args.work), args.torchscript)


def export(work: Run, torchscript: bool = False) -> None:
    """Write the float network as ONNX: `image` (1, H, W, 3) uint8 RGB -> `score` (1,), `anomaly_map` (1, 1, h, w)."""
    report = work.fit_report()
    spec = report.input
    network = load_boxes(work) if report.boxes else load_network(work)
    model = to_onnx(network, spec, outputs(report, network))
    finish(model, spec.height, spec.width)
    path = work.file(FP32_ONNX)
    onnx.save(model, path)
    if report.cross:
        places = None
        if isinstance(network, InspectionNet) and report.recipe.places:
            places = collect_places(place_stages(network.normality.features, spec), bank_goods(report), report.recipe)
        write_switched(path, saved_banks(work), work.file(FP32_SWITCHED), places)
    facts: dict[str, Any] = {"file": FP32_ONNX, "bytes": path.stat().st_size, "opset": OPSET, "nodes": _nodes(model)}
    geometry, off_px = _taught_geometry(report, path) if report.boxes else _geometry(work, path)
    facts |= {"map": geometry.model_dump(), "dots_off_px": off_px}
    if torchscript:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # asked for by name; torch prefers torch.export
            traced = torch.jit.trace(network, example(spec))
            traced.save(str(work.file(TORCHSCRIPT)))
        facts["torchscript"] = TORCHSCRIPT
    work.write_report("export.json", facts)
    size = f"export: {path.name}, {facts['bytes'] / 1e6:.1f} MB, {len(model.graph.node)} nodes"
    if off_px is None:
        print(f"{size}; the labelled boxes taught the map's cells where to look")
        return
    x, y = (offset - (geometry.stride - 1) / 2 for offset in geometry.offset)
    print(
        f"{size}; the map's cells look "
        f"{x:+.1f}, {y:+.1f} pixels beside their middle, which the bundle says; dots are then {off_px:.1f} off"
    )


def _taught_geometry(report: FitReport, path: Path) -> tuple[MapGeometry, None]:
    """Return the geometry of a detector's map: a cell was taught to answer for what lies round its own middle."""
    return MapGeometry.centred(*Detector(path, report.input).map_size, report.input), None


def _geometry(work: Run, path: Path) -> tuple[MapGeometry, float]:
    """Measure where the exported model's map looks; raises NetworkError where dots are then still a pixel off."""
    report = work.fit_report()
    detector = Detector(path, report.input)
    photos = prepared_photos([report.data / name for name in report.fit_images], report.input)
    return measure_geometry(lambda tensor: detector.infer(tensor)[1], photos, report.recipe.seed)


def _nodes(model: onnx.ModelProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))
