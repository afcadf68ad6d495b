"""Stage evaluate: the shipped files on test images the model has never seen -> evaluate.json."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.cli import OneLineParser
from edge.inference.bundle import FP32_ONNX, INT8_IR, Calibration, open_bundle
from edge.inference.cpu import cpu_tier
from edge.inference.detector import Detector, probability
from edge.inference.preprocess import inspected_box, load_image
from train import TrainError
from train.data.check import mask_problems
from train.data.dataset import GOOD, Dataset, Sample, part_names, read_dataset
from train.data.parts import PartError
from train.data.unseen import both_kinds, check_masks, image_sha256, unseen
from train.measure.metrics import Draws, reliability
from train.measure.results import Result, measures, table
from train.run import FitReport, Work, progress
from train.stages.calibrate import at_share


class EvaluateError(TrainError):
    """A test set that cannot be measured on, or a model that answers no number."""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train evaluate", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, help="a packed bundle")
    source.add_argument("--work", type=Path, help="a run's folder, before packing")
    parser.add_argument("--data", type=Path, help="a folder in MVTec layout; with --work: default the run's own")
    parser.add_argument("--json", type=Path, help="the report; default evaluate.json in the run's folder")
    args = parser.parse_args(argv)
    if args.work is not None:
        evaluate_work(Work(args.work), args.data, args.json)
    elif args.data is None:
        parser.error("--bundle needs --data")
    else:
        evaluate_bundle(args.bundle, args.data, args.json)


def evaluate_work(work: Work, data: Path | None = None, json_path: Path | None = None) -> dict[str, Any]:
    """Evaluate a run before it is packed; writes evaluate.json into its folder."""
    report = work.fit_report()
    found = work.read_report("calibration.json", "calibrate")
    files = {"int8": work.need(INT8_IR, "quantize"), "fp32": work.need(FP32_ONNX, "export")}
    detectors = {name: Detector(path, report.input, types=report.types) for name, path in files.items()}
    seen = _seen(report)
    calibration = Calibration.model_validate(found["calibration"])
    rule = report.recipe.group_regex, report.recipe.group_gap
    subject = Subject(detectors, found["threshold"]["value"], calibration, seen, rule)
    return _evaluate(subject, read_dataset(data or report.data), json_path or work.file("evaluate.json"))


def can_be_measured(work: Work) -> bool:
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
    subject = Subject(detectors, manifest.threshold.value, manifest.calibration, seen, rule)
    return _evaluate(subject, read_dataset(data), json_path)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: the model in both precisions, as it ships, and what it has seen."""

    detectors: dict[str, Detector]
    threshold: float
    calibration: Calibration
    seen: Collection[str]  # first hex digits of the sha256 of images
    rule: tuple[str | None, int]  # group_regex and group_gap of the recipe


def _evaluate(subject: Subject, dataset: Dataset, json_path: Path | None) -> dict[str, Any]:
    if problems := mask_problems(dataset.root):
        raise EvaluateError("\n".join(problems))
    samples, left_out = unseen(dataset, subject.seen)
    if not both_kinds(samples):
        raise EvaluateError(_one_kind(dataset, samples, left_out))
    empty = check_masks(samples)
    parts = _parts(samples, subject.rule)
    results = {name: _run(detector, samples, parts, name) for name, detector in subject.detectors.items()}
    defective = [sample.label != GOOD for sample in samples]
    draws = Draws(defective, parts)
    images = [_image(result, dataset, subject.calibration) for result in results["int8"]]
    stated = [at_share(image["probability"], subject.calibration, float(np.mean(defective))) for image in images]
    facts: dict[str, Any] = {
        "data": dataset.root.resolve().name,
        "cpu_tier": cpu_tier(),
        "n_good": len(samples) - sum(defective),
        "n_defective": sum(defective),
        "parts_good": draws.good_parts,
        "parts_defective": draws.bad_parts,
        "left_out": [_name(sample, dataset) for sample in left_out],
        "empty_masks": [_name(sample, dataset) for sample in empty],
        "threshold": subject.threshold,
        **{name: measures(found, subject.threshold) for name, found in results.items()},
        "reliability": asdict(reliability(stated, defective)),
        "images": images,
    }
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(table(facts))
    return facts


def _one_kind(dataset: Dataset, samples: Sequence[Sample], left_out: Sequence[Sample]) -> str:
    n_good = sum(sample.label == GOOD for sample in samples)
    trained = f", after {len(left_out)} that the model was trained on" if left_out else ""
    return (
        f"{dataset.root / 'test'}: {n_good} good and {len(samples) - n_good} defective images to measure on{trained}; "
        f"measuring needs good images and at least one type of defect, in test/{GOOD} and test/<type>"
    )


def _name(sample: Sample, dataset: Dataset) -> str:
    return sample.path.relative_to(dataset.root).as_posix()


def _image(result: Result, dataset: Dataset, calibration: Calibration) -> dict[str, Any]:
    return {
        "file": _name(result.sample, dataset),
        "label": result.sample.label,
        "score": result.score,
        "named": result.defect_type,
        "probability": probability(result.score, calibration),
    }


def _parts(samples: Sequence[Sample], rule: tuple[str | None, int]) -> list[str]:
    """The part each image shows; a rule beside groups.csv, or that fits not every name, is another data set's."""
    try:
        return part_names(samples, *rule)
    except PartError:
        return part_names(samples)


def _run(detector: Detector, samples: Sequence[Sample], parts: Sequence[str], name: str) -> list[Result]:
    results = []
    for sample, part in zip(progress(samples, f"test images, {name}"), parts, strict=True):
        image = load_image(sample.path)
        box = inspected_box(image.shape, detector.spec)
        found = detector.predict(image)
        if not (math.isfinite(found.score) and np.isfinite(found.anomaly_map).all()):
            raise EvaluateError(
                f"{sample.path}: the {name} model answers {found.score}, or a map that is not finite; "
                "do not ship it, train it again"
            )
        height, width = image.shape[:2]
        results.append(
            Result(
                sample, part, (height, width), box, found.score, found.anomaly_map, found.infer_ms, found.defect_type
            )
        )
    return results
