"""`edge inspect`: judge image files with a bundle, through the same path as parts on the line."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from edge.commands import CommandError
from edge.core.types import Image, Limits, Reason, Verdict, distance
from edge.engine.judge import Judgement, judge
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.decision import Decision
from edge.inference.detector import RUNTIMES, Detector
from edge.inference.heatmap import overlay
from edge.inference.preprocess import IMAGE_SUFFIXES, ImageError, load_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--heatmap", type=Path, metavar="DIR", help="write <stem>_heat.png for each image there")
    parser.add_argument("--runtime", choices=RUNTIMES, default="openvino")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")


def run(arguments: argparse.Namespace) -> int:
    """Judge the images; returns 1 when any verdict was ERROR, else 0."""
    bundle = open_bundle(arguments.bundle)
    detector = Detector.from_bundle(bundle, arguments.runtime)
    return _inspect_files(bundle, detector, arguments.images, arguments.heatmap, arguments.json)


def _inspect_files(
    bundle: Bundle, detector: Detector, paths: Iterable[Path], heatmaps: Path | None, as_json: bool
) -> int:
    """Write one line for each image to stdout; returns 1 when any verdict was ERROR. Raises CommandError."""
    limits = bundle.manifest.limits
    names = _HeatmapNames(heatmaps) if heatmaps is not None else None
    failed = False
    for path in _image_paths(paths):
        image, judgement = _judge_file(detector, limits, path)
        decision = judgement.decision
        if decision.verdict is Verdict.ERROR:
            failed = True
            sys.stderr.write(f"linewatch: {_named(path, decision.detail)}\n")
        line = _as_record(path, judgement, bundle) if as_json else _as_text(path, judgement, limits)
        sys.stdout.write(f"{line}\n")
        if names is not None and image is not None and judgement.prediction is not None:
            box = judgement.box or (0, 0, image.shape[1], image.shape[0])
            boxes = None if judgement.prediction.boxes is None else decision.regions
            heat = overlay(image, judgement.prediction.anomaly_map, limits, box, decision.verdict, boxes)
            _write_png(names.next_for(path), heat)
    return int(failed)


def _image_paths(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files as given, and of folders every image below them in the order of names. Raises CommandError."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not found:
            raise CommandError(f"{path}: no image in this folder; give a folder with PNG or JPEG files")
        yield from found


def _judge_file(detector: Detector, limits: Limits, path: Path) -> tuple[Image | None, Judgement]:
    try:
        image = load_image(path, detector.spec.bits)
    except ImageError as error:
        return None, Judgement(Decision(Verdict.ERROR, Reason.BAD_FRAME, str(error), ()))
    return image, judge(detector, limits, image)


def _named(path: Path, detail: str) -> str:
    return detail if str(path) in detail else f"{path}: {detail}"


def _as_record(path: Path, judgement: Judgement, bundle: Bundle) -> str:
    """Return one JSON object; a number that is not finite is null."""
    timings = _timings(judgement)
    record: dict[str, Any] = {
        "file": str(path),
        "verdict": judgement.decision.verdict.value,
        "reason": judgement.decision.reason.value,
        "score": judgement.score,
        "threshold": bundle.manifest.threshold.value,
        "typical": bundle.manifest.typical_score,
        "distance": distance(judgement.score, bundle.manifest.threshold.value, bundle.manifest.typical_score),
        "defect_probability": judgement.defect_probability,
        "regions": [asdict(region) for region in judgement.decision.regions],
        "timings_ms": {name: round(value, 3) for name, value in timings.items()},
        "bundle": bundle.title,
    }
    return json.dumps(record, allow_nan=False)


def _as_text(path: Path, judgement: Judgement, limits: Limits) -> str:
    decision = judgement.decision
    score = math.nan if judgement.score is None else judgement.score
    probability = math.nan if judgement.defect_probability is None else judgement.defect_probability
    return (
        f"{decision.verdict:<5}  {decision.reason:<16}  distance {limits.distance(score):7.2f}  "
        f"score {score:10.4f} / {limits.threshold:.4f}  p {probability:5.3f}  "
        f"regions {len(decision.regions):2d}  {_timings(judgement)['total']:7.2f} ms  {path}"
    )


def _timings(judgement: Judgement) -> dict[str, float]:
    prediction = judgement.prediction
    stages = {
        "prepare": prediction.prepare_ms if prediction else 0.0,
        "infer": prediction.infer_ms if prediction else 0.0,
        "decide": judgement.decide_ms,
    }
    return {**stages, "total": sum(stages.values())}


class _HeatmapNames:
    """Gives out names <stem>_heat.png in one folder; images of the same name from several folders are numbered."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{folder}: cannot be made ({error.strerror}); choose another --heatmap") from error
        self._folder = folder
        self._given: set[str] = set()

    def next_for(self, path: Path) -> Path:
        name, number = f"{path.stem}_heat.png", 1
        while name in self._given:
            number += 1
            name = f"{path.stem}_{number}_heat.png"
        self._given.add(name)
        return self._folder / name


def _write_png(path: Path, image: Image) -> None:
    _, data = cv2.imencode(".png", image)
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror})") from error
