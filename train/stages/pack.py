"""Stage pack: a finished run -> a bundle, complete and verified, or not there."""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.core.cli import OneLineParser
from edge.core.types import Image
from edge.inference.bundle import FP32_ONNX, INT8_IR, MODELS, Bundle, Threshold, open_bundle, write_bundle
from edge.inference.detector import RUNTIMES, Detector, check_references
from edge.inference.part import PartNotFoundError
from edge.inference.preprocess import load_image, view_of
from edge.inference.release.archive import archive_path, write_archive
from edge.inference.usable import load_photo
from train.data.unseen import image_sha256
from train.measure.threshold import goods_needed
from train.run import FitReport, Run
from train.stages import StageError

KNOWN = 8  # labelled photos of which one becomes a reference
MARKS = ((8, False), (8, True), (4, True), (2, True))  # (share of the side, whether to go to black or white)


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train pack", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--out", type=Path, help="the bundle's folder; default models/NAME")
    add_pack_options(parser)
    args = parser.parse_args(argv)
    target = args.out or Path("models") / args.work.resolve().name
    carry(pack(Run(args.work), target, args.promise, args.although_blind, args.product, args.counter))


def add_pack_options(parser: argparse.ArgumentParser) -> None:
    """--promise SHARE, --although-blind, --product NAME and --counter N."""
    parser.add_argument("--product", metavar="NAME", help="what the bundle inspects; default: the bundle's name")
    parser.add_argument(
        "--counter",
        type=int,
        metavar="N",
        help="version of the product, which stations never take back; default: one more than that of the bundle there",
    )
    parser.add_argument(
        "--although-blind", action="store_true", help="pack even a model that finds none of the known defects"
    )
    parser.add_argument(
        "--promise",
        type=_share,
        metavar="SHARE",
        help="refuse to pack unless no more than this share of good parts is rejected, guaranteed (e.g. 0.01)",
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; use a number between 0 and 1, e.g. 0.01")
    return share


def carry(bundle: Bundle) -> Path:
    """Write the one file that carries a bundle to a station; returns its path."""
    path = archive_path(bundle.path)
    write_archive(bundle, path)
    print(f"pack: {path} carries it to a station; sign it first with `python -m train sign {bundle.path} --key FILE`")
    return path


def pack(
    work: Run,
    target: Path,
    promise: float | None = None,
    although_blind: bool = False,
    product: str | None = None,
    counter: int | None = None,
) -> Bundle:
    """Write the bundle; an older one of the same name steps aside to NAME-VERSION, it is never changed.

    The new one is complete, verified and has been run before the old one moves. Raises StageError when a promise is
    asked for that the held-out goods do not support, or when no known defect is found and nobody said although_blind.
    """
    report = work.fit_report()
    calibration = work.read_report("calibration.json", "calibrate")
    if promise is not None:
        check_promise(Threshold.model_validate(calibration["threshold"]), promise, report.cross)
    metrics = _metrics(work, calibration["threshold"]["value"])
    _say_what_is_found(calibration, metrics, although_blind)
    aside = _aside(target)
    files = {name: work.need(name, "export" if name == FP32_ONNX else "quantize") for name in MODELS}
    with tempfile.TemporaryDirectory() as scratch:
        references = _write_references(work, report, calibration, Path(scratch))
        files |= {name: Path(scratch) / name for name in references}
        quantized = work.read_report("quantize.json", "quantize")
        least = calibration["typical"] if report.cross else 0.0  # a good image that is in the bank scores less
        facts = {
            "name": target.name,
            "version": datetime.now(UTC).strftime("%Y%m%d.%H%M%S"),
            "created": datetime.now(UTC),
            "release": _release(target, product or target.name, counter),
            "git_commit": report.git_commit,
            "dataset_sha256": report.dataset_sha256,
            "input": report.input,
            "types": report.types,
            "boxes": work.box_facts(),
            "map": work.map_geometry(),
            "threshold": calibration["threshold"],
            "marking": calibration.get("marking"),
            "calibration": calibration["calibration"],
            "metrics": metrics,
            "training": {
                "recipe": report.recipe.model_dump(mode="json"),
                "fit_images": len(report.fit_images),
                "holdout_images": len(report.holdout_images),
                "defect_images": len(report.defect_images),
                "validation_images": len(report.validation_images),
                "cross": report.cross,
                "spared_images": len(report.spared_images),
                "image_sha256": image_sha256(report.data / name for name in report.seen_images),
                "seconds": report.seconds,
                "versions": report.versions,
                "quantize": quantized,
            },
            "holdout_scores": sorted(calibration["holdout"].values()),
            "references": [
                {"file": name, "score": score, "tolerance": quantized["parity"]["int8_tolerance"] * max(score, least)}
                for name, score in references.items()
            ],
        }
        draft = write_bundle(target.with_name(f"{target.name}-{facts['version']}.new"), facts, files)
    bundle = _put_in_place(draft, target, aside)
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    work.write_report("pack.json", {"bundle": target.name, "digest": bundle.digest, "bytes": size})
    print(f"pack: {target} ({bundle.title}), {size / 1e6:.1f} MB")
    return bundle


def _write_references(work: Run, report: FitReport, calibration: dict[str, Any], folder: Path) -> dict[str, float]:
    """Two good images and a bad one, of one size as a camera has, stored lossless: file name -> score on this CPU.

    The bad one has an inverted square. A detector knows no such thing, so that it gets a labelled photo.
    """
    detector = Detector(work.need(INT8_IR, "quantize"), report.input, boxes=work.box_facts())
    ranked = sorted(calibration["holdout"], key=calibration["holdout"].__getitem__)
    middle = load_photo(report.data / ranked[len(ranked) // 2], report.input)
    photos = (load_photo(report.data / name, report.input) for name in reversed(ranked))
    highest = next(photo for photo in photos if photo.shape == middle.shape)
    limit = calibration["threshold"]["value"]
    marked = _known(report, detector, limit) if report.boxes else _found(middle, report, detector, limit)
    images = {"good_1": middle, "good_2": highest, "marked": marked}
    scores = {}
    (folder / "references").mkdir()
    for stem, image in images.items():
        name = f"references/{stem}.png"
        if not cv2.imwrite(str(folder / name), image):
            raise StageError(f"{name}: cannot be written; check the free space of the temporary folder")
        scores[name] = detector.predict(load_image(folder / name)).score
    return scores


def _known(report: FitReport, detector: Detector, threshold: float) -> Image:
    """Return the labelled photo that is least clearly NG of some, or the highest where none is."""
    names = report.defect_images
    photos = [load_photo(report.data / name, report.input) for name in names[:: max(1, len(names) // KNOWN)][:KNOWN]]
    scores = [detector.predict(photo).score for photo in photos]
    bad = [score for score in scores if score >= threshold]
    return photos[scores.index(min(bad) if bad else max(scores))]


def _found(image: Image, report: FitReport, detector: Detector, threshold: float) -> Image:
    """Return a good image with the faintest mark that the model calls NG; the strongest where it calls none NG."""
    found = image
    for share, hard in MARKS:
        marked = _marked(image, report, share, hard)
        try:
            if detector.predict(marked).score >= threshold:
                break
        except PartNotFoundError:  # so large a mark hides the part: keep the one before
            return found
        found = marked
    return marked


def _marked(image: Image, report: FitReport, share: int, hard: bool) -> Image:
    """Return the image with a square inverted, 1 / share of its inspected side, which no good part has.

    hard: each value becomes 0 or 255, whichever is farther; mid grey inverted is mid grey.
    """
    x, y, width, height = view_of(image, report.input).box
    side = min(max(8, min(width, height) // share), width, height)
    left, top = x + (width - side) // 2, y + (height - side) // 2
    marked = image.copy()
    square = marked[top : top + side, left : left + side]
    square[:] = np.where(square < 128, 255, 0) if hard else 255 - square
    return np.ascontiguousarray(marked)


def _metrics(work: Run, threshold: float) -> dict[str, Any]:
    """evaluate.json without its list of images; empty when never evaluated. Raises StageError when it is outdated."""
    if not work.file("evaluate.json").is_file():
        return {}
    facts = work.read_report("evaluate.json", "evaluate")
    if facts.get("threshold") != threshold:
        raise StageError(
            f"{work.file('evaluate.json')}: was measured at another threshold than the one to ship; "
            "run `python -m train evaluate` again, or remove it"
        )
    return {key: value for key, value in facts.items() if key != "images"}


def _say_what_is_found(calibration: dict[str, Any], metrics: dict[str, Any], although_blind: bool) -> None:
    """Raise StageError for a model that finds none of the known defects, unless that was said to be meant."""
    if metrics:
        known, found = metrics["n_defective"], metrics["n_defective"] - metrics["int8"]["at_threshold"]["escapes"]
    else:
        scores = calibration["defects"].values()
        known, found = len(scores), sum(score >= calibration["threshold"]["value"] for score in scores)
    if known == 0:
        print("pack: no defect was measured, so nobody knows what this model finds; put some into test/ and evaluate")
    if known == 0 or found > 0:
        return
    far = ", ".join(calibration.get("outliers", {}))
    look = f"look at {far}, which raised the threshold" if far else "look at the good images and the defects"
    words = f"this model finds none of the {known} known defects; {look}, and train again"
    if not although_blind:
        raise StageError(f"{words} (--although-blind packs it all the same)")
    print(f"pack: warning: {words}")


def need_goods(n: int, promise: float, cross: bool = False) -> None:
    """Raises StageError when n good parts cannot guarantee the share, and says how many can."""
    needed = goods_needed(promise, cross)
    if n < needed:
        kind, more = ("", "") if cross else ("held-out ", "raise --holdout-share, ")
        raise StageError(
            f"{n} {kind}good parts cannot guarantee that at most {promise:.2%} of good parts are rejected: "
            f"{needed} are needed; add good parts, {more}or promise less"
        )


def check_promise(threshold: Threshold, promise: float, cross: bool = False) -> None:
    """Raises StageError, with what is missing, unless the threshold guarantees the promised share of rejected goods.

    cross: the parts that set the threshold are in the bank, so that twice alpha is what they guarantee.
    """
    need_goods(threshold.n, promise, cross)
    if threshold.bound is None or threshold.bound > promise:
        alpha = promise / 2 if cross else promise
        fewer = " --outliers 0" if alpha * (threshold.n + 1) + 1e-9 < 2 else ""
        raise StageError(
            f"the threshold was set for {threshold.alpha:.2%} of good parts rejected, not for the promised "
            f"{promise:.2%}; train with --alpha {alpha:g}{fewer}"
        )


def _release(target: Path, product: str, counter: int | None) -> dict[str, Any]:
    """Return the product and its version; one more than that of the bundle which this one replaces."""
    before = open_bundle(target).manifest.release if target.exists() else None
    last = before.counter if before is not None and before.product == product else 0
    if counter is not None and counter <= last:
        raise StageError(f"version {counter} of {product} is not newer than {last}, which lies in {target}; raise it")
    return {"product": product, "counter": last + 1 if counter is None else counter}


def _aside(target: Path) -> Path | None:
    """Return the free folder that an existing bundle moves to, None when there is none.

    Two bundles of one second have one version: NAME-VERSION, then NAME-VERSION.2 and so on.
    """
    if not target.exists():
        return None
    old = target.with_name(f"{target.name}-{open_bundle(target).manifest.version}")
    numbered = (old.with_name(f"{old.name}.{n}") for n in itertools.count(2))
    return next(path for path in itertools.chain([old], numbered) if not path.exists())


def _put_in_place(draft: Bundle, target: Path, aside: Path | None) -> Bundle:
    """Two renames, after everything that can fail; the old bundle comes back should the second one fail."""
    try:
        _check_runtimes(draft)
        if aside is not None:
            target.rename(aside)
        try:
            draft.path.rename(target)
        except OSError:
            if aside is not None:
                aside.rename(target)
            raise
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    if aside is not None:
        print(f"pack: the bundle that was there is now {aside}")
    return open_bundle(target)


def _check_runtimes(bundle: Bundle) -> None:
    for runtime in RUNTIMES:
        for check in check_references(Detector.from_bundle(bundle, runtime), bundle):
            if not check.passed:
                raise StageError(
                    f"{check.file}: {runtime} scores {check.score:.4g} instead of {check.expected:.4g}; do not ship"
                )
