"""Stage calibrate: held-out parts, judged by the shipped INT8 file -> threshold and defect probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edge.core.cli import OneLineParser
from edge.core.types import Prediction
from edge.inference.bundle import INT8_IR, typical_score
from edge.inference.detector import Detector
from edge.inference.placement.boxes import BoxFacts
from edge.inference.usable import load_photo
from train.data.dataset import GOOD, read_dataset
from train.data.parts import part_names
from train.int8.switched import INT8_SWITCHED, Switched, parts_in_bank
from train.measure.box_limits import limits_of_types
from train.measure.threshold import defect_probability, outliers, promise, set_marking, set_threshold
from train.run import FitReport, Run, progress
from train.stages import StageError


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train calibrate", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    calibrate(Run(parser.parse_args(argv).work))


def calibrate(work: Run) -> None:
    """Score the held-out parts with the INT8 IR through the device's code and write calibration.json."""
    report = work.fit_report()
    if report.boxes:
        calibrate_boxes(work, report)
        return
    shipped, geometry = work.need(INT8_IR, "quantize"), work.map_geometry()
    detector = Detector(shipped, report.input, geometry=geometry)
    held_out = held_out_goods(report)
    if report.cross:
        switched = Switched(work.need(INT8_SWITCHED, "quantize"), shipped, report.input, geometry)
        seen = _without_themselves(switched, report, list(held_out))
    else:
        seen = _predictions(detector, report, list(held_out), "held-out goods")
    goods = {name: prediction.score for name, prediction in seen.items()}
    names = [name for name in report.validation_images if PurePosixPath(name).parent.name != GOOD]
    defects = {
        name: prediction.score
        for name, prediction in _predictions(detector, report, names, "validation defects").items()
    }
    values, parts, recipe = list(goods.values()), list(held_out.values()), report.recipe
    threshold = set_threshold(values, recipe.alpha, parts, report.cross, recipe.outliers)
    with_all = set_threshold(values, recipe.alpha, parts, report.cross)
    far = outliers(goods, recipe.alpha, parts, report.cross)
    marking = set_marking([prediction.anomaly_map for prediction in seen.values()])
    calibration = defect_probability(list(goods.values()), list(defects.values()), threshold)
    work.write_report(
        "calibration.json",
        {
            "threshold": threshold.model_dump(),
            "marking": marking.model_dump(),
            "typical": typical_score(list(goods.values()), threshold.value),
            "calibration": calibration.model_dump(),
            "holdout": goods,
            "defects": defects,
            "outliers": far,
            "with_outliers": with_all.value,
        },
    )
    kind = "good parts, each scored without itself" if report.cross else "held-out good parts"
    images = f" ({len(goods)} images)" if threshold.n < len(goods) else ""
    print(f"calibrate: threshold {threshold.value:.4g} from {threshold.n} {kind}{images}: {promise(threshold)}")
    for name, without in far.items():
        print(f"calibrate: {outlier_words(str(report.data / name), goods[name], without, with_all.value)}")
    if far and threshold.value != with_all.value:
        print(
            f"calibrate: the threshold leaves {recipe.outliers} such part out, at most; `outliers = 0` leaves none out"
        )
    print(f"calibrate: defect probability: {calibration.method}, {len(goods)} goods and {len(defects)} defects")


def calibrate_boxes(work: Run, report: FitReport) -> None:
    """Set the limit of each type of box on the held-out goods, and write calibration.json in units of these limits."""
    shipped, geometry = work.need(INT8_IR, "quantize"), work.map_geometry()
    held_out, recipe = held_out_goods(report), report.recipe
    raw = Detector(shipped, report.input, geometry=geometry, boxes=BoxFacts.unlimited(report.boxes))
    seen = _predictions(raw, report, list(held_out), "held-out goods")
    boxes = [prediction.boxes or () for prediction in seen.values()]
    facts, threshold = limits_of_types(boxes, report.boxes, list(held_out.values()), recipe.alpha, recipe.outliers)
    detector = Detector(shipped, report.input, geometry=geometry, boxes=facts)
    scaled = _predictions(detector, report, list(held_out), "held-out goods, in limits")
    goods = {name: prediction.score for name, prediction in scaled.items()}
    marking = set_marking([prediction.anomaly_map for prediction in scaled.values()])
    calibration = defect_probability(list(goods.values()), [], threshold)
    work.write_report(
        "calibration.json",
        {
            "threshold": threshold.model_dump(),
            "boxes": facts.model_dump(),
            "marking": marking.model_dump(),
            "typical": typical_score(list(goods.values()), threshold.value),
            "calibration": calibration.model_dump(),
            "holdout": goods,
            "defects": {},
            "outliers": {},
            "with_outliers": threshold.value,
        },
    )
    limits = ", ".join(f"{name} {limit:.3g}" for name, limit in zip(facts.types, facts.limits, strict=True))
    print(
        f"calibrate: limits {limits}, from {threshold.n} held-out good parts; no share of rejected goods is guaranteed"
    )


def outlier_words(name: str, score: float, without: float | None, threshold: float) -> str:
    """Ask for a look at a held-out good that scores far beyond the rest."""
    then = "no threshold could be set" if without is None else f"the threshold would be {without:.4g}"
    return (
        f"look at {name}: it scores {score:.4g}, far beyond the other good parts; without it {then} "
        f"instead of {threshold:.4g}. If it is damaged, another view or a defect, remove it and train again"
    )


def held_out_goods(report: FitReport) -> dict[str, str]:
    """Image -> part of the goods that set the threshold."""
    dataset = read_dataset(report.data)
    named = {sample.path.relative_to(dataset.root).as_posix(): sample for sample in dataset.train_good}
    if missing := sorted(set(report.limit_images) - set(named)):
        raise StageError(f"{report.data / missing[0]}: was held out and is gone; put it back, or run fit again")
    chosen = {name: named[name] for name in report.limit_images}
    parts = part_names(list(chosen.values()), report.recipe.group_regex, report.recipe.group_gap)
    return dict(zip(chosen, parts, strict=True))


def _without_themselves(switched: Switched, report: FitReport, names: Sequence[str]) -> dict[str, Prediction]:
    """Judge good images that are in the bank, each without the patches of its own part."""
    numbers = parts_in_bank(report)
    found = {}
    for name in progress(names, "goods, each without itself"):
        switched.without(numbers[name])
        found[name] = switched.detector.predict(load_photo(report.data / name, report.input))
    return found


def _predictions(detector: Detector, report: FitReport, names: Sequence[str], what: str) -> dict[str, Prediction]:
    return {name: detector.predict(load_photo(report.data / name, report.input)) for name in progress(names, what)}
