"""Stage evaluate: the shipped files on test images the model has never seen -> evaluate.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.core.cli import OneLineParser
from edge.inference.bundle import FP32_ONNX, INT8_IR, Calibration, open_bundle
from edge.inference.detector import Detector
from train.data.dataset import read_dataset
from train.data.unseen import both_kinds, image_sha256, unseen
from train.measure.evaluation import Subject, evaluate
from train.measure.threshold import limits_of
from train.run import FitReport, Run


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train evaluate", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, help="a packed bundle")
    source.add_argument("--work", type=Path, help="a run's folder, before packing")
    parser.add_argument("--data", type=Path, help="a folder in MVTec layout; with --work: default the run's own")
    parser.add_argument("--json", type=Path, help="the report; default evaluate.json in the run's folder")
    args = parser.parse_args(argv)
    if args.work is not None:
        evaluate_work(Run(args.work), args.data, args.json)
    elif args.data is None:
        parser.error("--bundle needs --data")
    else:
        evaluate_bundle(args.bundle, args.data, args.json)


def evaluate_work(work: Run, data: Path | None = None, json_path: Path | None = None) -> dict[str, Any]:
    """Evaluate a run before it is packed; writes evaluate.json into its folder."""
    report = work.fit_report()
    found = work.read_report("calibration.json", "calibrate")
    files = {"int8": work.need(INT8_IR, "quantize"), "fp32": work.need(FP32_ONNX, "export")}
    place = work.map_geometry()
    detectors = {name: Detector(path, report.input, types=report.types, geometry=place) for name, path in files.items()}
    seen = _seen(report)
    calibration = Calibration.model_validate(found["calibration"])
    rule = report.recipe.group_regex, report.recipe.group_gap
    subject = Subject(detectors, limits_of(found), calibration, seen, rule)
    return evaluate(subject, read_dataset(data or report.data), json_path or work.file("evaluate.json"))


def can_be_measured(work: Run) -> bool:
    """Are there good and defective test images left that the run has not seen?"""
    report = work.fit_report()
    return both_kinds(unseen(read_dataset(report.data), _seen(report))[0])


def _seen(report: FitReport) -> list[str]:
    return image_sha256(report.data / name for name in report.seen_images)


def evaluate_bundle(path: Path, data: Path, json_path: Path | None) -> dict[str, Any]:
    """Evaluate a packed bundle on any data set in MVTec layout; images it was trained on are left out."""
    bundle = open_bundle(path)
    manifest = bundle.manifest
    detectors = {name: Detector.from_bundle(bundle, precision=name) for name in ("int8", "fp32")}
    seen = manifest.training.get("image_sha256", [])
    if not seen:
        print(f"evaluate: {path} does not say what it was trained on; make sure that these images are others")
    recipe = manifest.training.get("recipe", {})
    rule = recipe.get("group_regex"), recipe.get("group_gap", 0)
    subject = Subject(detectors, manifest.limits, manifest.calibration, seen, rule)
    return evaluate(subject, read_dataset(data), json_path)
