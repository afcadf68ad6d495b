"""Stage evaluate: the shipped files on test images the model has never seen -> evaluate.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.core.cli import OneLineParser
from edge.core.types import Located
from edge.inference.bundle import FP32_ONNX, INT8_IR, Calibration, open_bundle
from edge.inference.detector import Detector
from edge.inference.placement.boxes import BoxFacts
from edge.inference.usable import load_photo
from train.data.dataset import Dataset, Sample, read_dataset
from train.data.unseen import both_kinds, image_sha256, unseen
from train.measure.average_precision import mean_average_precision
from train.measure.evaluation import Subject, evaluate
from train.measure.threshold import limits_of
from train.network.boxes.labels import has_boxes, read_labels
from train.run import FitReport, Run, progress
from train.stages import StageError


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
    boxes = work.box_facts()
    detectors = {
        name: Detector(path, report.input, types=report.types, geometry=place, boxes=boxes)
        for name, path in files.items()
    }
    seen = _seen(report)
    calibration = Calibration.model_validate(found["calibration"])
    rule = report.recipe.group_regex, report.recipe.group_gap
    subject = Subject(detectors, limits_of(found), calibration, seen, rule)
    dataset, target = read_dataset(data or report.data), json_path or work.file("evaluate.json")
    return _evaluate(subject, dataset, target, boxes, report.recipe.box_types)


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
    dataset, names = read_dataset(data), recipe.get("box_types", ())
    return _evaluate(subject, dataset, json_path, manifest.boxes, names)


def _evaluate(
    subject: Subject, dataset: Dataset, json_path: Path | None, boxes: BoxFacts | None, names: Sequence[str]
) -> dict[str, Any]:
    """Evaluate, and add the average precision of the boxes where the model and the data have some.

    names: what the numbers of types in the labels are called. Raises StageError for a type that the model does not
    know.
    """
    if boxes is None or not has_boxes(dataset.root):
        return evaluate(subject, dataset, json_path)
    labels = read_labels(dataset.root, dataset.test, names)
    if strange := {label[4] for of_photo in labels.values() for label in of_photo} - set(boxes.types):
        raise StageError(f"{dataset.root}: holds boxes of the type {min(strange)!r}, which this model was not taught")
    facts = evaluate(subject, dataset, json_path)
    chosen = {image["file"] for image in facts["images"]}
    samples = [sample for sample in dataset.test if sample.path.relative_to(dataset.root).as_posix() in chosen]
    wanted = [labels[sample] for sample in samples]
    found = {
        name: mean_average_precision(_boxes(detector, samples, name), wanted, boxes.types)
        for name, detector in subject.detectors.items()
    }
    facts |= {"boxes": found}
    if json_path is not None:
        json_path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    int8, fp32 = found["int8"], found["fp32"]
    print(f"  {int8['boxes']} boxes on {int8['photos']} photos:      FP32   INT8")
    for key, words in (("map_50", "mAP at overlap .5"), ("map_50_95", "mAP at overlaps .5 to .95")):
        print(f"  {words:29}  {fp32[key]:.3f}  {int8[key]:.3f}")
    return facts


def _boxes(detector: Detector, samples: Sequence[Sample], name: str) -> list[Sequence[Located]]:
    photos = (load_photo(sample.path, detector.spec) for sample in progress(samples, f"boxes, {name}"))
    return [detector.predict(photo).boxes or () for photo in photos]
