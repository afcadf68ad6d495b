"""A model, measured on test images that it has never seen."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.types import Limits
from edge.inference.bundle import Calibration
from edge.inference.cpu import cpu_tier
from edge.inference.detector import Detector, probability
from edge.inference.usable import UnusableError, load_photo
from train.data.check import mask_problems
from train.data.dataset import GOOD, Dataset, Sample
from train.data.parts import PartError, part_names
from train.data.unseen import both_kinds, check_masks, unseen
from train.measure import MeasureError
from train.measure.metrics import Resample, reliability
from train.measure.results import Result, measures, table
from train.measure.threshold import at_share
from train.run import progress


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under evaluation in both precisions, as it ships, and the images it has seen."""

    detectors: dict[str, Detector]
    limits: Limits
    calibration: Calibration
    seen: Collection[str]  # first hex digits of the sha256 of images
    rule: tuple[str | None, int]  # group_regex and group_gap of the recipe


def evaluate(subject: Subject, dataset: Dataset, json_path: Path | None) -> dict[str, Any]:
    if problems := mask_problems(dataset.root):
        raise MeasureError("\n".join(problems))
    fresh, left_out = unseen(dataset, subject.seen)
    samples, refused = _usable(fresh, subject)
    if not both_kinds(samples):
        raise MeasureError("\n".join([_one_kind(dataset, samples, left_out), *refused.values()]))
    empty = check_masks(samples)
    parts = parts_of(samples, subject.rule)
    results = {name: answers(detector, samples, parts, name) for name, detector in subject.detectors.items()}
    defective = [sample.label != GOOD for sample in samples]
    draws = Resample(defective, parts)
    images = [_image(result, dataset, subject) for result in results["int8"]]
    stated = [at_share(image["probability"], subject.calibration, float(np.mean(defective))) for image in images]
    facts: dict[str, Any] = {
        "data": dataset.root.resolve().name,
        "cpu_tier": cpu_tier(),
        "n_good": len(samples) - sum(defective),
        "n_defective": sum(defective),
        "parts_good": draws.good_parts,
        "parts_defective": draws.bad_parts,
        "left_out": [_name(sample, dataset) for sample in left_out],
        "refused": [_name(sample, dataset) for sample in refused],
        "empty_masks": [_name(sample, dataset) for sample in empty],
        "threshold": subject.limits.threshold,
        "typical": subject.limits.typical,
        **{name: measures(found, subject.limits) for name, found in results.items()},
        "reliability": asdict(reliability(stated, defective)),
        "images": images,
    }
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(table(facts))
    return facts


def _usable(samples: Sequence[Sample], subject: Subject) -> tuple[list[Sample], dict[Sample, str]]:
    """Return the images that the line would judge, and why it would refuse each other one: that is no found defect."""
    kept: list[Sample] = []
    refused: dict[Sample, str] = {}
    spec = subject.detectors["int8"].spec
    for sample in progress(samples, "test images, quality"):
        try:
            load_photo(sample.path, spec)
        except UnusableError as error:
            refused[sample] = str(error)
        else:
            kept.append(sample)
    return kept, refused


def _one_kind(dataset: Dataset, samples: Sequence[Sample], left_out: Sequence[Sample]) -> str:
    n_good = sum(sample.label == GOOD for sample in samples)
    trained = f", after {len(left_out)} that the model was trained on" if left_out else ""
    return (
        f"{dataset.root / 'test'}: {n_good} good and {len(samples) - n_good} defective images to measure on{trained}; "
        f"measuring needs good images and at least one type of defect, in test/{GOOD} and test/<type>"
    )


def _name(sample: Sample, dataset: Dataset) -> str:
    return sample.path.relative_to(dataset.root).as_posix()


def _image(result: Result, dataset: Dataset, subject: Subject) -> dict[str, Any]:
    return {
        "file": _name(result.sample, dataset),
        "label": result.sample.label,
        "score": result.score,
        "distance": subject.limits.distance(result.score),
        "named": result.defect_type,
        "probability": probability(result.score, subject.calibration),
    }


def parts_of(samples: Sequence[Sample], rule: tuple[str | None, int]) -> list[str]:
    """The part each image shows; a rule beside groups.csv, or that fits not every name, is another data set's."""
    try:
        return part_names(samples, *rule)
    except PartError:
        return part_names(samples)


def answers(detector: Detector, samples: Sequence[Sample], parts: Sequence[str], name: str) -> list[Result]:
    """Return the detector's answer to every image; raises MeasureError for one that is not finite."""
    results = []
    for sample, part in zip(progress(samples, f"test images, {name}"), parts, strict=True):
        image = load_photo(sample.path, detector.spec)
        found = detector.predict(image)
        box = found.box or (0, 0, image.shape[1], image.shape[0])
        if not (math.isfinite(found.score) and np.isfinite(found.anomaly_map).all()):
            raise MeasureError(
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
