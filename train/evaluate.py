"""Stage evaluate: the shipped files on test images the model has never seen -> evaluate.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.arguments import OneLineParser
from edge.bundle import FP32_ONNX, INT8_IR, open_bundle
from edge.cpu import cpu_tier
from edge.detector import Detector
from edge.preprocess import inspected_box, load_image
from edge.types import AnomalyMap
from train.data import GOOD, Dataset, Sample, load_mask, read_dataset
from train.errors import TrainError
from train.metrics import Interval, auroc_interval, image_metrics, pixel_metrics, share_interval
from train.work import Work, progress


class EvaluateError(TrainError):
    """A test set that cannot be measured on."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the detector said of one test image."""

    sample: Sample
    shape: tuple[int, int]  # of the inspected part of the image, before it was resized
    box: tuple[int, int, int, int]
    score: float
    anomaly_map: AnomalyMap
    infer_ms: float


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
    threshold = work.read_report("calibration.json", "calibrate")["threshold"]["value"]
    files = {"int8": work.need(INT8_IR, "quantize"), "fp32": work.need(FP32_ONNX, "export")}
    detectors = {name: Detector(path, report.input) for name, path in files.items()}
    return _evaluate(detectors, read_dataset(data or report.data), threshold, json_path or work.file("evaluate.json"))


def evaluate_bundle(path: Path, data: Path, json_path: Path | None) -> dict[str, Any]:
    """Evaluate a packed bundle on any data set in MVTec layout."""
    bundle = open_bundle(path)
    detectors = {name: Detector.from_bundle(bundle, precision=name) for name in ("int8", "fp32")}
    return _evaluate(detectors, read_dataset(data), bundle.manifest.threshold.value, json_path)


def _evaluate(
    detectors: dict[str, Detector], dataset: Dataset, threshold: float, json_path: Path | None
) -> dict[str, Any]:
    labels = {sample.label for sample in dataset.test}
    if GOOD not in labels or len(labels) < 2:
        raise EvaluateError(f"{dataset.root}/test: needs good images and at least one type of defect; found {labels}")
    results = {name: _run(detector, dataset.test, name) for name, detector in detectors.items()}
    facts: dict[str, Any] = {
        "data": dataset.root.name,
        "cpu_tier": cpu_tier(),
        "n_good": sum(sample.label == GOOD for sample in dataset.test),
        "n_defective": sum(sample.label != GOOD for sample in dataset.test),
        "threshold": threshold,
        **{name: _measures(found, threshold) for name, found in results.items()},
        "images": [
            {"file": r.sample.path.relative_to(dataset.root).as_posix(), "label": r.sample.label, "score": r.score}
            for r in results["int8"]
        ],
    }
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(table(facts))
    return facts


def _run(detector: Detector, samples: Sequence[Sample], name: str) -> list[Result]:
    results = []
    for sample in progress(samples, f"test images, {name}"):
        image = load_image(sample.path)
        box = inspected_box(image.shape, detector.spec)
        found = detector.predict(image)
        height, width = image.shape[:2]
        results.append(Result(sample, (height, width), box, found.score, found.anomaly_map, found.infer_ms))
    return results


def _measures(results: list[Result], threshold: float) -> dict[str, Any]:
    scores = [result.score for result in results]
    defective = [result.sample.label != GOOD for result in results]
    types = sorted({result.sample.label for result in results} - {GOOD})
    pixels = pixel_metrics(_pairs(results), top=max(float(result.anomaly_map.max()) for result in results))
    return {
        "image": asdict(image_metrics(scores, defective)),
        "pixel": None if pixels is None else asdict(pixels),
        "intervals": {
            "auroc": asdict(auroc_interval(scores, defective)),
            "sensitivity": asdict(_caught(results, threshold, good=False)),
            "specificity": asdict(_caught(results, threshold, good=True)),
        },
        "per_type": {name: _per_type(results, name, threshold) for name in types},
        "at_threshold": {
            "escapes": sum(bad and score < threshold for score, bad in zip(scores, defective, strict=True)),
            "overkill": sum(not bad and score >= threshold for score, bad in zip(scores, defective, strict=True)),
        },
        "infer_ms_p50": float(np.median([result.infer_ms for result in results])),
    }


def _caught(results: list[Result], threshold: float, good: bool) -> Interval:
    """Share of the good parts judged OK, or of the defective ones judged NG."""
    chosen = [result.score < threshold for result in results if (result.sample.label == GOOD) == good]
    return share_interval(sum(passed == good for passed in chosen), len(chosen))


def _per_type(results: list[Result], name: str, threshold: float) -> dict[str, Any]:
    chosen = [result for result in results if result.sample.label in (GOOD, name)]
    found = [result.score >= threshold for result in chosen if result.sample.label == name]
    measures = image_metrics([r.score for r in chosen], [r.sample.label == name for r in chosen])
    return {"n": len(found), "auroc": measures.auroc, "found_at_threshold": sum(found)}


def _pairs(results: list[Result]) -> Any:
    """(map, mask) of what can be judged by place: goods, and defective images whose mask marks something."""
    for result in results:
        x, y, width, height = result.box
        if result.sample.label == GOOD:
            yield result.anomaly_map, np.zeros((height, width), dtype=np.bool_)
        elif result.sample.mask is not None:
            mask = load_mask(result.sample.mask, result.shape)[y : y + height, x : x + width]
            if mask.any():
                yield result.anomaly_map, mask


def table(facts: dict[str, Any]) -> str:
    """The figures a person looks for first."""
    lines = [
        f"evaluate: {facts['data']}, {facts['n_good']} good and {facts['n_defective']} defective test images",
        "        image AUROC  FPR@95%rec  rec@2%FPR  pixel AUROC  AU-PRO  escapes  overkill  infer p50",
    ]
    for name in ("fp32", "int8"):
        found = facts[name]
        image, pixel, at = found["image"], found["pixel"], found["at_threshold"]
        place = f"{pixel['auroc']:11.3f}  {pixel['au_pro']:6.3f}" if pixel else f"{'-':>11}  {'-':>6}"
        lines.append(
            f"  {name}  {image['auroc']:11.3f}  {image['fpr_at_95_recall']:10.3f}  {image['recall_at_2_fpr']:9.3f}  "
            f"{place}  {at['escapes']:7d}  {at['overkill']:8d}  {found['infer_ms_p50']:6.1f} ms"
        )
    for name, found in facts["int8"]["per_type"].items():
        lines.append(f"    {name}: AUROC {found['auroc']:.3f}, {found['found_at_threshold']} of {found['n']} found")
    return "\n".join(lines)
