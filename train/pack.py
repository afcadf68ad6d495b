"""Stage pack: a finished run -> a bundle, complete and verified, or not there."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.arguments import OneLineParser
from edge.bundle import FP32_ONNX, INT8_IR, MODELS, Bundle, open_bundle, write_bundle
from edge.detector import RUNTIMES, Detector, check_references
from edge.preprocess import inspected_box, load_image
from edge.types import Image
from train.errors import TrainError
from train.quantize import INT8_TOLERANCE
from train.work import FitReport, Work


class PackError(TrainError):
    """The run cannot become a bundle."""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train pack", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--out", type=Path, help="the bundle's folder; default models/NAME")
    args = parser.parse_args(argv)
    pack(Work(args.work), args.out or Path("models") / args.work.resolve().name)


def pack(work: Work, target: Path) -> Bundle:
    """Write the bundle; an older one of the same name steps aside to NAME-VERSION, it is never changed."""
    report = work.fit_report()
    calibration = work.read_report("calibration.json", "calibrate")
    files = {name: work.need(name, "export" if name == FP32_ONNX else "quantize") for name in MODELS}
    with tempfile.TemporaryDirectory() as scratch:
        references = _write_references(work, report, calibration, Path(scratch))
        files |= {name: Path(scratch) / name for name in references}
        facts = {
            "name": target.name,
            "version": datetime.now(UTC).strftime("%Y%m%d.%H%M%S"),
            "created": datetime.now(UTC),
            "git_commit": report.git_commit,
            "dataset_sha256": report.dataset_sha256,
            "input": report.input,
            "types": report.types,
            "threshold": calibration["threshold"],
            "calibration": calibration["calibration"],
            "metrics": _metrics(work),
            "training": {
                "recipe": report.recipe.model_dump(mode="json"),
                "fit_images": len(report.fit_images),
                "holdout_images": len(report.holdout_images),
                "seconds": report.seconds,
                "versions": report.versions,
                "quantize": work.read_report("quantize.json", "quantize"),
            },
            "holdout_scores": sorted(calibration["holdout"].values()),
            "references": [
                {"file": name, "score": score, "tolerance": INT8_TOLERANCE * score}
                for name, score in references.items()
            ],
        }
        _step_aside(target)
        bundle = write_bundle(target, facts, files)
    _check_runtimes(bundle)
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    work.write_report("pack.json", {"bundle": target.name, "digest": bundle.digest, "bytes": size})
    print(f"pack: {target} ({bundle.title}), {size / 1e6:.1f} MB")
    return bundle


def _write_references(work: Work, report: FitReport, calibration: dict[str, Any], folder: Path) -> dict[str, float]:
    """Two unseen good images and one with an inverted square, stored lossless: file name -> score on this CPU."""
    detector = Detector(work.need(INT8_IR, "quantize"), report.input)
    ranked = sorted(calibration["holdout"], key=calibration["holdout"].__getitem__)
    middle, highest = (load_image(report.data / ranked[index]) for index in (len(ranked) // 2, -1))
    images = {"good_1": middle, "good_2": highest, "marked": _marked(middle, report)}
    scores = {}
    (folder / "references").mkdir()
    for stem, image in images.items():
        name = f"references/{stem}.png"
        if not cv2.imwrite(str(folder / name), image):
            raise PackError(f"{name}: cannot be written; check the free space of the temporary folder")
        scores[name] = detector.predict(load_image(folder / name)).score
    return scores


def _marked(image: Image, report: FitReport) -> Image:
    """The image with a square of an eighth of its inspected side inverted: something no good part has."""
    x, y, width, height = inspected_box(image.shape, report.input)
    side = max(8, min(width, height) // 8)
    left, top = x + (width - side) // 2, y + (height - side) // 2
    marked = image.copy()
    marked[top : top + side, left : left + side] = 255 - marked[top : top + side, left : left + side]
    return np.ascontiguousarray(marked)


def _metrics(work: Work) -> dict[str, Any]:
    """evaluate.json without its list of images; empty when the run was never evaluated."""
    if not work.file("evaluate.json").is_file():
        return {}
    facts = work.read_report("evaluate.json", "evaluate")
    return {key: value for key, value in facts.items() if key != "images"}


def _step_aside(target: Path) -> None:
    if target.exists():
        old = target.with_name(f"{target.name}-{open_bundle(target).manifest.version}")
        if old.exists():
            raise PackError(f"{old}: exists already; move it away")
        target.rename(old)
        print(f"pack: the bundle that was there is now {old}")


def _check_runtimes(bundle: Bundle) -> None:
    for runtime in RUNTIMES:
        for check in check_references(Detector.from_bundle(bundle, runtime), bundle):
            if not check.passed:
                raise PackError(
                    f"{check.file}: {runtime} scores {check.score:.4g} instead of {check.expected:.4g}; do not ship"
                )
